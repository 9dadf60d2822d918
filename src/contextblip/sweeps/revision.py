"""The revision that a row of the results file names."""

from __future__ import annotations

import subprocess
from pathlib import Path

from contextblip.cli.revision import git_commit


def revision_beside(results: Path) -> str | None:
    """Read the commit of the sources; rows added to a committed results file are no change of them.

    Args:
        results: The results file.

    Returns:
        The hash, with a plus sign where tracked files other than the results file differ from it; ``None``
        outside a repository.
    """
    commit = git_commit()
    if commit is None or not commit.endswith("+"):
        return commit
    place = ["git", "-C", str(Path(__file__).parent)]
    words = [*place, "diff", "--quiet", "HEAD", "--", ":/", f":(exclude){results.resolve()}"]
    # 1: others differ; 128: the file lies outside the repository, so what differs is another one
    try:
        same = subprocess.run(words, capture_output=True, check=False, timeout=10).returncode == 0  # noqa: S603 fixed words
    except (OSError, subprocess.SubprocessError):
        return commit  # a busy machine must not end the sweep
    return commit.removesuffix("+") if same else commit

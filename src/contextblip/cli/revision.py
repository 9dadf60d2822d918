"""Which revision of the sources runs; imports nothing, so that a cluster's workers stay small."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """Read the commit of the sources.

    Returns:
        The hash, with a plus sign where tracked files differ from it; ``None`` outside a repository, as of an
        installed wheel.
    """
    file = Path(__file__)
    place = ["git", "-C", str(file.parent)]
    words = [*place, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    tracked = [*place, "ls-files", "--error-unmatch", file.name]
    try:
        # an environment may lie within another project's repository, whose commit says nothing here
        subprocess.run(tracked, capture_output=True, check=True, timeout=10)  # noqa: S603 fixed words
        answer = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 fixed words
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()

"""The revision of a row: the results file, which grows while the sweep runs, is no change of the sources."""

import subprocess
from pathlib import Path

import pytest

from contextblip.sweeps.revision import revision_beside


def git(*words: str) -> str:
    given = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    return subprocess.run(given, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository with a source and a results file, where the package lies."""
    monkeypatch.chdir(tmp_path)
    for module in ("contextblip.sweeps.revision", "contextblip.cli.revision"):
        monkeypatch.setattr(f"{module}.__file__", str(tmp_path / "package" / "module.py"))
    for name in ("package/module.py", "results/tables.csv"):
        Path(name).parent.mkdir()
        Path(name).write_text("first\n")
    git("init")
    git("add", ".")
    git("commit", "--message", "first")
    return git("rev-parse", "HEAD")


def test_new_rows_are_no_change_of_the_sources(commit: str, tmp_path: Path) -> None:
    results = Path("results/tables.csv")
    assert revision_beside(results) == commit
    results.write_text("second\n")
    assert revision_beside(results) == commit
    assert revision_beside(Path("results/other.csv")) == f"{commit}+"
    assert revision_beside(tmp_path.parent / "elsewhere.csv") == f"{commit}+"
    Path("package/module.py").write_text("second\n")
    assert revision_beside(results) == f"{commit}+"

"""A working directory of its own, toy classes to name, and the command called in-process."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contextblip.cli import main

HERE = Path(__file__).parent
Run = Callable[[str], None]
Fail = Callable[[str], tuple[int, str]]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder with ``toy.yaml``; the environment is as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HERE)
    shutil.copy(HERE / "toy.yaml", tmp_path)
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        del os.environ[name]
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run() -> Run:
    """Run a command that may name the toy classes."""

    def call(line: str) -> None:
        main(line.split() if line.startswith("convert") else [*line.split(), "--allow-code"])

    return call


@pytest.fixture
def fail(run: Run, capsys: pytest.CaptureFixture[str]) -> Fail:
    """Run a command that must fail with one line; give its exit status and that line."""

    def call(line: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run(line)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert isinstance(stop.value.code, int)
        return stop.value.code, lines[0]

    return call

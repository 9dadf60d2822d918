"""The command as a process: three names, one behaviour."""

import subprocess
import sys
from pathlib import Path

import pytest

from contextblip import cli


def test_main_returns_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    # A returned object would be printed by the console script and make its status 1
    assert cli.main(["--version"]) is None  # type: ignore[func-returns-value]
    assert capsys.readouterr().out.startswith("contextblip ")


def test_the_module_trains_in_two_processes_that_share_a_folder(workplace: Path) -> None:
    """Lightning starts the second process by running the command again; both must find one run folder."""
    (workplace / "toy_code.py").write_bytes((Path(__file__).parent / "toy_code.py").read_bytes())
    line = "-m contextblip fit --config toy.yaml --allow-code --trainer.strategy ddp --trainer.devices 2"
    command = [sys.executable, *line.split()]
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Run folder: runs/default/version_0\n")
    assert [path.name for path in (workplace / "runs/default").iterdir()] == ["version_0"]
    assert (workplace / "runs/default/version_0/checkpoints/last.ckpt").is_file()

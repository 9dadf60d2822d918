"""`provenance.json`: every start of every command, written before the first step."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import contextblip
from contextblip.cli.revision import git_commit

Run = Callable[[str], None]

SHORT = "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --trainer.max_epochs 1"
FIT = f"fit --config toy.yaml --run_dir here {SHORT}"


def starts(folder: str = "here") -> list[dict[str, Any]]:
    content: dict[str, list[dict[str, Any]]] = json.loads((Path(folder) / "provenance.json").read_text())
    return content["starts"]


def test_a_run_says_what_it_was_made_with(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data").mkdir()
    Path("data/train.json").write_text("[]")
    Path("weights.pth").write_text("w")
    monkeypatch.setattr("sys.argv", ["lightning", "fit", "--token", "abc"])
    run(f"{FIT} --data.root data --model.backbone weights.pth --seed_everything 3")
    (start,) = starts()
    assert (start["command"], start["config"]) == ("fit", "config.yaml")
    assert start["started"].endswith("+00:00")
    assert start["line"] == "lightning fit --token '***'"
    assert "abc" not in Path("here/config.yaml").read_text().splitlines()[1]
    commit = git_commit()
    assert start["revision"] == {
        "commit": commit and commit.rstrip("+"),
        "dirty": commit and commit.endswith("+"),
    }
    assert start["packages"]["torch"] == torch.__version__
    assert start["packages"]["contextblip"] == contextblip.__version__
    assert None not in start["packages"].values()
    machine = start["machine"]
    assert (machine["precision"], machine["nodes"], machine["processes"], machine["gpus"]) == (
        "32-true",
        1,
        1,
        [],
    )
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert start["seeds"] == {"seed_everything": 3, "data": None}
    assert list(start["data"]["annotations"]) == ["train.json"]
    assert start["weights"]["backbone"]["sha256"].startswith("50e721e49c013f00")


def test_further_commands_and_resumed_training_keep_the_first_entry(run: Run) -> None:
    run(FIT)
    (first,) = starts()
    run("test --config toy.yaml --run_dir here --ckpt_path last")
    run(f"fit --config toy.yaml --run_dir here --resume auto {SHORT} --trainer.max_epochs 2")
    found = starts()
    assert found[0] == first
    assert [(start["command"], start["config"]) for start in found] == [
        ("fit", "config.yaml"),
        ("test", "config_test.yaml"),
        ("fit", "config_fit.yaml"),
    ]
    assert found[1]["weights"]["ckpt_path"]["source"] == "here/checkpoints/last.ckpt"
    assert len(found[1]["weights"]["ckpt_path"]["sha256"]) == 64


def test_a_test_after_training_is_a_start_of_its_own(run: Run) -> None:
    run(f"{FIT} --test_after last")
    assert [start["command"] for start in starts()] == ["fit", "test"]


@pytest.mark.parametrize("reason", ["bug", "interrupt"])
def test_a_run_that_fails_in_its_first_step_has_it(reason: str, run: Run) -> None:
    with pytest.raises(SystemExit):
        run(f"{FIT} --model.fails_with {reason}")
    assert [start["command"] for start in starts()] == ["fit"]


def test_a_mistake_takes_its_entry_back(run: Run) -> None:
    with pytest.raises(SystemExit):
        run(f"{FIT} --model.fails_with mistake --trainer.enable_checkpointing false")
    assert not Path("here").exists()
    run(FIT)
    with pytest.raises(SystemExit):
        run("test --config toy.yaml --run_dir here --ckpt_path last --model.fails_with mistake")
    assert [start["config"] for start in starts()] == ["config.yaml"]


def test_other_processes_than_the_first_write_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.Trainer.is_global_zero", property(lambda _: False))
    run(f"test --config toy.yaml --run_dir here {SHORT}")
    assert not Path("here/provenance.json").exists()


def test_what_cannot_be_found_out_stops_no_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the drive is gone")

    monkeypatch.setattr("contextblip.provenance.starts.describe_data", fail)
    monkeypatch.setattr("contextblip.cli.config_file.git_commit", lambda: None)
    run(FIT)
    (start,) = starts()
    assert start["data"] == {"unknown": "OSError: the drive is gone"}
    assert start["revision"] == {"commit": None, "dirty": None}
    Path("here/provenance.json").write_text("[")
    run("test --config toy.yaml --run_dir here --ckpt_path last")
    assert "warning: here/provenance.json is without this start:" in capsys.readouterr().err
    assert Path("here/provenance.json").read_text() == "[", "what it held may still be mended"


def git(*words: str) -> None:
    given = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    subprocess.run(given, check=True, capture_output=True)


def test_a_package_within_another_projects_repository_has_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "venv" / "revision.py"
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr("contextblip.cli.revision.__file__", str(installed))
    assert git_commit() is None, "no repository"
    Path("main.py").write_text("first")
    git("init")
    git("add", "main.py")
    git("commit", "--message", "first")
    assert git_commit() is None, "not of this repository"
    git("add", "venv")
    git("commit", "--message", "second")
    commit = git_commit()
    assert commit is not None
    assert len(commit) == 40
    Path("main.py").write_text("second")
    assert git_commit() == f"{commit}+"

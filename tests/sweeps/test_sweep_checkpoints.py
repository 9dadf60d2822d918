"""Checkpoints that trainings leave to the runs after them: cut short, never written, gone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from contextblip.sweeps.plan import Plan
from contextblip.sweeps.run_state import is_done
from tests.sweeps.behaviour import behave

OUT = Path("out")
Write = Callable[..., Path]
PlanOf = Callable[..., Plan]
RunSweep = Callable[..., bool]
Starts = Callable[[], list[str]]
BOTH = ["pretrain new", "zero_shot new"]


def test_a_training_without_a_whole_checkpoint_starts_anew(
    write: Write, run_sweep: RunSweep, starts: Starts, plan_of: PlanOf
) -> None:
    behave(fail=["fit"])
    file = write()
    assert not run_sweep(file)
    for run in plan_of(file).runs.values():
        if run.command == "fit":
            (run.folder / "checkpoints" / "last.ckpt").write_bytes(b"cut short")
    behave()
    assert run_sweep(file)
    assert starts()[2:] == BOTH * 2


def test_a_missing_checkpoint_is_named(
    write: Write, run_sweep: RunSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(no_best=["fit"])
    assert not run_sweep(write())
    said = capsys.readouterr().out
    assert "checkpoints/best.ckpt; set checkpoint: last for stage zero_shot" in said


def test_a_checkpoint_that_is_gone_is_made_again_from_the_beginning(
    write: Write, run_sweep: RunSweep, starts: Starts, plan_of: PlanOf, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a finished training the last checkpoint has nothing left to train: it would leave no other one."""
    assert run_sweep(write(axes=None))
    (pretrain,) = [run for run in plan_of(write(axes=None)).runs.values() if run.command == "fit"]
    checkpoints = pretrain.folder / "checkpoints"
    (checkpoints / "best.ckpt").unlink()
    (checkpoints / "of_the_first.txt").touch()
    assert run_sweep(write(axes=None))  # nobody asks for it
    assert starts() == BOTH
    more = write(axes=[{"key": "model.score", "values": ["itm", "itc"]}])
    assert run_sweep(more)
    assert starts() == [*BOTH, *BOTH]
    assert (checkpoints / "best.ckpt").is_file()
    assert not (checkpoints / "of_the_first.txt").exists()
    # one that a training never leaves is not trained for again and again
    shutil.rmtree(OUT)
    behave(no_best=["fit"])
    for _ in range(2):
        capsys.readouterr()
        assert not run_sweep(more)
        assert "set checkpoint: last for stage zero_shot" in capsys.readouterr().out
    assert starts()[4:] == ["pretrain new"]


def test_a_training_made_again_resumes_where_it_was_stopped(
    write: Write, run_sweep: RunSweep, starts: Starts, plan_of: PlanOf
) -> None:
    assert run_sweep(write(axes=None))
    pretrain, zero_shot = plan_of(write(axes=None)).runs.values()
    for path in (pretrain.folder / "checkpoints" / "best.ckpt", OUT / "results.csv"):
        path.unlink()
    shutil.rmtree(zero_shot.folder)
    behave(die=["fit"])
    assert not run_sweep(write(axes=None))
    assert not is_done(pretrain)
    behave()
    assert run_sweep(write(axes=None))
    assert starts() == [*BOTH, "pretrain new", "pretrain resumed", "zero_shot new"]

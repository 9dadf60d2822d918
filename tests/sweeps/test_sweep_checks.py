"""What is wrong with a command is said before anything runs, and nothing is left behind."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from contextblip.cli.sweep_verb import add_sweep_arguments, run_sweep
from contextblip.errors import ConfigurationError
from contextblip.sweeps.planning import Settings
from tests.sweeps.conftest import CONTENT, PlanOf

WEIGHTS = Path("weights/model_base.pth")
MISSING = (
    "model.backbone weights/model_base.pth (4 runs): no such file or folder; `lightning weights download`"
)
Write = Callable[..., Path]


def call(*words: str) -> None:
    parser = argparse.ArgumentParser()
    add_sweep_arguments(parser)
    run_sweep(parser.parse_args(list(words)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--results", "runs/demo"], "--results runs/demo is a folder; name a CSV file, e.g. runs/demo.csv"),
        (["--results", "a.txt/b.csv"], "--results a.txt/b.csv: a.txt is a file; name a CSV file in a folder"),
        (["--out", "a.txt"], "--out a.txt: a.txt is a file; name a folder"),
        (["--out", "a.txt/b"], "--out a.txt/b: a.txt is a file; name a folder"),
        (["--cpus_per_run", "2"], "--cpus_per_run is for a Ray cluster; add --ray ADDRESS"),
        (["--gpus_per_run", "0"], "--gpus_per_run is for a Ray cluster; add --ray ADDRESS"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry_run"]])
def test_mistakes_are_one_line_and_leave_nothing(
    words: list[str], message: str, more: list[str], write: Write
) -> None:
    file = write()
    Path("runs/demo").mkdir(parents=True)
    Path("a.txt").write_text("")
    before = sorted(Path().rglob("*"))
    with pytest.raises(ConfigurationError, match=re.escape(message)) as error:
        call(str(file), *words, *more)
    assert "\n" not in str(error.value)
    assert sorted(Path().rglob("*")) == before


def test_missing_weights_are_named_once_before_anything_runs(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    WEIGHTS.unlink()
    file = write()
    with pytest.raises(ConfigurationError, match=re.escape(MISSING)):
        call(str(file))
    assert not Path("runs").exists()
    call(str(file), "--dry_run")
    assert capsys.readouterr().out.count(MISSING) == 1


@pytest.mark.parametrize("backbone", ["org/name", "random:miniature", "weights"])
def test_weights_that_may_be_there_are_not_refused(
    backbone: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    call(str(write()), "--dry_run", "--set", f"model.backbone={backbone}")
    assert "no such file" not in capsys.readouterr().out


def test_a_sweep_without_measures_says_so(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    call(str(write(measures=None)), "--dry_run")
    assert "sweep small has no measures: nothing will be tabulated or plotted" in capsys.readouterr().out


def test_the_cache_reaches_the_stages_that_can_use_it(write: Write, plan_of: PlanOf) -> None:
    settings = Settings(Path("out"), values={"cache": "states", "seed_everything": 1})
    file = write(seeds=None, measures=None)
    runs = plan_of(file, settings=settings).runs.values()
    given = {run.stage: "--cache=states" in run.words for run in runs}
    assert given == {"pretrain": False, "zero_shot": True}
    assert all("--seed_everything=1" in run.words for run in runs)
    alone = write(stages=[CONTENT["stages"][0]], seeds=None, measures=None)
    with pytest.raises(ConfigurationError, match="^--set cache: no stage of sweep small can use it$"):
        plan_of(alone, settings=settings)

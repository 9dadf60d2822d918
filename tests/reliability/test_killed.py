"""Real processes, killed without warning at random moments, lose nothing."""

import random
import time
from pathlib import Path

import pytest

from tests.reliability.conftest import STAGES, Words, recording
from tests.reliability.processes import run, start
from tests.reliability.recorder import read_steps
from tests.reliability.test_exact_resume import assert_runs_equal


def kill_and_resume(stage: str, kills: int, seed: int, fit_words: Words, folder: Path) -> None:
    """Compare runs that were killed with one that was not."""
    every_step = ["--checkpoint.every_n_train_steps=1", "--checkpoint.monitor=null"]
    begun = time.monotonic()
    run([*fit_words(stage, "whole"), *every_step, *recording(folder / "whole.jsonl")], folder, folder / "log")
    seconds = time.monotonic() - begun
    whole, draws = read_steps(folder / "whole.jsonl"), random.Random(seed)  # noqa: S311  # moments, no secrets
    for number in range(kills):
        name = f"killed{number}"
        steps = folder / f"{name}.jsonl"
        words = [*fit_words(stage, name), *every_step, "--resume=auto", *recording(steps)]
        process = start(words, folder, folder / f"{name}.log")
        process.join(draws.uniform(0, seconds))
        process.kill()
        process.join()
        run(words, folder, folder / f"{name}.log")
        assert read_steps(steps) == whole
        assert_runs_equal(name, "whole")


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_as_if_nothing_had_been(stage: str, fit_words: Words, checkout: Path) -> None:
    kill_and_resume(stage, 1, 0, fit_words, checkout)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_twenty_kills(stage: str, fit_words: Words, checkout: Path) -> None:
    kill_and_resume(stage, 20, 1, fit_words, checkout)

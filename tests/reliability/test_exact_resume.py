"""A run that was stopped and resumed is, bit for bit, the run that was not."""

from pathlib import Path

import pytest

from contextblip.cli import main
from tests.reliability.conftest import STAGES, Words, assert_same, checkpoint, recording
from tests.reliability.recorder import read_steps
from tests.reliability.worlds import run_world

PARTS = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "epoch",
    "global_step",
    "contextblip_random_state",
)


def assert_runs_equal(one: str, other: str) -> None:
    left, right = checkpoint(one), checkpoint(other)
    for part in PARTS:
        assert_same(left[part], right[part], part)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
def test_stopped_anywhere_and_resumed(stage: str, stop_at: int, workers: int, fit_words: Words) -> None:
    if workers and stop_at != 4:
        pytest.skip("workers are tried once a stage, within the second epoch")
    more = f"--data.num_workers={workers}"
    main(fit_words(stage, "whole", more, *recording(Path("whole.jsonl"))))
    with pytest.raises(SystemExit) as stopped:
        main(fit_words(stage, "parts", more, *recording(Path("parts.jsonl"), stop_at=stop_at)))
    assert stopped.value.code == 128 + 15
    main(fit_words(stage, "parts", more, "--resume=auto", *recording(Path("parts.jsonl"))))
    assert read_steps(Path("parts.jsonl")) == read_steps(Path("whole.jsonl"))
    assert_runs_equal("parts", "whole")


def test_two_processes_stop_together_and_go_on(fit_words: Words, checkout: Path) -> None:
    def words(folder: str, steps: str, *more: str, **record: object) -> list[str]:
        listed = [word for word in fit_words("finetune", folder) if "trainer.devices" not in word]
        return [*listed, "--data.batch_size=1", *more, *recording(checkout / steps, **record)]

    run_world(words("whole", "whole"), checkout, 2)
    run_world(words("parts", "parts", stop_at=4, rank=1), checkout, 2, status=128 + 15)  # one hears of it
    run_world(words("parts", "parts", "--resume=auto"), checkout, 2)
    for rank in range(2):
        assert read_steps(checkout / f"parts.{rank}") == read_steps(checkout / f"whole.{rank}")
    assert_runs_equal("parts", "whole")

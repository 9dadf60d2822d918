"""Training is the same on one, two, three and four processes: gradients, weights, and the steps' samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.reliability.conftest import STAGES, TASK
from tests.reliability.worlds import run_world

Found = dict[str, Any]
GLOBAL_BATCH = 12
STEPS = 3
KEYS = {
    "pretrain": ["--model.warmup_steps=0"],
    "finetune": ["--model.lr_backbone=1e-4"],  # so that three steps are longer than rounding
    "intercontext": [],
}


@pytest.fixture
def train(checkout: Path, backbone: Path, world: Path) -> Callable[..., Found]:
    """Train for three steps of twelve samples, without dropout, and return what was recorded."""

    def run(stage: str, processes: int, *more: str, accumulation: int = 1) -> Found:
        name = f"{stage}-{processes}-{accumulation}"
        recorder = "tests.reliability.worlds.GradientRecorder"
        words = [
            *("fit", *TASK[stage], f"--model.backbone={backbone}", f"--data.root={world}"),
            *KEYS[stage],
            "--model.dropout=0",
            f"--data.batch_size={GLOBAL_BATCH // (processes * accumulation)}",
            f"--data.global_batch_size={GLOBAL_BATCH}",
            "--data.num_workers=0",
            f"--trainer.max_steps={STEPS}",
            "--trainer.limit_val_batches=0",
            *("--trainer.precision=32-true", "--trainer.accelerator=cpu", "--trainer.logger=false"),
            *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
            f"--run_dir={name}",
            "--allow-code",
            f"--trainer.callbacks+={recorder}",
            f"--trainer.callbacks.path={checkout / name}.pt",
            "--checkpoint.monitor=null",
            "--trainer.enable_checkpointing=false",
            *more,
        ]
        run_world(words, checkout, processes)
        found: Found = torch.load(checkout / f"{name}.pt", weights_only=True)
        assert found["steps"] == STEPS
        return found

    return run


def assert_equal(found: Found, expected: Found) -> None:
    """Compare to rounding: gradients to 1e-6 each and 5e-5 of their norm, weights to 1e-6.

    In fp32 a sum in another order differs by some 1e-7 of its largest part. In stage one the candidates'
    parts all but cancel, which leaves 5e-6 of the norm, elsewhere it is 1e-7. Three steps of Adam with an
    eps of 1e-4 then differ by at most ``3 lr difference / eps``, far less than 1e-6.
    """
    assert found["gradients"].keys() == expected["gradients"].keys()
    assert found["weights"].keys() == expected["weights"].keys()
    squares, difference = 0.0, 0.0
    for name, gradient in expected["gradients"].items():
        torch.testing.assert_close(found["gradients"][name], gradient, rtol=0, atol=1e-6)
        squares += float(gradient.square().sum())
        difference += float((found["gradients"][name] - gradient).square().sum())
    assert squares > 0
    assert difference**0.5 <= 5e-5 * squares**0.5
    for name, weight in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=0, atol=1e-6)


PROCESSES = [2, 3, pytest.param(4, marks=pytest.mark.slow)]


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("stage", STAGES)
def test_gradients_and_weights_are_those_of_one_process(
    stage: str, processes: int, train: Callable[..., Found]
) -> None:
    more = ["--model.negatives=global"] if stage == "pretrain" else []
    assert_equal(train(stage, processes, *more), train(stage, 1, *more))


def test_accumulated_batches_are_as_good_as_processes(train: Callable[..., Found]) -> None:
    """With local negatives: they are drawn within a batch, be it a process's or an accumulated one."""
    assert_equal(train("pretrain", 2), train("pretrain", 1, accumulation=2))


def test_local_negatives_depend_on_the_number_of_processes(train: Callable[..., Found]) -> None:
    """So the tests above can fail."""
    with pytest.raises(AssertionError):
        assert_equal(train("pretrain", 2), train("pretrain", 1))

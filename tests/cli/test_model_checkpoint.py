"""What the two checkpoints of a run hold."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

Run = Callable[[str], None]

# Four batches an epoch; the first epoch is the best
EXPERIMENT = """
trainer: {max_epochs: 3, accelerator: cpu, enable_model_summary: false, enable_progress_bar: false}
checkpoint: {monitor: val/accuracy}
model: {class_path: toy_code.CountingTask, init_args: {backbone: abc, best_at: 4}}
data: {class_path: toy_code.OneShelfData, init_args: {root: here}}
run_dir: here
"""


@pytest.fixture(autouse=True)
def experiment() -> None:
    """Write it into the working folder of the test."""
    Path("counting.yaml").write_text(EXPERIMENT)


def steps(name: str) -> int:
    """Read how long the weights of a checkpoint were trained."""
    return int(torch.load(f"here/checkpoints/{name}.ckpt", weights_only=True)["state_dict"]["steps"])


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--trainer.check_val_every_n_epoch 2 --model.best_at 8",
        "--trainer.check_val_every_n_epoch null --trainer.val_check_interval 4",
        "--checkpoint.every_n_epochs 2 --model.best_at 8",
    ],
)
def test_the_last_is_the_last_however_good(options: str, run: Run) -> None:
    run(f"fit --config counting.yaml {options}")
    assert (steps("best"), steps("last")) == (8 if "best_at 8" in options else 4, 12)


def test_an_interrupted_run_goes_on_after_its_last_epoch_not_its_best(run: Run) -> None:
    with pytest.raises(SystemExit):
        run("fit --config counting.yaml --model.interrupted_at 10")
    assert (steps("best"), steps("last")) == (4, 8)
    run("fit --config counting.yaml --ckpt_path last --trainer.max_epochs 4")
    assert (steps("best"), steps("last")) == (4, 16)


def test_the_last_alone(run: Run) -> None:
    run("fit --config counting.yaml --checkpoint.save_top_k 0")
    assert steps("last") == 12
    assert [path.name for path in Path("here/checkpoints").iterdir()] == ["last.ckpt"]


def test_no_last_where_none_is_wanted(run: Run) -> None:
    run("fit --config counting.yaml --checkpoint.save_last false")
    assert [path.name for path in Path("here/checkpoints").iterdir()] == ["best.ckpt"]

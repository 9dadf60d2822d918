"""A checkpoint's settings are compared with the ones in use and never replace them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from contextblip.cli.checkpoint import resolve_checkpoint
from contextblip.errors import CheckpointError

Run = Callable[[str], None]
Fail = Callable[[str], tuple[int, str]]

LAST = "runs/default/version_0/checkpoints/last.ckpt"


@pytest.fixture
def trained(run: Run, capsys: pytest.CaptureFixture[str]) -> str:
    """Train a first run and forget what it printed."""
    run("fit --config toy.yaml --trainer.limit_train_batches 1")
    capsys.readouterr()
    return LAST


def test_the_line_wins_over_the_checkpoint_and_the_difference_is_printed(
    trained: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"validate --config toy.yaml --model.mask_ratio 0.75 --ckpt_path {trained}")
    said = capsys.readouterr().out
    assert f"Differs from {trained} (checkpoint -> used):\n  model.mask_ratio: 0.5 -> 0.75\n" in said
    config = yaml.safe_load(Path("runs/default/version_1/config.yaml").read_text())
    assert config["model"]["init_args"]["mask_ratio"] == 0.75
    # What the model itself measured with, not only what was written down
    assert '"val/accuracy": 0.75' in Path("runs/default/version_1/metrics.json").read_text()


def test_equal_settings_are_no_news(trained: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"test --config toy.yaml --ckpt_path {trained}")
    assert "Differs" not in capsys.readouterr().out


def test_another_architecture_stops(trained: str, fail: Fail) -> None:
    assert fail(f"test --config toy.yaml --model.adapter_layers [12] --ckpt_path {trained}") == (
        2,
        f"error: ckpt_path {trained} has another architecture: adapter_layers [3, 6] there, [12] here",
    )


def test_a_tensor_of_another_shape_stops(trained: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(f"test --config toy.yaml --model.width 5 --ckpt_path {trained}")
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: the checkpoint does not fit the model: layer.weight has shape [4, 4] there and [5, 4] here "
        "and 1 more"
    )


def test_another_class_stops(trained: str, fail: Fail) -> None:
    Path("other.yaml").write_text(
        "model: {class_path: toy_code.OtherTask, init_args: {backbone: abc}}\n"
        "data: {class_path: toy_code.ToyData, init_args: {root: here}}\n"
    )
    assert fail(f"test --config other.yaml --ckpt_path {trained}") == (
        2,
        f"error: ckpt_path {trained} was written by toy_code.ToyTask, this run uses toy_code.OtherTask; "
        "--ckpt_path continues the same task, --model.init_from starts from another's weights",
    )


def test_files_that_are_no_checkpoint_stop(trained: str, fail: Fail) -> None:
    Path("text.ckpt").write_text("hello")
    assert fail("test --config toy.yaml --ckpt_path text.ckpt")[1].startswith(
        "error: ckpt_path text.ckpt cannot be read as a Lightning checkpoint: "
    )
    torch.save({"layer.weight": torch.zeros(1)}, "weights.ckpt")
    assert fail("test --config toy.yaml --ckpt_path weights.ckpt")[1] == (
        "error: ckpt_path weights.ckpt holds weights but no Lightning checkpoint; "
        "use --model.init_from or --model.backbone"
    )
    near = trained.replace("last", "lsat")
    assert fail(f"test --config toy.yaml --ckpt_path {near}")[1].endswith(f"did you mean {trained}?")


def test_everything_saved_loads_as_weights_only(trained: str) -> None:
    assert torch.load(trained, weights_only=True)["hyper_parameters"]["_class_path"] == "toy_code.ToyTask"


def test_best_and_last_of_an_earlier_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit --config toy.yaml --checkpoint.monitor val/accuracy --run_dir here")
    assert {path.name for path in Path("here/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert resolve_checkpoint("best", "here") == "here/checkpoints/best.ckpt"
    assert resolve_checkpoint("last", "here") == "here/checkpoints/last.ckpt"
    assert resolve_checkpoint("hpc", "here") == "hpc"
    Path("here").rename("moved")
    assert resolve_checkpoint("best", "moved") == "moved/checkpoints/best.ckpt"
    run("test --config toy.yaml --run_dir moved --ckpt_path best")
    assert "Run folder: moved\n" in capsys.readouterr().out
    Path("moved/checkpoints/best.ckpt").unlink()
    with pytest.raises(CheckpointError, match="names no best checkpoint"):
        resolve_checkpoint("best", "moved")
    with pytest.raises(CheckpointError, match="there is no nowhere/checkpoints/last.ckpt"):
        resolve_checkpoint("last", "nowhere")


def test_training_goes_on_in_its_folder(run: Run) -> None:
    run("fit --config toy.yaml --run_dir here --trainer.max_epochs 1")
    run("fit --config toy.yaml --run_dir here --trainer.max_epochs 3 --ckpt_path last")
    assert torch.load("here/checkpoints/last.ckpt", weights_only=True)["epoch"] == 2
    assert yaml.safe_load(Path("here/config.yaml").read_text())["trainer"]["max_epochs"] == 1
    assert yaml.safe_load(Path("here/config_fit.yaml").read_text())["trainer"]["max_epochs"] == 3

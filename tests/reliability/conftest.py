"""Small runs of each stage, and what they leave."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from contextblip.cli import main

# The same examples on every machine and every day; a slow machine is no failure
settings.register_profile("reliability", max_examples=100, derandomize=True, deadline=None, database=None)
settings.load_profile("reliability")

Words = Callable[..., list[str]]
Fit = Callable[..., None]

TASK = {
    "pretrain": [
        "--config=experiments/pretrain.yaml",
        "--model.adapter_layers=[3,12]",
        "--model.decoder_layers=1",
        "--model.decoder_heads=2",
    ],
    "finetune": ["--config=experiments/finetune.yaml", "--model.adapter_layers=[3,12]"],
    "intercontext": ["--config=experiments/inter_context.yaml", "--model.adapter_layers=[3,12]"],
}
STAGES = tuple(TASK)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No cluster around, and nothing left behind, such as the seed that Lightning exports."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_", "PL_"))]:
        monkeypatch.delenv(name)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def fit_words(checkout: Path, backbone: Path, world: Path) -> Words:  # noqa: ARG001  # the folder it runs in
    """Return the words of a small training; dropout is active, so that random states matter."""

    def words(stage: str, folder: str, *more: str) -> list[str]:
        return [
            "fit",
            *TASK[stage],
            f"--model.backbone={backbone}",
            f"--data.root={world}",
            "--data.batch_size=2",
            "--data.global_batch_size=4",
            "--trainer.max_epochs=2",
            "--trainer.max_steps=-1",
            "--trainer.limit_train_batches=6",
            "--trainer.limit_val_batches=2",
            "--trainer.precision=32-true",
            "--trainer.accelerator=cpu",
            "--trainer.devices=1",
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
            f"--run_dir={folder}",
            "--allow-code",
            *more,
        ]

    return words


def recording(path: Path, **more: object) -> list[str]:
    """Return the words that add a `StepRecorder`."""
    options = [f"--trainer.callbacks.{key}={value}" for key, value in {"path": path, **more}.items()]
    return ["--trainer.callbacks+=tests.reliability.recorder.StepRecorder", *options]


def checkpoint(folder: str) -> dict[str, Any]:
    """Read a run's last checkpoint."""
    content: dict[str, Any] = torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def assert_same(one: object, other: object, place: str = "") -> None:
    """Compare what checkpoints hold, bit for bit."""
    assert type(one) is type(other), place
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        assert len(one) == len(other), place
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{place}/{number}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        assert torch.equal(one, other), place
    else:
        assert one == other, place


__all__ = ["STAGES", "assert_same", "checkpoint", "main", "recording"]

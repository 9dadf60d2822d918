"""Pre-trainings of a few steps on the tiny world, for the callbacks that look at masks."""

import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from contextblip.tasks import Pretraining
from data_modules import CaptionDataModule

BATCH_SIZE = 8


def make_task(backbone: Path, **keys: Any) -> Pretraining:  # noqa: ANN401
    """A task with the least decoder."""
    given = {"adapter_layers": [12], "decoder_layers": 1, "decoder_heads": 2, "warmup_steps": 0, "lr": 1e-2}
    torch.manual_seed(0)
    return Pretraining(str(backbone), **{**given, **keys})


def make_data(backbone: Path, world: Path, **keys: Any) -> CaptionDataModule:  # noqa: ANN401
    """Batches that this process loads."""
    given = {"batch_size": BATCH_SIZE, "num_workers": 0, "seed": 0}
    return CaptionDataModule(str(backbone), str(world), **{**given, **keys})


def make_trainer(folder: Path, callbacks: list[Callback], steps: int, **keys: Any) -> Trainer:  # noqa: ANN401
    """A quiet trainer that validates after every step."""
    given = {"logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0}
    return Trainer(
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=1,
        limit_val_batches=1,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
        **{**given, **keys},
    )


def fit(
    folder: Path,
    backbone: Path,
    world: Path,
    callbacks: list[Callback],
    *,
    steps: int = 2,
    resume: Path | None = None,
    trainer_keys: dict[str, Any] | None = None,
    **keys: Any,  # noqa: ANN401
) -> tuple[Trainer, Pretraining]:
    """Train for a few steps; ``last.ckpt`` holds the last."""
    task = make_task(backbone, **keys)
    trainer = make_trainer(folder, callbacks, steps, **(trainer_keys or {}))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings(
            "ignore", message=".*resuming from a checkpoint that ended before the epoch.*"
        )
        trainer.fit(task, make_data(backbone, world), ckpt_path=resume)
        trainer.save_checkpoint(folder / "last.ckpt")
    return trainer, task

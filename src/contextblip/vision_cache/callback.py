"""The part of a run that opens the store, checks that the run may use it, and says what it was good for."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from contextblip.errors import ConfigurationError
from contextblip.tasks.candidate_scoring import CandidateScoring
from contextblip.tasks.image_text_retrieval import ImageTextRetrieval
from contextblip.vision_cache.encoder import CachedVision
from contextblip.vision_cache.keys import folder_name
from contextblip.vision_cache.sizes import SizeCheck
from contextblip.vision_cache.store import StateStore

CachingTask = CandidateScoring | ImageTextRetrieval


class VisionCache(Callback):
    """Lends a task a store of its frozen ViT's states while it runs.

    Args:
        folder: Holds a folder for each ViT, image size and precision.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._vision: CachedVision | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse runs whose ViT trains or sees other pixels each time.

        Args:
            trainer: Knows the data.
            pl_module: The task.
            stage: Name of the Trainer's entry point.

        Raises:
            ConfigurationError: The run is one of them.
        """
        data = getattr(trainer, "datamodule", None)
        augments = stage == "fit" and bool(getattr(data, "augment", False))
        if reason := why_no_cache(type(pl_module), augments=augments):
            raise ConfigurationError(f"cache {self.folder}: {reason}")

    def _begin(self, trainer: Trainer, task: LightningModule) -> None:
        """Open the store once the weights are loaded; within a training once, when its data are known."""
        if not isinstance(task, CachingTask) or self._vision is not None or trainer.sanity_checking:
            return
        store = StateStore(self.folder / folder_name(task.model, str(trainer.precision)))
        check = SizeCheck(store, images_at_most(trainer), rank_zero_info)
        task.vision_cache = self._vision = CachedVision(task.model, store, check)

    def _end(self, trainer: Trainer, task: LightningModule) -> None:
        """Close the store and say what was read and what was computed, over all processes."""
        vision, self._vision = self._vision, None
        if vision is None or not isinstance(task, CachingTask):
            return
        task.vision_cache = None
        counts = torch.tensor([vision.from_store, vision.encoded], device=trainer.strategy.root_device)
        read, encoded = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        rank_zero_info(f"Vision cache {vision.store.folder}: {read:,} images read, {encoded:,} encoded")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store."""
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store, unless a training has."""
        self._begin(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store."""
        self._begin(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the store."""
        self._begin(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the store."""
        self._end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the store, unless a training goes on."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._end(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the store."""
        self._end(trainer, pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the store."""
        self._end(trainer, pl_module)


def images_at_most(trainer: Trainer) -> int | None:
    """Count the images that a run can show the ViT.

    Args:
        trainer: With its loaders.

    Returns:
        The images of all sets or of the gallery, or what so many batches hold where that is less; ``None``
        where a data set has neither.
    """
    counts: list[int | None] = []
    for loaders, limits in _loaders(trainer):
        several = loaders if isinstance(loaders, list | tuple) else [loaders]
        batches = limits if isinstance(limits, list) else [limits] * len(several)
        counts += [
            _count(loader, limit * trainer.world_size)
            for loader, limit in zip(several, batches, strict=False)
        ]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _loaders(trainer: Trainer) -> list[tuple[Any, Any]]:
    """List the loaders of what runs, and how many batches each process takes of them."""
    if trainer.state.fn == TrainerFn.TESTING:
        return [(trainer.test_dataloaders, trainer.num_test_batches)]
    if trainer.state.fn == TrainerFn.PREDICTING:
        return [(trainer.predict_dataloaders, trainer.num_predict_batches)]
    validation = (trainer.val_dataloaders or [], trainer.num_val_batches)
    if trainer.state.fn == TrainerFn.VALIDATING:
        return [validation]
    # each epoch of a training may take other batches
    return [(trainer.train_dataloader, math.inf), validation]


def _count(loader: Any, batches: float) -> int | None:  # noqa: ANN401  # a loader of any data set
    """Count the images of a loader at most: a gallery's files, or the candidates of all sets."""
    dataset: Any = getattr(loader, "dataset", None)
    if hasattr(dataset, "files"):
        counts = [1] * len(dataset.files)
    elif hasattr(dataset, "sets"):
        counts = [len(candidates.names) for candidates in dataset.sets]
    else:
        # the texts of a gallery are the other half of it
        return 0 if hasattr(dataset, "texts") else None
    total = sum(counts)
    return total if math.isinf(batches) else min(total, int(batches) * loader.batch_size * max(counts))


def why_no_cache(task: type, *, augments: bool) -> str | None:
    """Say why a run cannot use a cache.

    Args:
        task: Its class.
        augments: Whether it trains on images that are never the same twice.

    Returns:
        The reason and the remedy, or ``None`` where it can.
    """
    if not issubclass(task, CachingTask) or "vision_encoder" in task.trained_parts:
        return (
            f"{task.__name__} cannot use it, since its ViT trains or its images change; ZeroShot, "
            "InterContext and ImageTextRetrieval can; leave it out or say --cache off"
        )
    if augments:
        return (
            "data.augment is true, so that no image is the same twice; set --data.augment false, or leave "
            "the cache out with --cache off"
        )
    return None

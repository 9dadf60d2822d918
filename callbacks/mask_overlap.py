"""Measures whether the patches masked for a phrase are those of the object that it names."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.guided_masks import (
    as_batch,
    begins_training,
    check_pretraining,
    guided_masks,
    undisturbed,
    validates_training,
)
from contextblip.errors import ConfigurationError
from contextblip.estimates import seed_interval
from contextblip.replacing import replacing
from contextblip.tasks import Pretraining
from data_modules import CaptionDataModule
from data_modules.caption_data.images import CaptionImageFinder
from data_modules.caption_data.regions import load_regions
from data_modules.caption_data.rows import CaptionSample
from data_modules.caption_data.sources import locate_visual_genome
from data_modules.files import image_roots
from data_modules.transforms import EvalTransform


class Overlap(NamedTuple):
    """One measurement; its fields are the columns of the file.

    Attributes:
        step: Optimiser steps taken.
        object_masked: Mean share of an object's patches that is masked.
        object_masked_chance: The same under a uniformly random mask of as many patches: M / P.
        object_masked_ratio: The first over the second; 1 is chance.
        low: Lower end of the 95% interval of ``object_masked``, Student's t over the regions.
        high: Upper end; both are ``None`` for one region.
        n: Regions.
    """

    step: int
    object_masked: float
    object_masked_chance: float
    object_masked_ratio: float
    low: float | None
    high: float | None
    n: int


class MaskOverlap(Callback):
    """Asks, in pre-training, whether the masked patches cover the object that the text names (Sec. 3.3).

    The truth is in Visual Genome's regions, each a phrase with a box, which training does not see. Before the
    first step and at every validation the same regions get their masks as `guided_masks` chooses them, and
    the share of each box that is masked is averaged, every patch by how much of it lies in the box.

    Logs ``val/object_masked``, ``val/object_masked_chance`` (what a uniformly random mask would cover, M / P)
    and ``val/object_masked_ratio``, their quotient: 1 with strategy ``random``, above 1 where masks seek the
    object, below 1 where they shun it. In ``fit`` it also keeps ``mask_overlap.csv`` in the run folder
    (``trainer.default_root_dir``), one row a measurement, columns as in `Overlap`; a resumed run goes on with
    it. With several processes each measures all regions, so that no number depends on how many there are.

    It needs Visual Genome in its official layout, ``region_descriptions.json`` and ``image_data.json``, below
    ``data.root``; the real one is read through once a run, and the regions' images stay in memory. Without
    TMIM the masks are those that it would choose: a control.

    Args:
        num_regions: How many regions, the same in every run; fewer where there are not as many.
        filename: Name of the file in the run folder.
    """

    def __init__(self, num_regions: int = 256, filename: str = "mask_overlap.csv") -> None:
        if num_regions < 1:
            raise ConfigurationError(f"MaskOverlap: num_regions is {num_regions}, expected at least 1")
        self.num_regions = num_regions
        self.filename = filename
        self._samples: list[CaptionSample] = []
        self._weights = torch.empty(0, 0)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the regions, once.

        Args:
            trainer: Has the data module.
            pl_module: The task.
            stage: Nothing is done but for ``fit`` and ``validate``.

        Raises:
            ConfigurationError: It is no pre-training on captions.
            DatasetNotFoundError: Visual Genome's regions or images are missing.
            DatasetError: They cannot be used.
        """
        if stage not in ("fit", "validate"):
            return
        _, data = check_pretraining(trainer, pl_module, type(self).__name__)
        if not self._samples:
            config = data.setup_shared()
            self._samples, boxes = _load(data, config.image_size, self.num_regions)
            self._weights = patch_weights(boxes, config.grid_size)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the masks before training.

        Args:
            trainer: Knows loggers and the run folder.
            pl_module: The task.
        """
        if begins_training(trainer):
            overlap = self._measure(trainer, pl_module)
            for logger in trainer.loggers:
                logger.log_metrics(_metrics(overlap), step=0)
            self._keep(trainer, overlap)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the masks.

        Args:
            trainer: Knows step and run folder.
            pl_module: The task; logs.
        """
        if trainer.sanity_checking:
            return
        overlap = self._measure(trainer, pl_module)
        pl_module.log_dict(_metrics(overlap), batch_size=overlap.n, sync_dist=True)
        if validates_training(trainer):
            self._keep(trainer, overlap)

    def _measure(self, trainer: Trainer, pl_module: LightningModule) -> Overlap:
        task, data = check_pretraining(trainer, pl_module, type(self).__name__)
        with undisturbed(trainer, task):
            shares = self._shares(trainer, task, data)
        patches = self._weights.shape[1]
        return summarise(shares.tolist(), task.policy.num_masked(patches) / patches, trainer.global_step)

    def _shares(self, trainer: Trainer, task: Pretraining, data: CaptionDataModule) -> Tensor:
        """Mask the regions batch by batch, ``(N,)``."""
        size = data.evaluation_batch_size
        shares = []
        for start in range(0, len(self._samples), size):
            batch = as_batch(trainer, data, self._samples[start : start + size])
            mask = guided_masks(task, batch).mask.mask.cpu()
            shares.append(object_masked(mask, self._weights[start : start + size]))
        return torch.cat(shares)

    def _keep(self, trainer: Trainer, overlap: Overlap) -> None:
        """Put a measurement behind those of earlier steps."""
        if trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False):
            append(Path(trainer.default_root_dir) / self.filename, overlap)


def _load(data: CaptionDataModule, image_size: int, count: int) -> tuple[list[CaptionSample], Tensor]:
    """Load regions from where the data module has Visual Genome."""
    source = locate_visual_genome(data.root_folder, "official")
    given = data.source_image_roots.get("visual_genome", data.image_root)
    below = None if given is None else Path(given).expanduser()
    folders = [source.folder, data.root_folder]
    roots = image_roots(folders, source.image_folders, below, "--data.image_root")
    return load_regions(source, CaptionImageFinder(source.name, roots), EvalTransform(image_size), count)


def patch_weights(boxes: Tensor, grid_size: int) -> Tensor:
    """Say how much of each patch lies in a box.

    Args:
        boxes: Left, top, right, bottom as shares of the image, ``(N, 4)``.
        grid_size: Patches along one side.

    Returns:
        Shares of the patches' areas, row-major, ``(N, P)``.
    """
    edges = torch.arange(grid_size + 1) / grid_size

    def along(low: Tensor, high: Tensor) -> Tensor:
        inside = torch.minimum(high[:, None], edges[1:]) - torch.maximum(low[:, None], edges[:-1])
        return inside.clamp_min(0) * grid_size

    left, top, right, bottom = boxes.unbind(dim=1)
    return torch.einsum("nr,nc->nrc", along(top, bottom), along(left, right)).flatten(1)


def object_masked(mask: Tensor, weights: Tensor) -> Tensor:
    """Return the share of each object's patches that is masked.

    Args:
        mask: True where hidden, ``(N, P)`` bool.
        weights: How much of each patch is the object's, ``(N, P)``, not all zero.

    Returns:
        ``(N,)`` between 0 and 1.
    """
    return (weights * mask).sum(dim=1) / weights.sum(dim=1)


def summarise(shares: Sequence[float], chance: float, step: int) -> Overlap:
    """Average the shares of the regions.

    Args:
        shares: One a region, at least one.
        chance: Share of the patches that is masked.
        step: Optimiser steps taken.

    Returns:
        The measurement.
    """
    mean = sum(shares) / len(shares)
    low, high = seed_interval(shares) or (None, None)
    return Overlap(step, mean, chance, mean / chance, low, high, len(shares))


def append(path: Path, overlap: Overlap) -> None:
    """Put a measurement into the file, behind those of earlier steps alone.

    Later ones were left by a run that went on from an earlier checkpoint than its last.

    Args:
        path: The file.
        overlap: The measurement.
    """
    rows: list[list[str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if int(row[0]) < overlap.step]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Overlap._fields)
        writer.writerows(rows)
        writer.writerow(
            "" if value is None else f"{value:.6f}" if isinstance(value, float) else value
            for value in overlap
        )


def _metrics(overlap: Overlap) -> dict[str, float]:
    names = ("object_masked", "object_masked_chance", "object_masked_ratio")
    return {f"val/{name}": getattr(overlap, name) for name in names}

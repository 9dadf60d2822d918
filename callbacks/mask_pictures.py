"""Draws the masks of a few captions while the adapter learns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor

from callbacks.guided_masks import (
    GuidedMasks,
    as_batch,
    begins_training,
    check_pretraining,
    guided_masks,
    undisturbed,
    validates_training,
)
from callbacks.mask_drawing import Pixels, changes, enlarge, fill_in, heat, hide, sheet, thin_out
from contextblip.errors import ConfigurationError
from contextblip.losses import NORMALIZED_EPS
from contextblip.models.mim_decoder import take_patches
from contextblip.models.vision_encoder import patchify
from contextblip.replacing import replacing
from contextblip.types import CaptionBatch
from data_modules import CaptionDataModule
from data_modules.caption_data.rows import CaptionSample

MOST_COLUMNS = 12
"""Validations in the strip over training; of more, evenly chosen ones are drawn."""


class MaskPictures(Callback):
    """Shows, in pre-training, what is masked for a few captions and what the decoder makes of it (Sec. 3.3).

    Before the first step and at every validation of ``fit`` it draws ``step_XXXXXX.png``, one row a caption:
    the image, the attention of the driving row over it, the image with the masked patches in grey, and the
    image with the decoder's reconstruction in their place (not without TMIM); ``over_training.png``, one
    column a validation, where patches that are newly masked have a frame; and ``masks.json``, the numbers of
    the masked patches by step, with which a resumed run goes on. They lie in ``masks/`` of the run folder
    (``trainer.default_root_dir``); TensorBoard gets both pictures.

    Masks are chosen as `guided_masks` does, with the mean over words as driving row and without noise. The
    captions are spread evenly over the validation set, the same at every step.

    Args:
        num_captions: How many captions; fewer where there are not as many.
        folder: Name of the folder in the run folder.
    """

    def __init__(self, num_captions: int = 4, folder: str = "masks") -> None:
        if num_captions < 1:
            raise ConfigurationError(f"MaskPictures: num_captions is {num_captions}, expected at least 1")
        self.num_captions = num_captions
        self.folder = folder
        self._samples: list[CaptionSample] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the captions, once.

        Args:
            trainer: Has the data module.
            pl_module: The task.
            stage: Nothing is done but for ``fit``.

        Raises:
            ConfigurationError: It is no pre-training on captions, or there are none for validation.
            DatasetError: An image cannot be read.
        """
        if stage == "fit":
            _, data = check_pretraining(trainer, pl_module, type(self).__name__)
            self._samples = evenly_spread(data, self.num_captions)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the masks before training.

        Args:
            trainer: Knows loggers and the run folder.
            pl_module: The task.
        """
        if begins_training(trainer):
            self._draw(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the masks.

        Args:
            trainer: Knows loggers and the run folder.
            pl_module: The task.
        """
        if validates_training(trainer):
            self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        task, data = check_pretraining(trainer, pl_module, type(self).__name__)
        with undisturbed(trainer, task):  # in every process: some strategies share the weights among them
            batch = as_batch(trainer, data, self._samples)
            found = guided_masks(task, batch, reconstruct=True)
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        folder, step = Path(trainer.default_root_dir) / self.folder, trainer.global_step
        folder.mkdir(parents=True, exist_ok=True)
        images = [as_pixels(sample["image"]) for sample in self._samples]
        captions = [sample["caption"].strip() for sample in self._samples]
        shown = None
        if found.reconstruction is not None:
            shown = as_levels(found.reconstruction, found, batch, task.normalize_pixels)
        history = remember(folder / "masks.json", captions, step, found.mask.mask)
        pictures = {
            f"step_{step:06d}": draw_step(step, images, captions, found, shown),
            "over_training": draw_over_training(images, captions, history),
        }
        for name, picture in pictures.items():
            with replacing(folder / f"{name}.png") as draft:
                picture.save(draft)
        _show(trainer, dict(zip(("masks/step", "masks/over_training"), pictures.values(), strict=True)), step)


def evenly_spread(data: CaptionDataModule, count: int) -> list[CaptionSample]:
    """Load captions spread evenly over the validation set.

    Args:
        data: Its ``setup`` has run.
        count: How many.

    Returns:
        At most so many samples, in order.

    Raises:
        ConfigurationError: There are none.
        DatasetError: An image cannot be read.
    """
    total = len(data.val_set or [])
    if data.val_set is None or not total:
        raise ConfigurationError(
            "callbacks.MaskPictures draws captions of the validation set, which is empty; raise "
            "--data.val_fraction or leave it out of trainer.callbacks"
        )
    rows = sorted({total * number // count for number in range(count)})
    return data.val_set.__getitems__(rows)


def as_pixels(image: Tensor) -> Pixels:
    """Turn ``(3, H, W)`` uint8 into ``(H, W, 3)``."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def as_levels(
    reconstruction: Tensor, found: GuidedMasks, batch: CaptionBatch, normalize_pixels: bool
) -> Tensor:
    """Undo the normalisation of what the decoder says.

    Args:
        reconstruction: Of the masked patches, ``(B, M, 3p²)``.
        found: Has the mask.
        batch: Has the images as the network sees them.
        normalize_pixels: Whether the decoder's target has zero mean and unit variance in each patch; then
            mean and variance are the true patch's, which the decoder never sees.

    Returns:
        Levels from 0 to 255, perhaps beyond, ``(B, M, 3p²)`` float32.
    """
    values = reconstruction.float()
    if normalize_pixels:
        size = int((values.shape[-1] // 3) ** 0.5)
        true = take_patches(patchify(batch["images"].float(), size), found.mask.ids_mask)
        spread = (true.var(dim=-1, keepdim=True) + NORMALIZED_EPS).sqrt()
        values = values * spread + true.mean(dim=-1, keepdim=True)
    mean, std = (torch.tensor(of, device=values.device) for of in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    colours = values.reshape(*values.shape[:-1], -1, 3)  # b m (y x c) -> b m (y x) c
    return ((colours * std + mean) * 255).flatten(-2)


def draw_step(
    step: int, images: list[Pixels], captions: list[str], found: GuidedMasks, levels: Tensor | None
) -> Image.Image:
    """Draw one validation.

    Args:
        step: Optimiser steps taken.
        images: N of them, each ``(H, W, 3)``.
        captions: One an image.
        found: Masks and attention.
        levels: Reconstruction from 0 to 255, ``(N, M, 3p²)``, if there is any.

    Returns:
        The picture.
    """
    masked, patches = found.mask.ids_mask.shape[1], found.mask.mask.shape[1]
    grid, rows = round(patches**0.5), []
    for number, pixels in enumerate(images):
        row = [
            enlarge(pixels),
            heat(pixels, found.row_attention[number], grid),
            hide(pixels, found.mask.mask[number].cpu(), grid),
        ]
        if levels is not None:
            row.append(fill_in(pixels, levels[number], found.mask.ids_mask[number], grid))
        rows.append(row)
    headings = ["image", "attention (mean over words)", "masked patches", "reconstruction"][: len(rows[0])]
    return sheet(f"step {step:,}: {masked} of {patches} patches masked", headings, rows, captions)


def draw_over_training(images: list[Pixels], captions: list[str], history: dict[int, Tensor]) -> Image.Image:
    """Draw the masks of all validations so far side by side.

    Args:
        images: N of them, each ``(H, W, 3)``.
        captions: One an image.
        history: Masks by step, each ``(N, P)`` bool.

    Returns:
        The picture.
    """
    steps = thin_out(list(history), MOST_COLUMNS)
    grid = round(next(iter(history.values())).shape[1] ** 0.5)
    rows = []
    for number, pixels in enumerate(images):
        masks = [history[step][number] for step in steps]
        tiles = [hide(pixels, mask, grid, before) for mask, before in zip(masks, changes(masks), strict=True)]
        rows.append([enlarge(pixels), *tiles])
    title = "masks over training; framed: masked now, visible in the column before"
    return sheet(title, ["image", *(f"step {step:,}" for step in steps)], rows, captions)


def remember(path: Path, captions: list[str], step: int, mask: Tensor) -> dict[int, Tensor]:
    """Put masks into the file, behind those of earlier steps of the same captions.

    Args:
        path: The file.
        captions: N of them.
        step: Optimiser steps taken.
        mask: True where hidden, ``(N, P)`` bool.

    Returns:
        Masks by step, this one last.
    """
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    same = content.get("captions") == captions and content.get("patches") == mask.shape[1]
    masked = {int(key): rows for key, rows in content["masked"].items()} if same else {}
    kept = {earlier: rows for earlier, rows in masked.items() if earlier < step}
    kept[step] = [row.nonzero().flatten().tolist() for row in mask]
    with replacing(path) as draft:
        written = {"captions": captions, "patches": mask.shape[1], "masked": kept}
        draft.write_text(json.dumps(written, ensure_ascii=False) + "\n", encoding="utf-8")
    history = {}
    for earlier, rows in kept.items():
        history[earlier] = torch.zeros(mask.shape, dtype=torch.bool)
        for number, hidden in enumerate(rows):
            history[earlier][number, hidden] = True
    return history


def _show(trainer: Trainer, pictures: dict[str, Image.Image], step: int) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            for name, picture in pictures.items():
                logger.experiment.add_image(name, np.asarray(picture), step, dataformats="HWC")

"""Rows of image-caption pairs: an Arrow table, a dataset over it, batches and the order of an epoch."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from contextblip.types import CaptionBatch
from data_modules.caption_sources import Source, Split, hold_out
from data_modules.files import ImageFinder, readable_image
from data_modules.loaders import Order, Row, epoch_and_row
from data_modules.text import TextProcessor
from data_modules.transforms import EvalTransform, TrainTransform, sample_seed

if TYPE_CHECKING:  # a second of imports that other modules need not pay
    from datasets import Dataset as Table


class CaptionSample(TypedDict):
    """One row: pixels ``(3, H, W)`` float32, the published caption, the image's number and the row's."""

    image: Tensor
    caption: str
    image_id: int
    index: int


class CaptionDataset(Dataset[CaptionSample]):
    """Image-caption pairs over an Arrow table, whose memory forked workers share.

    Args:
        table: ``datasets.Dataset`` with the columns of ``build_table``.
        transform: From an image and a seed to pixels.
        seed: Seed of the run.
    """

    def __init__(self, table: "Table", transform: EvalTransform | TrainTransform, seed: int) -> None:
        self.table = table
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Row) -> CaptionSample:
        epoch, row = epoch_and_row(index)
        values = self.table[row]
        with readable_image(values["image"], values["source"]) as image:
            pixels = self.transform(image, sample_seed(self.seed, epoch, row))
        return {"image": pixels, "caption": values["caption"], "image_id": values["image_id"], "index": row}


class CaptionCollate:
    """Make a ``CaptionBatch``; texts are padded to the batch's longest.

    Args:
        text: Clean-up and tokenizer.
    """

    def __init__(self, text: TextProcessor) -> None:
        self.text = text

    def __call__(self, samples: Sequence[CaptionSample]) -> CaptionBatch:
        """Collate B samples."""
        input_ids, attention_mask = self.text([sample["caption"] for sample in samples])
        return {
            "images": torch.stack([sample["image"] for sample in samples]),
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "image_id": torch.tensor([sample["image_id"] for sample in samples]),
            "index": torch.tensor([sample["index"] for sample in samples]),
        }


def build_table(
    sources: Sequence[Source],
    split: Split,
    *,
    image_roots: Callable[[Source], list[Path]],
    val_fraction: float,
    group_size: int,
) -> "Table":
    """Join the rows of several sources, one a caption, in file order; blank captions are left out.

    Args:
        sources: Captioned images.
        split: Which split.
        image_roots: Folders below which a source's images may lie.
        val_fraction: Share of images held out where a source has no validation split.
        group_size: Consecutive images that form a group.

    Returns:
        ``datasets.Dataset`` with the columns ``source`` (its name), ``image`` (path), ``caption``,
        ``image_id``, ``group``.

    Raises:
        DatasetNotFoundError: Images are missing.
    """
    from datasets import Dataset as Table

    columns: dict[str, list[Any]] = {"source": [], "image": [], "caption": [], "image_id": [], "group": []}
    groups = 0
    for source in sources:
        if source.has_validation:
            rows = [(number // group_size, image) for number, image in enumerate(source.splits[split])]
        else:
            rows = hold_out(source.splits["train"], val_fraction, group_size)[split]
        finder = ImageFinder(source.name, image_roots(source))
        files = finder.find_all([image.path for _, image in rows])
        for (group, image), file in zip(rows, files, strict=True):
            captions = [caption for caption in image.captions if caption.strip()]
            columns["source"] += [source.name] * len(captions)
            columns["image"] += [file] * len(captions)
            columns["caption"] += captions
            columns["image_id"] += [_image_number(image.key)] * len(captions)
            columns["group"] += [groups + group] * len(captions)
        groups += 1 + max((group for group, _ in rows), default=0)
    return Table.from_dict(columns)


def _image_number(key: str) -> int:
    """Number an image by its key: the same in every process, stage and mixture."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def caption_order(image_id: Order, group: Order, *, seed: int, epoch: int, one_per_image: bool) -> Order:
    """Shuffle rows so that a unit, one caption of each image of a group, stays together.

    With groups of one image this is a plain permutation of the rows.

    Args:
        image_id: Image of each row, ``(N,)``.
        group: Group of each row, ``(N,)``.
        seed: Seed of the run.
        epoch: Number of the epoch.
        one_per_image: Keep one caption of each image, drawn anew every epoch.

    Returns:
        Rows in order; ``(N,)`` or one an image.
    """
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(image_id))
    by_image = shuffled[np.argsort(image_id[shuffled], kind="stable")]
    first = np.flatnonzero(np.diff(image_id[by_image], prepend=image_id[by_image[:1]] - 1))
    turn = np.empty(len(image_id), dtype=np.int64)
    turn[by_image] = np.arange(len(image_id)) - np.repeat(first, np.diff(first, append=len(image_id)))
    rows = np.flatnonzero(turn == 0) if one_per_image else np.arange(len(image_id))
    _, unit = np.unique(group[rows] * (turn.max() + 1) + turn[rows], return_inverse=True)
    place = rng.permutation(int(unit.max()) + 1)
    return rows[np.argsort(place[unit], kind="stable")]

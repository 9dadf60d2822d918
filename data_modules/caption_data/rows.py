"""Rows of image-caption pairs: memory-mapped captions, image files, a dataset over them and its batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from contextblip.errors import DatasetError
from contextblip.types import CaptionBatch
from data_modules.caption_data.sources import Split
from data_modules.files import readable_image
from data_modules.loaders import Order, Row, epoch_and_row
from data_modules.text import TextProcessor
from data_modules.transforms import EvalTransform, TrainTransform, sample_seed
from data_modules.unreadable import UnreadableImages, substitute_row

if TYPE_CHECKING:  # a second of imports that other modules need not pay
    from datasets import Dataset as Table

MOST_SUBSTITUTES = 100
_SIDES = r"(?i)\b(left|right)\b"


@dataclass(frozen=True)
class CaptionRows:
    """The captions of a split over all sources; nothing in it grows when workers read it.

    Texts stay in the memory-mapped tables; the rest are arrays that forked processes share.

    Attributes:
        table: One row an image of any split, with the column ``captions``.
        sources: Names of the sources, for messages.
        files: File of each of the split's M images.
        table_row: Row of the table of each image, ``(M,)``.
        image_ids: Number of each image, the same for one photo in all sources, ``(M,)``.
        groups: Group of each image, ``(M,)``.
        image_sources: Source of each image, ``(M,)``.
        image: Image of each of the N captions, ``(N,)``.
        position: Place of each caption among its image's, ``(N,)``.
    """

    table: "Table"
    sources: tuple[str, ...]
    files: "pa.StringArray"
    table_row: Order
    image_ids: Order
    groups: Order
    image_sources: Order
    image: Order
    position: Order

    def __len__(self) -> int:
        return len(self.image)

    def captions(self, rows: Sequence[int]) -> list[str]:
        """Fetch captions by one query.

        Args:
            rows: B rows.

        Returns:
            Their published captions.
        """
        of_images = self.table[self.table_row[self.image[rows]].tolist()]["captions"]
        positions = self.position[rows].tolist()
        return [texts[position] for texts, position in zip(of_images, positions, strict=True)]

    @property
    def texts(self) -> "CaptionTexts":
        """All captions in order, fetched when asked for."""
        return CaptionTexts(self)

    def count_sides(self) -> int:
        """Count the captions that say left or right."""
        said = pc.match_substring_regex(_flat(self.table), pattern=_SIDES)
        return int(np.count_nonzero(said.to_numpy()[_flat_rows(self)]))


def _flat(table: "Table") -> "pa.ChunkedArray":
    """All captions of a table, without copying them."""
    return pa.chunked_array(
        [chunk.flatten() for chunk in table.data.column("captions").chunks], type=pa.string()
    )


def caption_counts(table: "Table") -> Order:
    """Number of captions of each image of a table."""
    lengths = pc.list_value_length(table.data.column("captions"))
    return lengths.to_numpy().astype(np.int64)  # type: ignore[no-any-return]  # pyarrow is not typed


def _flat_rows(rows: CaptionRows) -> Order:
    """Place of each caption among all of the table, ``(N,)``."""
    lengths = caption_counts(rows.table)
    starts = np.cumsum(lengths) - lengths
    return starts[rows.table_row[rows.image]] + rows.position


class CaptionTexts(Sequence[str]):
    """The captions of some rows as a sequence that holds none of them.

    Args:
        rows: Which.
    """

    def __init__(self, rows: CaptionRows) -> None:
        self._flat = _flat(rows.table)
        self._places = _flat_rows(rows)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        places = self._places[index]
        if isinstance(index, slice):
            return [self._flat[int(place)].as_py() for place in places]
        return str(self._flat[int(places)].as_py())

    def __iter__(self) -> Iterator[str]:
        for place in self._places.tolist():
            yield self._flat[place].as_py()


class CaptionSample(TypedDict):
    """One row: pixels ``(3, H, W)`` uint8, the published caption, the image's number and the row's."""

    image: Tensor
    caption: str
    image_id: int
    index: int


class CaptionDataset(Dataset[CaptionSample]):
    """Image-caption pairs whose memory forked workers share.

    Args:
        rows: Captions and image files.
        transform: From an image and a seed to pixels.
        seed: Seed of the run.
        split: For messages.
        unreadable: Counts unreadable images, whose rows others replace; ``None``: each is an error.
    """

    def __init__(
        self,
        rows: CaptionRows,
        transform: EvalTransform | TrainTransform,
        seed: int,
        split: Split,
        unreadable: UnreadableImages | None = None,
    ) -> None:
        self.rows = rows
        self.transform = transform
        self.seed = seed
        self.split = split
        self.unreadable = unreadable

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Row) -> CaptionSample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[Row]) -> list[CaptionSample]:
        """Load a batch; its captions are fetched at once."""
        asked = [epoch_and_row(index) for index in indices]
        captions = self.rows.captions([index % len(self) for _, index in asked])
        return [self._sample(*pair, caption) for pair, caption in zip(asked, captions, strict=True)]

    def _sample(self, epoch: int, index: int, caption: str) -> CaptionSample:
        # a row that comes again in an epoch has N added: other pixels, same row
        row = index % len(self)
        try:
            return self._read(row, caption, sample_seed(self.seed, epoch, index))
        except DatasetError as error:
            if self.unreadable is None:
                raise
            return self._substitute(epoch, row, error, self.unreadable)

    def _read(self, row: int, caption: str, seed: int) -> CaptionSample:
        number = int(self.rows.image[row])
        source = self.rows.sources[self.rows.image_sources[number]]
        with readable_image(self.rows.files[number].as_py(), f"{source} {self.split}") as image:
            pixels = self.transform(image, seed)
        image_id = int(self.rows.image_ids[number])
        return {"image": pixels, "caption": caption, "image_id": image_id, "index": row}

    def _substitute(
        self, epoch: int, row: int, error: DatasetError, unreadable: UnreadableImages
    ) -> CaptionSample:
        broken = row
        for attempt in range(MOST_SUBSTITUTES):
            unreadable.add(int(self.rows.image[broken]), error)
            broken = substitute_row(self.seed, epoch, row, attempt, len(self))
            try:
                return self._read(
                    broken, self.rows.captions([broken])[0], sample_seed(self.seed, epoch, broken)
                )
            except DatasetError as next_error:
                error = next_error
        raise error


class CaptionCollate:
    """Make a ``CaptionBatch`` whose images are still bytes; texts are padded to the batch's longest.

    Args:
        text: Clean-up and tokenizer.
    """

    def __init__(self, text: TextProcessor) -> None:
        self.text = text

    def __call__(self, samples: Sequence[CaptionSample]) -> CaptionBatch:
        """Collate B samples."""
        input_ids, attention_mask = self.text([sample["caption"] for sample in samples])
        return {
            # stacks in memory shared with the main process: batches made on the heap first left holes there,
            # and workers grew several times as large
            "images": default_collate([sample["image"] for sample in samples]),
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "image_id": torch.tensor([sample["image_id"] for sample in samples]),
            "index": torch.tensor([sample["index"] for sample in samples]),
        }

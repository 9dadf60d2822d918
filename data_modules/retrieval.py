"""Queries over candidate sets: a dataset that loads each set once a batch, and batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset, default_collate

from contextblip.errors import DatasetError
from contextblip.types import Query, RetrievalBatch, TextParts
from data_modules.archive import ArchivedFolder
from data_modules.images import ImageReference, readable_image
from data_modules.loaders import Row, epoch_and_row
from data_modules.text import TextProcessor
from data_modules.transforms import EvalTransform, TrainTransform, sample_seed
from data_modules.unreadable import UnreadableImages, substitute_row

Protocol = Literal["retrieval", "pairs"]


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """The images a description may mean; small, since a split has thousands of them.

    Attributes:
        name: As published.
        folder: Where the images lie, on disk or in an archive.
        names: File names in the order that target indices count.
        is_video: Whether they are frames of one video.
        fault: Why target indices mean other images than these, in a line; ``None`` where all is well.
    """

    name: str
    folder: Path | ArchivedFolder
    names: tuple[str, ...]
    is_video: bool
    fault: str | None = None

    @property
    def files(self) -> tuple[ImageReference, ...]:
        """The images in the order that target indices count."""
        return tuple(self.folder.joinpath(name) for name in self.names)


@dataclass(frozen=True)
class RetrievalItem:
    """Queries that stay together, all over one set.

    Attributes:
        set_row: Row of their set.
        queries: One or more.
        target_indices: Described candidate of each, -1 where unlabelled.
    """

    set_row: int
    queries: tuple[Query, ...]
    target_indices: tuple[int, ...]


class RetrievalSample(TypedDict):
    """One item: the candidates' pixels ``(K, 3, H, W)`` uint8 and its queries."""

    images: Tensor
    set_row: int
    is_video: bool
    queries: tuple[Query, ...]
    target_indices: tuple[int, ...]


class RetrievalDataset(Dataset[RetrievalSample]):
    """Items over candidate sets.

    Args:
        name: Name of the data set, for messages.
        sets: Candidate sets.
        items: Queries, in file order.
        transform: From an image and a seed to pixels.
        seed: Seed of the run.
        augment_together: Whether all candidates of a set share one draw of the augmentation, which keeps the
            differences between them.
        max_unreadable: Training: share of the images that may be unreadable; an item whose set has one, or
            has a fault, which counts as one, is replaced by another. ``None`` is evaluation: no item is ever
            replaced, an unreadable image or a fault is an error.

    Raises:
        DatasetError: A set has a fault; in training: more sets have than images may be unreadable.
    """

    def __init__(
        self,
        name: str,
        sets: Sequence[CandidateSet],
        items: Sequence[RetrievalItem],
        transform: EvalTransform | TrainTransform,
        seed: int,
        augment_together: bool = True,
        max_unreadable: float | None = None,
    ) -> None:
        self.name = name
        self.sets = sets
        self.items = items
        self.transform = transform
        self.seed = seed
        self.augment_together = augment_together
        self.unreadable: UnreadableImages | None = None
        if max_unreadable is not None:
            # a set of which no image is there still has one that can be marked
            sizes = np.array([max(1, len(candidates.names)) for candidates in sets], dtype=np.int64)
            self._first_images = np.cumsum(sizes) - sizes
            self.unreadable = UnreadableImages(name, int(sizes.sum()), max_unreadable)
        for set_row, candidates in enumerate(sets):
            if candidates.fault is not None:
                self._mark(set_row, 0, DatasetError(f"{name}: {candidates.fault}"))

    @property
    def query_ids(self) -> list[tuple[str, int]]:
        """Set and place of every query, in order."""
        return [(query["set_name"], query["query_index"]) for item in self.items for query in item.queries]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Row) -> RetrievalSample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[Row]) -> list[RetrievalSample]:
        """Return the samples of a batch; the images of a set are read once and shared.

        Args:
            indices: Rows, with or without their epoch.

        Returns:
            One sample a row.

        Raises:
            DatasetError: An image is unreadable; in training: too many are.
        """
        loaded: dict[tuple[int, int], Tensor | None] = {}
        return [self._sample(*epoch_and_row(index), loaded) for index in indices]

    def _sample(
        self, epoch: int, wanted: int, loaded: dict[tuple[int, int], Tensor | None]
    ) -> RetrievalSample:
        """Return a row's sample or, where its set is unreadable, that of a substitute."""
        row = wanted
        for attempt in range(len(self.items)):
            item = self.items[row]
            key = (epoch, item.set_row)
            if key not in loaded:
                loaded[key] = self._load_or_mark(*key)
            if (images := loaded[key]) is not None:
                return {
                    "images": images,
                    "set_row": item.set_row,
                    "is_video": self.sets[item.set_row].is_video,
                    "queries": item.queries,
                    "target_indices": item.target_indices,
                }
            row = substitute_row(self.seed, epoch, wanted, attempt, len(self.items))
        raise DatasetError(f"{self.name}: no training set is readable; run `lightning data verify`")

    def _load_or_mark(self, epoch: int, set_row: int) -> Tensor | None:
        """Read the candidates of a set; in training an unreadable one is marked and nothing returned."""
        if self.sets[set_row].fault is not None:
            return None
        images: list[Tensor] = []
        for rank in range(len(self.sets[set_row].names)):
            try:
                images.append(self._load_image(epoch, set_row, rank))
            except DatasetError as error:
                self._mark(set_row, rank, error)
                return None
        return torch.stack(images)

    def _mark(self, set_row: int, rank: int, error: DatasetError) -> None:
        """Count an image as unreadable in training; evaluation tolerates none."""
        if self.unreadable is None:
            raise error
        self.unreadable.add(int(self._first_images[set_row]) + rank, error)

    def _load_image(self, epoch: int, set_row: int, rank: int) -> Tensor:
        candidates = self.sets[set_row]
        # ranks lie beyond any epoch's rows, so that no two draws coincide by construction
        draw = set_row if self.augment_together else (rank + 1) << 32 | set_row
        file = candidates.folder.joinpath(candidates.names[rank])
        with readable_image(file, f"{self.name}, set {candidates.name}") as image:
            return self.transform(image, sample_seed(self.seed, epoch, draw))


class RetrievalCollate:
    """Make a ``RetrievalBatch``: distinct sets once, candidates padded to the largest set, pixels as loaded.

    Args:
        text: Clean-up and tokenizer.
        protocol: ``pairs`` where all queries of a set must be right together.
    """

    def __init__(self, text: TextProcessor, protocol: Protocol = "retrieval") -> None:
        self.text = text
        self.protocol: Protocol = protocol

    def __call__(self, samples: Sequence[RetrievalSample]) -> RetrievalBatch:
        """Collate samples that hold B queries over S sets."""
        sets = {sample["set_row"]: sample["images"] for sample in samples}
        position = {set_row: number for number, set_row in enumerate(sets)}
        per_query = [(sample, number) for sample in samples for number in range(len(sample["queries"]))]
        queries = [sample["queries"][number] for sample, number in per_query]
        input_ids, attention_mask = self.text([query["text"] for query in queries])
        in_parts = any(query["parts"] for query in queries)
        images, candidate_mask = pad_candidates(list(sets.values()))
        return {
            "images": images,
            "candidate_mask": candidate_mask,
            "set_index": torch.tensor([position[sample["set_row"]] for sample, _ in per_query]),
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "target_index": torch.tensor([sample["target_indices"][number] for sample, number in per_query]),
            "is_video": torch.tensor([sample["is_video"] for sample, _ in per_query]),
            "queries": queries,
            "protocol": self.protocol,
            "parts": self._parts(queries) if in_parts else None,
        }

    def _parts(self, queries: Sequence[Query]) -> TextParts:
        """Tokenise the parts of all texts; a text without parts is its own only one."""
        parts = [query["parts"] or [query["text"]] for query in queries]
        input_ids, attention_mask = self.text([part for texts in parts for part in texts])
        rows = [row for row, texts in enumerate(parts) for _ in texts]
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "query_index": torch.tensor(rows),
        }


def pad_candidates(sets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack sets of different sizes.

    Args:
        sets: S tensors ``(K_s, 3, H, W)``.

    Returns:
        Zero-padded pixels ``(S, K, 3, H, W)`` of the same dtype and the mask of real candidates ``(S, K)``.
    """
    sizes = [len(images) for images in sets]
    most = max(sizes)
    candidate_mask = torch.arange(most) < torch.tensor(sizes).unsqueeze(1)
    equal = [
        images if size == most else pad(images, (0, 0, 0, 0, 0, 0, 0, most - size))
        for images, size in zip(sets, sizes, strict=True)
    ]
    # stacks in memory shared with the main process; on the heap it would leave holes
    padded: Tensor = default_collate(equal)
    return padded, candidate_mask

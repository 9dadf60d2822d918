"""Queries over candidate sets: a dataset that loads each set once a batch, batches, the order of an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from contextblip.types import Query, RetrievalBatch
from data_modules.files import readable_image
from data_modules.loaders import Order, Row, epoch_and_row
from data_modules.text import TextProcessor
from data_modules.transforms import EvalTransform, TrainTransform, sample_seed

Protocol = Literal["retrieval", "pairs"]


@dataclass(frozen=True)
class CandidateSet:
    """The images a description may mean.

    Attributes:
        name: As published.
        files: Images in the order that target indices count.
        is_video: Whether they are frames of one video.
    """

    name: str
    files: tuple[Path, ...]
    is_video: bool


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
    """One item: the candidates' pixels ``(K, 3, H, W)`` float32 and its queries."""

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
    """

    def __init__(
        self,
        name: str,
        sets: Sequence[CandidateSet],
        items: Sequence[RetrievalItem],
        transform: EvalTransform | TrainTransform,
        seed: int,
        augment_together: bool = True,
    ) -> None:
        self.name = name
        self.sets = sets
        self.items = items
        self.transform = transform
        self.seed = seed
        self.augment_together = augment_together

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
        """
        loaded: dict[tuple[int, int], Tensor] = {}
        samples: list[RetrievalSample] = []
        for index in indices:
            epoch, row = epoch_and_row(index)
            item = self.items[row]
            key = (epoch, item.set_row)
            if key not in loaded:
                loaded[key] = self.load_set(*key)
            samples.append(
                {
                    "images": loaded[key],
                    "set_row": item.set_row,
                    "is_video": self.sets[item.set_row].is_video,
                    "queries": item.queries,
                    "target_indices": item.target_indices,
                }
            )
        return samples

    def load_set(self, epoch: int, set_row: int) -> Tensor:
        """Read the candidates of a set.

        Args:
            epoch: Number of the epoch; the augmentation depends on it.
            set_row: Row of the set.

        Returns:
            Pixels, ``(K, 3, H, W)`` float32.
        """
        candidates = self.sets[set_row]
        images = []
        for rank, file in enumerate(candidates.files):
            # ranks lie beyond any epoch's rows, so that no two draws coincide by construction
            seed = sample_seed(
                self.seed, epoch, set_row if self.augment_together else (rank + 1) << 32 | set_row
            )
            with readable_image(file, f"{self.name}, set {candidates.name}") as image:
                images.append(self.transform(image, seed))
        return torch.stack(images)


class RetrievalCollate:
    """Make a ``RetrievalBatch``: distinct sets once, candidates padded to the largest set.

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
        }


def pad_candidates(sets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack sets of different sizes.

    Args:
        sets: S tensors ``(K_s, 3, H, W)``.

    Returns:
        Zero-padded pixels ``(S, K, 3, H, W)`` and the mask of real candidates ``(S, K)``.
    """
    sizes = torch.tensor([len(images) for images in sets])
    candidate_mask = torch.arange(int(sizes.max())) < sizes.unsqueeze(1)
    padded = sets[0].new_zeros((*candidate_mask.shape, *sets[0].shape[1:]))
    padded[candidate_mask] = torch.cat(list(sets))
    return padded, candidate_mask


def grouped_order(set_rows: Order, batch_size: int, *, seed: int, epoch: int) -> Order:
    """Shuffle sets and fill every batch with whole sets; a set is split only where none fits.

    Args:
        set_rows: Set of each item, ``(N,)``.
        batch_size: Items a batch.
        seed: Seed of the run.
        epoch: Number of the epoch.

    Returns:
        Items in order, ``(N,)``; batches are its consecutive blocks.
    """
    rng = np.random.default_rng([seed, epoch])
    by_set = np.argsort(set_rows, kind="stable")
    members = np.split(by_set, np.flatnonzero(np.diff(set_rows[by_set])) + 1)
    waiting = [members[number].tolist() for number in rng.permutation(len(members))]
    order: list[int] = []
    while waiting:
        room = batch_size - len(order) % batch_size
        fits = next((place for place, rows in enumerate(waiting) if len(rows) <= room), None)
        if fits is None:
            order += waiting[0][:room]
            waiting[0] = waiting[0][room:]
        else:
            order += waiting.pop(fits)
    return np.array(order, dtype=np.int64)


def shuffled_order(size: int, *, seed: int, epoch: int) -> Order:
    """Return a permutation of ``size`` items that depends on seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(size)

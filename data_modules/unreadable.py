"""Unreadable training images: counted over all workers, replaced by other rows, too many of them refused."""

import logging
import math

import numpy as np
import torch
from torch import Tensor

from contextblip.errors import DatasetError

log = logging.getLogger(__name__)


class UnreadableImages:
    """The distinct images of a training set that could not be read, seen by all of its workers.

    One flag an image lies in memory that forked and spawned workers share; setting it twice changes nothing,
    so no lock is needed. Each device of a distributed run counts what its own workers meet.

    Args:
        name: Name of the data set, for messages.
        total: Distinct images of the training set.
        share: Share of them that may be unreadable; 0 allows none.
    """

    def __init__(self, name: str, total: int, share: float) -> None:
        self.name = name
        self.share = share
        flags = torch.zeros(total, dtype=torch.bool)
        self._flags: Tensor = flags.share_memory_()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._warned: set[int] = set()

    @property
    def total(self) -> int:
        """Distinct images of the training set."""
        return len(self._flags)

    @property
    def count(self) -> int:
        """Distinct images met so far that could not be read."""
        return int(self._flags.sum())

    def add(self, image: int, error: DatasetError) -> None:
        """Mark an image as unreadable; the caller then takes another row.

        Args:
            image: Number of the image, from 0 up to below ``total``.
            error: Why it cannot be read.

        Raises:
            DatasetError: More than the allowed share of the images cannot be read.
        """
        self._flags[image] = True
        count = self.count
        if count > self.share * self.total:
            raise DatasetError(
                f"{self.name}: {count:,} of {self.total:,} training images "
                f"{'is' if count == 1 else 'are'} unreadable, more than --data.max_unreadable {self.share:g} "
                f"allows; last: {error}; run `lightning data verify` to list them all, or raise the key"
            ) from error
        if image not in self._warned:
            self._warned.add(image)
            log.warning(
                "%s; another row replaces it (%s of %s images so far)", error, f"{count:,}", f"{self.total:,}"
            )


def substitute_row(seed: int, epoch: int, row: int, attempt: int, size: int) -> int:
    """Choose the row that replaces one whose image is unreadable.

    ``size - 1`` successive attempts visit every other row once, in strides, since the rows beside an
    unreadable one are often further captions of the same image.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch.
        row: The row to replace.
        attempt: Number of the replacement, from 0.
        size: Rows of the data set.

    Returns:
        Another row; ``row`` itself where there is no other.
    """
    others = size - 1
    if others < 1:
        return row
    rng = np.random.default_rng([seed, epoch, row])
    start, stride = (int(number) for number in rng.integers(others, size=2))
    while math.gcd(stride, others) != 1:
        stride += 1
    return (row + 1 + (start + attempt * stride) % others) % size

"""The order of an epoch over captions of several sources, each as often as its weight says."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from contextblip.errors import ConfigurationError
from data_modules.loaders import Order


def check_names(key: str, given: Iterable[str], names: Sequence[str]) -> None:
    """Check that each name means one source.

    Args:
        key: The option that holds them, for the message.
        given: The names.
        names: Names of all sources.

    Raises:
        ConfigurationError: One is unknown or means two sources.
    """
    for name in given:
        known = names.count(name)
        if known > 1:
            raise ConfigurationError(
                f"{key}: {name} means two sources: rename an annotation file; there are {', '.join(names)}"
            )
        if not known:
            near = get_close_matches(name.lower(), names, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ConfigurationError(f"{key}: {name} is no source; there are {', '.join(names)}{meant}")


def resolve_weights(weights: Mapping[str, float] | None, names: Sequence[str]) -> tuple[float, ...]:
    """Give every source its weight; 1 where none is named.

    Args:
        weights: By name of the source.
        names: Names of all sources.

    Returns:
        A weight for each name.

    Raises:
        ConfigurationError: A name is unknown or means two sources, or a weight cannot be used.
    """
    check_names("--data.source_weights", weights or {}, names)
    for name, weight in (weights or {}).items():
        if not (math.isfinite(weight) and weight > 0):
            raise ConfigurationError(
                f"--data.source_weights: {name} is {weight}, expected above 0; leave an unwanted source out"
            )
    return tuple((weights or {}).get(name, 1.0) for name in names)


@dataclass(frozen=True)
class CaptionOrder:
    """Orders of epochs, all of the same length, each from seed and epoch alone.

    An epoch is made of passes over the sources; a source of weight 2.5 takes part in two passes whole and in
    a third with half of its rows, drawn anew every epoch. In a pass a unit, one caption of each image of a
    group, stays together; with groups of one image an epoch is a plain shuffle. The units of all passes are
    shuffled among each other.

    Attributes:
        image: Image of each row, numbered within all sources, ``(N,)``.
        group: Group of each row, ``(N,)``.
        source: Source of each row, ``(N,)``.
        weights: One a source: how many times each of its rows comes.
        one_per_image: A pass takes one caption of each image, drawn anew every time, instead of all.
        seed: Seed of the run.
    """

    image: Order
    group: Order
    source: Order
    weights: tuple[float, ...]
    one_per_image: bool
    seed: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows an epoch of each source."""
        passes = range(self._passes)
        rows = [self.image[self.source == number] for number in range(len(self.weights))]
        counts = [len(np.unique(images)) if self.one_per_image else len(images) for images in rows]
        return tuple(
            sum(_drawn(weight, number, count) for number in passes)
            for weight, count in zip(self.weights, counts, strict=True)
        )

    @property
    def _passes(self) -> int:
        return math.ceil(max(self.weights))

    def __call__(self, epoch: int) -> Order:
        """Return an epoch's rows.

        Args:
            epoch: Number of the epoch.

        Returns:
            Rows in order, ``(sum(sizes),)``; N is added for every earlier pass, so that a row that comes
            again is augmented anew.
        """
        rng = np.random.default_rng([self.seed, epoch])
        rows, units, count = [], [], 0
        for number in range(self._passes):
            draw = rng if number == 0 else np.random.default_rng([self.seed, epoch, number])
            turn = self._turns(draw)
            kept = self._kept(turn, epoch, number)
            unit = self._units(kept, turn)
            rows.append(kept + number * len(self.image))
            units.append(unit + count)
            count += int(unit.max(initial=-1)) + 1
        place = rng.permutation(count)
        return np.concatenate(rows)[np.argsort(place[np.concatenate(units)], kind="stable")]

    def _turns(self, rng: np.random.Generator) -> Order:
        """Number the captions of each image in random order, ``(N,)``."""
        shuffled = rng.permutation(len(self.image))
        by_image = shuffled[np.argsort(self.image[shuffled], kind="stable")]
        first = np.flatnonzero(np.diff(self.image[by_image], prepend=self.image[by_image[:1]] - 1))
        turn = np.empty(len(self.image), dtype=np.int64)
        lengths = np.diff(first, append=len(self.image))
        turn[by_image] = np.arange(len(self.image)) - np.repeat(first, lengths)
        return turn

    def _units(self, rows: Order, turn: Order) -> Order:
        """Number the units that rows belong to, from 0 without gaps."""
        label = self.group[rows] * (int(turn.max(initial=0)) + 1) + turn[rows]
        unit: Order = np.unique(label, return_inverse=True)[1]
        return unit

    def _kept(self, turn: Order, epoch: int, number: int) -> Order:
        """Rows of a pass in file order; what is drawn of a source are whole units, but for the last."""
        keep = turn == 0 if self.one_per_image else np.ones(len(turn), dtype=bool)
        for source, weight in enumerate(self.weights):
            if weight >= number + 1:
                continue
            rows = np.flatnonzero(keep & (self.source == source))
            keep[rows] = False
            if count := _drawn(weight, number, len(rows)):
                unit = self._units(rows, turn)
                rng = np.random.default_rng([self.seed, epoch, number, source + 1])
                place = rng.permutation(int(unit.max()) + 1)
                keep[rows[np.argsort(place[unit], kind="stable")][:count]] = True
        return np.flatnonzero(keep)


def _drawn(weight: float, number: int, rows: int) -> int:
    """How many of a source's rows a pass takes."""
    return round(min(max(weight - number, 0.0), 1.0) * rows)

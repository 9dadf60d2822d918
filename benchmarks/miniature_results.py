"""The configurations measured on the miniature world, and their answers from the committed results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contextblip.comparison import ALL
from contextblip.comparison.units import Subset
from contextblip.errors import ConfigurationError
from contextblip.sweeps.answers import QUERIES, RANKS, read_ranks
from contextblip.sweeps.plan import SHOWN_DIGITS

SUBSETS: tuple[Subset, ...] = (ALL, *(("subset", name) for name in RANKS))
_SHARED = {QUERIES: "queries", "backbone": "backbones", "data": "worlds"}
_STAGES = {"zero-shot": "zero_shot"}  # every other test is stage fine_tuned of its sweep


@dataclass(frozen=True)
class Configuration:
    """A row of the tables.

    Attributes:
        name: What it is.
        test: After which training it is tested: ``zero-shot``, ``stage one`` or ``stage two``.
        points: What the sweeps call it; the row of a shared run has the name of the first that asked for it.
        is_drawn: Whether anything depends on the seed.
    """

    name: str
    test: str
    points: tuple[str, ...]
    is_drawn: bool = True

    @property
    def stage(self) -> str:
        """Stage of the sweep that tests it."""
        return _STAGES.get(self.test, "fine_tuned")

    def __str__(self) -> str:
        """Name it where others stand beside it."""
        return f"{self.name}, {self.test}"


BACKBONE = Configuration("backbone alone", "zero-shot", ("w/o multi-scale adapter",), is_drawn=False)
DEFAULTS = ("mask ratio π 0.25", "adapter layers 3,6,9,12", "downsampling rate δ 2", "mask strategy top")
WHOLE = Configuration("ContextBLIP", "zero-shot", ("ContextBLIP", *DEFAULTS))
NO_TMIM = Configuration("without TMIM", "zero-shot", ("w/o TMIM loss",))
STAGE_ONE = Configuration("ContextBLIP", "stage one", ("w/o inter-context encoder",))
STAGE_TWO = Configuration("ContextBLIP", "stage two", ("ContextBLIP",))
NO_TMIM_TWO = Configuration("without TMIM", "stage two", ("w/o TMIM loss",))
BACKBONE_ONE = Configuration("backbone alone", "stage one", ("w/o multi-scale adapter",))
SWEPT = tuple(
    Configuration(name, "zero-shot", (point,))
    for name, point in {
        "mask ratio π 0.5": "mask ratio π 0.5",
        "mask ratio π 0.75": "mask ratio π 0.75",
        "adapter on layer 12": "adapter layers 12",
        "adapter on layers 1 to 12": "adapter layers 1-12",
        "downsampling rate δ 1": "downsampling rate δ 1",
        "downsampling rate δ 4": "downsampling rate δ 4",
        "downsampling rate δ 8": "downsampling rate δ 8",
        "random masks": "mask strategy random",
        "bottom masks": "mask strategy bottom",
    }.items()
)
CONFIGURATIONS = (BACKBONE, NO_TMIM, WHOLE, BACKBONE_ONE, STAGE_ONE, STAGE_TWO, NO_TMIM_TWO, *SWEPT)


@dataclass(frozen=True)
class Measured:
    """What a configuration got right.

    Attributes:
        seeds: One a run, in rising order.
        right: Subset to right answers as 0 and 1, ``(Q, runs)``; all are video, then static.
    """

    seeds: tuple[str, ...]
    right: Mapping[Subset, NDArray[np.int64]]

    def accuracies(self, subset: Subset) -> list[float]:
        """Return the share of right answers of each run."""
        shares: list[float] = self.right[subset].mean(axis=0).tolist()
        return shares

    def of_seeds(self, seeds: Sequence[str]) -> "Measured":
        """Return the runs of some seeds.

        Args:
            seeds: Of these runs, in their order.

        Returns:
            Answers of these runs alone.
        """
        places = [self.seeds.index(seed) for seed in seeds]
        return Measured(tuple(seeds), {subset: right[:, places] for subset, right in self.right.items()})


def find_measured(rows: Iterable[Mapping[str, str]]) -> dict[Configuration, Measured]:
    """Collect the answers of each configuration.

    Args:
        rows: Of the results file.

    Returns:
        The configurations that have rows, in the order of the tables.

    Raises:
        ConfigurationError: Rows are of different backbones, worlds or queries, those of a configuration
            differ in more than their seeds, or one has no answers.
    """
    known = used_rows(rows)
    listed = [row for found in known.values() for row in found]
    for column, what in _SHARED.items():
        _refuse_unlike(listed, column, f"are of different {what}")
    return {configuration: _measure(configuration, found) for configuration, found in known.items()}


def used_rows(rows: Iterable[Mapping[str, str]]) -> dict[Configuration, list[Mapping[str, str]]]:
    """Find the rows that the tables show.

    Args:
        rows: Of the results file.

    Returns:
        Configurations to their rows by rising seed; those without rows are left out.
    """
    listed = sorted(rows, key=lambda row: (len(row["seed"]), row["seed"]))
    found = {
        configuration: [
            row
            for row in listed
            if row["stage"] == configuration.stage and row["point"] in configuration.points
        ]
        for configuration in CONFIGURATIONS
    }
    return {configuration: of_it for configuration, of_it in found.items() if of_it}


def _measure(configuration: Configuration, rows: Sequence[Mapping[str, str]]) -> Measured:
    """Read the answers of one configuration's runs."""
    _refuse_unlike(rows, "configuration", f"of {configuration} differ in more than their seeds")
    seeds = tuple(row["seed"] for row in rows)
    for row in rows:
        if not row.get(QUERIES):
            raise ConfigurationError(f"{_name(row)} has no answers; remove it and run the sweep again")
        if seeds.count(row["seed"]) > 1:
            raise ConfigurationError(f"{configuration} has several rows of seed {row['seed']}; keep one")
    parts = {
        ("subset", name): np.array([read_ranks(row, name) for row in rows], dtype=np.int64).T == 1
        for name in RANKS
    }
    right = {subset: part.astype(np.int64) for subset, part in parts.items()}
    return Measured(seeds, {ALL: np.concatenate(list(right.values())), **right})


def _refuse_unlike(rows: Sequence[Mapping[str, str]], column: str, problem: str) -> None:
    """Stop where rows that are to be averaged or compared do not belong together."""
    first = next(iter(rows), {})
    other = next((row for row in rows if row.get(column) != first.get(column)), None)
    if other is not None:
        raise ConfigurationError(
            f"rows {problem}: {_name(first)} ({column} {first.get(column) or 'unknown'}) and {_name(other)} "
            f"({column} {other.get(column) or 'unknown'}); remove the rows that no longer apply"
        )


def _name(row: Mapping[str, str]) -> str:
    """Name a row so that it is found in the file."""
    digits = row["hash"][:SHOWN_DIGITS]
    return f"{row['stage']} {row['point']}, seed {row['seed'] or 'none'}, {row['time']}, hash {digits}"

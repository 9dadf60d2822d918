"""What a comparison found."""

from dataclasses import dataclass
from typing import Any, Literal

from contextblip.estimates import Interval, MeanSd

Cluster = Literal["query", "set"]
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Row:
    """Two accuracies on the same queries; all are shares, differences are B - A.

    Attributes:
        section: ``""`` for all, subset, phenomenon, propositions, words or type.
        name: Name of the subset.
        n: Queries, or pairs.
        accuracy_a: Of A, the mean over its runs.
        interval_a: Wilson interval at n.
        accuracy_b: Of B, the mean over its runs.
        interval_b: Wilson interval at n.
        difference: B - A.
        interval: Paired bootstrap, ``None`` for fewer than ten queries or where none differs.
        only_a: Queries that A got right more often than B; for one run each, that only A got right.
        only_b: The reverse.
        p: McNemar's exact test, or the exact sign-flip test where runs or queries are clustered.
        p_holm: Corrected for the number of subsets, ``None`` for all.
        smallest: Least difference that so many flips could have shown, ``None`` where none could.
    """

    section: str
    name: str
    n: int
    accuracy_a: float
    interval_a: Interval
    accuracy_b: float
    interval_b: Interval
    difference: float
    interval: Interval | None
    only_a: int
    only_b: int
    p: float
    p_holm: float | None
    smallest: float | None

    @property
    def flips(self) -> int:
        """Queries on which A and B differ."""
        return self.only_a + self.only_b

    @property
    def better(self) -> Literal["A", "B"] | None:
        """Which is better at p < 0.05, after correction where there is one."""
        p = self.p if self.p_holm is None else self.p_holm
        if p >= SIGNIFICANT:
            return None
        return "B" if self.difference > 0 else "A"


@dataclass(frozen=True)
class Side:
    """One group of runs.

    Attributes:
        runs: Folders.
        title: Experiment and task of the first run.
        seeds: One a run.
        accuracies: One a run.
        over_seeds: Mean and standard deviation of the accuracies.
    """

    runs: tuple[str, ...]
    title: str
    seeds: tuple[int | None, ...]
    accuracies: tuple[float, ...]
    over_seeds: MeanSd


@dataclass(frozen=True)
class Flip:
    """A query, or pair, that A and B do not get right equally often.

    Attributes:
        set_name: Image set or pair.
        better: Which gets it right more often.
        statements: ``query_index``, ``text``, ``target``, ``predictions_a`` and ``predictions_b``, one a run.
    """

    set_name: str
    better: Literal["A", "B"]
    statements: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found.

    Attributes:
        unit: ``query``, or ``pair`` for MMVP-VLM.
        data: Data set, split and world.
        cluster: What is taken to be independent.
        a: First group.
        b: Second group.
        rows: All, then the subsets.
        seed_interval: Welch's interval of the difference over seeds, ``None`` where a side has one run or
            neither side varies.
        left_out: Queries of each folder that not all runs answered.
        settings: Keys that differ, with the values of A and B.
        flips: All of them, in file order.
        doubts: Sentences on groups whose runs started from unlike runs.
    """

    unit: Literal["query", "pair"]
    data: str
    cluster: Cluster
    a: Side
    b: Side
    rows: tuple[Row, ...]
    seed_interval: Interval | None
    left_out: dict[str, int]
    settings: dict[str, tuple[Any, Any]]
    flips: tuple[Flip, ...]
    doubts: tuple[str, ...] = ()

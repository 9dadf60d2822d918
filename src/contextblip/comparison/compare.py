"""Paired comparison of two runs, or of two groups of runs over seeds, by subset."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from contextblip.comparison.answers import PAIRS, Answers, align, read_answers
from contextblip.comparison.results import Cluster, Comparison, Flip, Row, Side
from contextblip.comparison.settings import differing_settings, refuse_unlike, unlike_sources
from contextblip.comparison.units import Subset, Unit, find_units, is_right, order_subsets
from contextblip.errors import ConfigurationError
from contextblip.estimates import (
    holm,
    mcnemar_exact,
    mean_and_sd,
    paired_bootstrap,
    sign_flip_test,
    welch_interval,
    wilson_of_share,
)
from contextblip.runs import Run

ALL: Subset = ("", "all")
# Resampling fewer says nothing of those that were not seen
_LEAST_FOR_INTERVAL = 10


def compare_runs(
    a: Sequence[Run], b: Sequence[Run], *, common: bool = False, cluster: Cluster = "query"
) -> Comparison:
    """Compare two groups of runs on the queries they all answered.

    Args:
        a: One run, or one a seed.
        b: One run, or one a seed.
        common: Whether to leave out queries that some run did not answer; otherwise that is an error.
        cluster: What is taken to be independent: each query, or each image set with its queries.

    Returns:
        Accuracies, differences, tests and flips.

    Raises:
        ConfigurationError: A group is empty or of unlike runs, a run is named twice, or the runs cannot be
            compared.
    """
    _check_groups(a, b)
    a, b = [run.answering() for run in a], [run.answering() for run in b]
    for name, group in (("A", a), ("B", b)):
        refuse_unlike(name, group)
    aligned, left_out = align([read_answers(run) for run in (*a, *b)], common)
    units = find_units(aligned)
    right = np.array([[is_right(side, unit) for side in aligned] for unit in units], dtype=np.int64)
    right_a, right_b = right[:, : len(a)], right[:, len(a) :]
    side_a, side_b = _side(a, right_a), _side(b, right_b)
    first = a[0]
    return Comparison(
        unit="pair" if first.dataset == PAIRS else "query",
        data=f"{first.dataset} {first.split} ({first.world} images)",
        cluster=cluster,
        a=side_a,
        b=side_b,
        rows=_rows(units, right_a, right_b, cluster),
        seed_interval=welch_interval(side_a.accuracies, side_b.accuracies),
        left_out=left_out,
        settings=differing_settings(a, b),
        flips=tuple(_flips(units, aligned, _balance(right_a, right_b), len(a))),
        doubts=(*unlike_sources("A", a), *unlike_sources("B", b)),
    )


def _check_groups(a: Sequence[Run], b: Sequence[Run]) -> None:
    """Stop where a group has no run, or a run stands there twice."""
    for name, group in (("A", a), ("B", b)):
        if not group:
            raise ConfigurationError(f"{name} has no run; give RUN_A RUN_B, or --a RUN... --b RUN...")
    folders = [run.folder.resolve() for run in (*a, *b)]
    twice = [run.folder for run in (*a, *b) if folders.count(run.folder.resolve()) > 1]
    if twice:
        raise ConfigurationError(f"{twice[0]} is named more than once; name each run once, in A or in B")


def _side(group: Sequence[Run], right: NDArray[np.int64]) -> Side:
    """Describe a group and its accuracies."""
    accuracies = tuple(right.mean(axis=0).tolist())
    return Side(
        runs=tuple(str(run.folder) for run in group),
        title=f"{group[0].experiment}, {group[0].task}",
        seeds=tuple(run.seed for run in group),
        accuracies=accuracies,
        over_seeds=mean_and_sd(accuracies),
    )


def _balance(right_a: NDArray[np.int64], right_b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return B's share of right answers minus A's for each unit, as whole numbers, ``(U,)``.

    They are shares times the product of the numbers of runs, which keeps the exact tests exact.
    """
    of_a: NDArray[np.int64] = right_a.sum(axis=1) * right_b.shape[1]
    of_b: NDArray[np.int64] = right_b.sum(axis=1) * right_a.shape[1]
    return of_b - of_a


def _rows(
    units: Sequence[Unit], right_a: NDArray[np.int64], right_b: NDArray[np.int64], cluster: Cluster
) -> tuple[Row, ...]:
    """Compare on all units and on each subset."""
    sets = (
        np.unique([unit.keys[0][0] for unit in units], return_inverse=True)[1] if cluster == "set" else None
    )
    rows = [compare_right(ALL, right_a, right_b, sets)]
    for subset in order_subsets(units):
        inside = np.array([subset in unit.subsets for unit in units])
        members = None if sets is None else sets[inside]
        rows.append(compare_right(subset, right_a[inside], right_b[inside], members))
    corrected = holm([row.p for row in rows[1:]])
    return (rows[0], *(replace(row, p_holm=p) for row, p in zip(rows[1:], corrected, strict=True)))


def compare_right(
    subset: Subset,
    right_a: NDArray[np.int64],
    right_b: NDArray[np.int64],
    sets: NDArray[np.intp] | None = None,
) -> Row:
    """Compare on some units, given which of them each run got right.

    Args:
        subset: Section and name.
        right_a: Right answers of A's runs as 0 and 1, ``(U, runs)``.
        right_b: Right answers of B's runs to the same units, ``(U, runs)``.
        sets: Cluster of each unit, ``(U,)``; ``None`` where each stands for itself.

    Returns:
        One row of the table.
    """
    n, scale = len(right_a), right_a.shape[1] * right_b.shape[1]
    balance = _balance(right_a, right_b)
    only_a, only_b = int((balance < 0).sum()), int((balance > 0).sum())
    clusters = balance if sets is None else np.bincount(sets, weights=balance).astype(np.int64)
    test = sign_flip_test(clusters)
    independent = n if sets is None else len(np.unique(sets))
    resampled = independent >= _LEAST_FOR_INTERVAL and only_a + only_b > 0
    means = [float(right.mean()) for right in (right_a, right_b)]
    return Row(
        section=subset[0],
        name=subset[1],
        n=n,
        accuracy_a=means[0],
        interval_a=wilson_of_share(means[0], n),
        accuracy_b=means[1],
        interval_b=wilson_of_share(means[1], n),
        difference=float(balance.sum()) / scale / n,
        interval=paired_bootstrap(balance / scale, clusters=sets) if resampled else None,
        only_a=only_a,
        only_b=only_b,
        p=mcnemar_exact(only_a, only_b) if scale == 1 and sets is None else test.p,
        p_holm=None,
        smallest=None if test.smallest is None else test.smallest / scale / n,
    )


def _flips(
    units: Sequence[Unit], aligned: Sequence[Answers], balance: NDArray[np.int64], runs_of_a: int
) -> list[Flip]:
    """List the units that one side gets right more often."""
    flips = []
    for unit, difference in zip(units, balance.tolist(), strict=True):
        if not difference:
            continue
        statements = []
        for key in unit.keys:
            row = aligned[0].rows[key]
            predictions = [side.rows[key]["prediction"] for side in aligned]
            statements.append(
                {
                    "query_index": key[1],
                    "text": row["text"],
                    "target": row["target"],
                    "predictions_a": predictions[:runs_of_a],
                    "predictions_b": predictions[runs_of_a:],
                }
            )
        flips.append(Flip(unit.keys[0][0], "B" if difference > 0 else "A", tuple(statements)))
    return flips

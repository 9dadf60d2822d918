"""A run's answers in a row of the results file: enough for paired tests once the run folder is gone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from contextblip.errors import ConfigurationError
from contextblip.run_record import PREDICTIONS
from contextblip.runs import read_run
from contextblip.sweeps.plan import SHOWN_DIGITS, Run

QUERIES = "queries"
# Subsets of the queries, which together are all of them, to the columns of their ranks
RANKS = {"video": "ranks_video", "static": "ranks_static"}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_METRICS = {"video": "accuracy_video", "static": "accuracy_static"}
_REMEDY = "remove the row and run the sweep again"
_TOLERANCE = 1e-6  # accuracies are written with more digits than that


def answer_cells(run: Run) -> dict[str, str]:
    """Write the answers of a labelled retrieval test as cells of a row.

    Args:
        run: A finished run.

    Returns:
        ``queries``, a fingerprint of the queries (set, index, target, number of candidates, video or not),
        and for the queries of videos and of static sets the rank of each one's target, a digit to base 36
        each, in the order of set and index: 1 is a right answer, z is 35 or worse, a tie counts as the worse
        rank unless the target was chosen. Nothing for any other run.

    Raises:
        ConfigurationError: The answers cannot be read, or a query stands there twice.
    """
    if not (run.folder / PREDICTIONS).is_file():
        return {}
    found = read_run(run.folder)
    listed = found.predictions()
    is_labelled = all(row.get("target_rank") is not None for row in listed)
    if found.dataset != "IMAGECODE" or not found.is_tested or not is_labelled:
        return {}
    rows = sorted(listed, key=_key)
    if len({_key(row) for row in rows}) < len(rows):
        raise ConfigurationError(
            f"{run.folder / PREDICTIONS} holds a query twice; remove the folder and test again"
        )
    shown = hashlib.sha256("\n".join(map(_describe, rows)).encode())
    cells = {QUERIES: shown.hexdigest()[:SHOWN_DIGITS]}
    for subset, column in RANKS.items():
        cells[column] = "".join(_digit(row) for row in rows if row["is_video"] == (subset == "video"))
    return cells


def read_ranks(row: Mapping[str, str], subset: str) -> list[int]:
    """Read the ranks of the targets from a row of the results file.

    Args:
        row: The row.
        subset: ``video`` or ``static``.

    Returns:
        Ranks from 1 in the order of set and index; none where the row has no answers.

    Raises:
        ConfigurationError: They are no ranks, or their share of right answers is not the row's accuracy.
    """
    text = row.get(RANKS[subset]) or ""
    if not set(text) <= set(_DIGITS[1:]):
        raise ConfigurationError(f"{_name(row)}: {RANKS[subset]} holds other signs than ranks; {_REMEDY}")
    ranks = [_DIGITS.index(sign) for sign in text]
    accuracy, count = row.get(_METRICS[subset]), row.get(f"n/{_METRICS[subset]}")
    if ranks and accuracy and count:
        share = ranks.count(1) / len(ranks)
        if len(ranks) != round(float(count)) or abs(share - float(accuracy)) > _TOLERANCE:
            raise ConfigurationError(
                f"{_name(row)}: {RANKS[subset]} has {share:.4f} of {len(ranks)} right, but "
                f"{_METRICS[subset]} is {float(accuracy):.4f} of {count}; {_REMEDY}"
            )
    return ranks


def _name(row: Mapping[str, str]) -> str:
    digits = (row.get("hash") or "")[:SHOWN_DIGITS]
    return f"the row of {row.get('point')}, seed {row.get('seed') or 'none'} ({digits})"


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["set"], row["query_index"]


def _describe(row: Mapping[str, Any]) -> str:
    """Say what a query asks; two runs that agree in it answered the same."""
    return (
        f"{row['set']} {row['query_index']} {row['target']} {len(row['logits'])} {int(bool(row['is_video']))}"
    )


def _digit(row: Mapping[str, Any]) -> str:
    """Write the target's rank; a tie is right only where the target was the one chosen."""
    if row["prediction"] == row["target"]:
        return _DIGITS[1]
    return _DIGITS[min(max(2, math.ceil(row["target_rank"])), len(_DIGITS) - 1)]

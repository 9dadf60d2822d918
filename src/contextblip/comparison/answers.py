"""The answers of runs that are to be compared: read, and found to be about the same labelled queries."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from contextblip.errors import ConfigurationError
from contextblip.runs import Run

Key = tuple[str, int]
Row = dict[str, Any]

PAIRS = "MMVP-VLM"
_FIELDS = ("set", "query_index", "text", "target", "prediction", "logits", "is_video")


class Answers(NamedTuple):
    """One run's answers.

    Attributes:
        run: Where they come from.
        rows: By set and query index, in file order.
    """

    run: Run
    rows: dict[Key, Row]


def read_answers(run: Run) -> Answers:
    """Read a run's answers to labelled queries.

    Args:
        run: The run.

    Returns:
        One row a query.

    Raises:
        ConfigurationError: There are none, a query stands there twice, or some have no label.
    """
    listed = run.predictions()
    if not listed:
        raise ConfigurationError(f"{run.folder} holds no predictions; run `lightning test` into it")
    lacking = next(
        (f"{name!r} in row {n}" for n, row in enumerate(listed, 1) for name in _FIELDS if name not in row), ""
    )
    if lacking:
        raise ConfigurationError(
            f"{run.folder}: the predictions have no {lacking}; write them again with `lightning test`"
        )
    rows = {(row["set"], row["query_index"]): row for row in listed}
    if len(rows) < len(listed):
        counts = Counter((row["set"], row["query_index"]) for row in listed)
        twice = [key for key, count in counts.items() if count > 1]
        raise ConfigurationError(
            f"{run.folder}: {_queries(len(twice))} more than once among the predictions "
            f"(first: {name_query(twice[0])}); test again into an empty run_dir"
        )
    unlabelled = sum(row["target"] is None for row in listed)
    if unlabelled:
        why = _why_unlabelled(run, unlabelled == len(listed))
        raise ConfigurationError(
            f"{run.folder}: {unlabelled:,} of {_queries(len(listed))} have no target{why}"
        )
    return Answers(run, rows)


def align(sides: Sequence[Answers], common: bool = False) -> tuple[list[Answers], dict[str, int]]:
    """Keep the queries that all runs answered, in the order of the first run.

    Args:
        sides: Answers of all runs of both groups.
        common: Whether to leave out what some did not answer; otherwise that is an error.

    Returns:
        The answers to the same queries, and how many each folder had besides.

    Raises:
        ConfigurationError: The runs are on different data, splits or worlds, answered different queries, or
            disagree about a target, a text, the kind of a set or its size.
    """
    first = sides[0]
    for other in sides[1:]:
        _check_origin(first.run, other.run)
    kept = _shared_keys(sides)
    for other in sides[1:] if not common else ():
        _check_queries(first, other)
    if not kept:
        raise ConfigurationError(
            f"the runs have no {'pair' if first.run.dataset == PAIRS else 'query'} in common"
        )
    for other in sides[1:]:
        _check_content(first, other, kept)
    left_out = {
        str(side.run.folder): len(side.rows) - len(kept) for side in sides if len(side.rows) > len(kept)
    }
    return [Answers(side.run, {key: side.rows[key] for key in kept}) for side in sides], left_out


def name_query(key: Key) -> str:
    """Name a query as the data set's lists do.

    Args:
        key: Set and query index.

    Returns:
        ``set:index``.
    """
    return f"{key[0]}:{key[1]}"


def _why_unlabelled(run: Run, are_all: bool) -> str:
    """Explain answers without targets, and say what to do."""
    if run.is_tested and are_all:  # no test is without labels
        return ", so a later `lightning predict` replaced the answers of its test; test again"
    return (
        ", as on IMAGECODE's test split, whose labels are secret; compare runs of `lightning test` on a "
        "labelled split"
    )


def _queries(number: int) -> str:
    """Write a number of queries."""
    return f"{number:,} {'query' if number == 1 else 'queries'}"


def _check_origin(first: Run, other: Run) -> None:
    """Compare data set, split and world."""
    origins = [f"{run.dataset} {run.split} ({run.world} images)" for run in (first, other)]
    if origins[0] != origins[1]:
        raise ConfigurationError(
            f"{first.folder} is on {origins[0]}, {other.folder} on {origins[1]}; only runs on the same data "
            "set, split and images can be compared"
        )


def _shared_keys(sides: Sequence[Answers]) -> list[Key]:
    """List what all runs answered; a pair counts only with all its statements."""
    shared = [key for key in sides[0].rows if all(key in side.rows for side in sides)]
    if sides[0].run.dataset != PAIRS:
        return shared
    whole = Counter(name for name, _ in shared)
    most = [Counter(name for name, _ in side.rows) for side in sides]
    return [key for key in shared if all(count[key[0]] == whole[key[0]] for count in most)]


def _check_queries(first: Answers, other: Answers) -> None:
    """Stop where one run answered what the other did not."""
    only_first = [key for key in first.rows if key not in other.rows]
    only_other = [key for key in other.rows if key not in first.rows]
    if not only_first and not only_other:
        return
    parts = [
        f"{_queries(len(keys))} only in {side.run.folder} (first: {name_query(keys[0])})"
        for side, keys in ((first, only_first), (other, only_other))
        if keys
    ]
    shared = len(first.rows) - len(only_first)
    raise ConfigurationError(
        f"the runs answered different queries: {', '.join(parts)}; --common compares the {shared:,} of both"
    )


def _check_content(first: Answers, other: Answers, keys: Sequence[Key]) -> None:
    """Stop where the same query is not the same in two runs."""
    asked: dict[str, Callable[[Row], Any]] = {
        "target": lambda row: row["target"],
        "text": lambda row: row["text"],
        "number of candidates": lambda row: len(row["logits"]),
        "kind (video or static)": lambda row: bool(row["is_video"]),
    }
    for name, read in asked.items():
        differing = [key for key in keys if read(first.rows[key]) != read(other.rows[key])]
        if differing:
            key = differing[0]
            values = [read(side.rows[key]) for side in (first, other)]
            raise ConfigurationError(
                f"{first.run.folder} and {other.run.folder} are not on the same data: {name} differs in "
                f"{_queries(len(differing))} (first: {name_query(key)}, {values[0]!r} and {values[1]!r}); "
                "test both with the same annotation files"
            )

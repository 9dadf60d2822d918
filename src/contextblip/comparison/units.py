"""What counts as right or wrong, a query or a pair, and the subsets it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass

from contextblip.comparison.answers import PAIRS, Answers, Key, Row
from contextblip.groups import MMVP_TYPES, PHENOMENA, PROPOSITIONS, WORD_RANGES

Subset = tuple[str, str]  # section and name


@dataclass(frozen=True)
class Unit:
    """A query, or a pair whose statements must all be right.

    Attributes:
        keys: Its queries; one, or the statements of a pair.
        subsets: Sections and names of the subsets it belongs to.
    """

    keys: tuple[Key, ...]
    subsets: frozenset[Subset]


def find_units(sides: Sequence[Answers]) -> list[Unit]:
    """List what is right or wrong as a whole.

    Args:
        sides: Aligned answers of all runs. An annotation that one run's rows lack is taken from another's.

    Returns:
        Units in the order of the first run.
    """
    keys: dict[object, list[Key]] = {}
    pairs = sides[0].run.dataset == PAIRS
    for key in sides[0].rows:
        keys.setdefault(key[0] if pairs else key, []).append(key)
    units = []
    for members in keys.values():
        rows = [side.rows[members[0]] for side in sides]
        units.append(Unit(tuple(members), frozenset(_pair_subsets(rows) if pairs else _query_subsets(rows))))
    return units


def is_right(answers: Answers, unit: Unit) -> bool:
    """Return whether a run got a unit right.

    Args:
        answers: The run's.
        unit: A query, or a pair.

    Returns:
        Whether the best candidate is the target; in a pair, whether every statement strictly prefers its own
        image (a tie is wrong), as the metrics count.
    """
    rows = [answers.rows[key] for key in unit.keys]
    if answers.run.dataset == PAIRS:
        return all(_strictly_best(row) for row in rows)
    return all(row["prediction"] == row["target"] for row in rows)


def order_subsets(units: Sequence[Unit]) -> list[Subset]:
    """List the subsets that have units.

    Args:
        units: All of them.

    Returns:
        Section by section, in the order of the paper; what it does not know comes last in its section.
    """
    known: dict[str, Sequence[str]] = {
        "subset": ("video", "static", "challenging"),
        "phenomenon": PHENOMENA,
        "propositions": [str(number) for number in PROPOSITIONS],
        "words": [_range_name(low, high) for low, high in WORD_RANGES],
        "type": MMVP_TYPES,
    }
    found = {subset for unit in units for subset in unit.subsets}
    ordered = []
    for section, names in known.items():
        others = sorted(name for part, name in found if part == section and name not in names)
        ordered += [(section, name) for name in (*names, *others) if (section, name) in found]
    return ordered


def _query_subsets(rows: Sequence[Row]) -> list[Subset]:
    """Name the subsets of a query, as the metrics group them."""
    phenomena: list[str] = next((row["phenomena"] for row in rows if row.get("phenomena")), [])
    propositions = next(
        (row["n_propositions"] for row in rows if row.get("n_propositions") is not None), None
    )
    subsets = [("subset", "video" if rows[0]["is_video"] else "static")]
    subsets += [("subset", "challenging")] if any(row.get("challenging") for row in rows) else []
    subsets += [("phenomenon", name) for name in phenomena]
    subsets += [] if propositions is None else [("propositions", str(propositions))]
    words = len(rows[0]["text"].split())
    ranges = [(low, high) for low, high in WORD_RANGES if low <= words <= (high or words)]
    return [*subsets, *(("words", _range_name(low, high)) for low, high in ranges)]


def _pair_subsets(rows: Sequence[Row]) -> list[Subset]:
    """Name the type of a pair: the first phenomenon of its statements."""
    return [("type", str(row["phenomena"][0])) for row in rows if row.get("phenomena")][:1]


def _range_name(low: int, high: int | None) -> str:
    """Name a range of numbers of words."""
    return f"{low}-{high}" if high else f"{low}+"


def _strictly_best(row: Row) -> bool:
    """Return whether the target's logit is above all others; null stands for what is not finite."""
    target, logits = row["target"], row["logits"]
    own = logits[target]
    others = (logit for place, logit in enumerate(logits) if place != target and logit is not None)
    return own is not None and all(own > other for other in others)

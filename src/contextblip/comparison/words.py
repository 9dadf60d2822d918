"""A comparison in sentences: what can be told from noise, what cannot, and what was not looked at."""

from collections.abc import Sequence

from contextblip.comparison.results import SIGNIFICANT, Comparison, Row, Side
from contextblip.estimates import Interval


def sentences(found: Comparison) -> list[str]:
    """Say what a comparison found.

    Args:
        found: The comparison.

    Returns:
        The verdict first, then what limits it.
    """
    row, interval = found.rows[0], found.seed_interval
    told = verdict(row, found.unit)
    if row.better and interval is not None and interval.low <= 0 <= interval.high:
        told = f"On these runs {told}"
    said = [told, _seeds(found), _power(row, found.unit), _subsets(found.rows[1:])]
    return [*(sentence for sentence in said if sentence), *found.doubts, *_left_out(found)]


def verdict(row: Row, unit: str) -> str:
    """Say which of two is better, or that they cannot be told apart.

    Args:
        row: Their numbers.
        unit: ``query`` or ``pair``.

    Returns:
        One sentence.
    """
    if not row.flips:
        return f"A and B cannot be told apart: they are right on the same {count(row.n, unit)}."
    sign = -1 if row.better == "A" else 1
    shown = row.interval
    if shown is not None and sign < 0:
        shown = Interval(-shown.high, -shown.low)
    parts = [f"{points(sign * row.difference)} points"]
    parts += [f"95% interval {points(shown.low)} to {points(shown.high)}"] if shown else []
    parts += [f"{p_value(row.p)} ({count(row.n, unit)}, {count(row.flips, 'flip')})"]
    names = {"A": "A is better than B", "B": "B is better than A", None: "A and B cannot be told apart"}
    return f"{names[row.better]}: {', '.join(parts)}."


def count(number: int, noun: str) -> str:
    """Write a number with its noun.

    Args:
        number: How many.
        noun: Of what, in the singular.

    Returns:
        Such as ``2,302 queries``.
    """
    plural = "queries" if noun == "query" else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def points(share: float) -> str:
    """Write a difference of shares in percentage points, without a negative zero."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def p_value(p: float) -> str:
    """Write a p-value to two digits, or that it is below 0.001."""
    shown = short_p(p)
    return f"p < {shown[1:]}" if shown.startswith("<") else f"p = {shown}"


def short_p(p: float) -> str:
    """Write a p-value for a table; one below 0.05 is never rounded up to it."""
    if p < 0.001:
        return "<0.001"
    digits = 2 if p >= 0.095 else 3
    if p < SIGNIFICANT <= round(p, digits):
        return f"<{SIGNIFICANT}"
    return f"{p:.{digits}f}"


def _power(row: Row, unit: str) -> str:
    """Say how small a difference could have been seen."""
    if not row.flips:
        return ""
    if row.smallest is None:
        return f"{count(row.flips, 'flip')} can show no difference, not even all in one direction."
    return (
        f"With {count(row.flips, 'flip')} on {count(row.n, unit)}, a difference below "
        f"{points(row.smallest)} points cannot be told from noise (p < {SIGNIFICANT})."
    )


def _seeds(found: Comparison) -> str:
    """Say what is known of the spread over seeds."""
    sides = (found.a, found.b)
    single = [name for name, side in zip("AB", sides, strict=True) if len(side.runs) == 1]
    if len(single) == 2:
        return "One run each: how much another seed would change is not known; give more with --a and --b."
    means = ", ".join(f"{name} {_mean(side)}" for name, side in zip("AB", sides, strict=True))
    if single:
        return f"Over runs: {means}; {single[0]} is one run, so its spread over seeds is not known."
    if found.seed_interval is None:
        return f"Over runs: {means}; the accuracy does not vary over the runs of a side."
    low, high = found.seed_interval
    inside = low <= 0 <= high
    meaning = "seeds alone may explain it" if inside else "seeds alone do not explain it"
    difference = points(found.rows[0].difference)
    return (
        f"Over runs: {means}; B - A is {difference} points, 95% interval {points(low)} to {points(high)} "
        f"(Welch): {meaning}. All other tests are on queries, for these runs."
    )


def _mean(side: Side) -> str:
    """Write the mean and spread over a side's runs."""
    mean, sd, n = side.over_seeds
    spread = "" if sd is None else f" ± {points(sd)}"
    return f"{points(mean)}{spread} ({count(n, 'run')})"


def _subsets(rows: Sequence[Row]) -> str:
    """Name the subsets on which one is better after correction."""
    if not rows:
        return ""
    clear = [
        f"{row.better} on {subset_name(row)} ({points(abs(row.difference))} points, n = {row.n:,})"
        for row in rows
        if row.better
    ]
    rest = len(rows) - len(clear)
    family = f"{count(len(rows), 'subset')}, p corrected for their number (Holm)"
    if not clear:
        return f"Of {family}, none tells A and B apart."
    return f"Of {family}: better is {', '.join(clear)}; {rest} cannot tell A and B apart."


def subset_name(row: Row) -> str:
    """Name a subset so that it is clear outside its section.

    Args:
        row: Of the subset.

    Returns:
        Such as ``2 propositions`` or ``11-20 words``.
    """
    if row.section == "propositions":
        return count(int(row.name), "proposition") if row.name.isdecimal() else row.name
    return f"{row.name} words" if row.section == "words" else row.name.replace("_", " ")


def _left_out(found: Comparison) -> list[str]:
    """Say what --common left out."""
    return [
        f"Left out of {folder}: {count(number, 'query')} that not all runs answered."
        for folder, number in found.left_out.items()
    ]

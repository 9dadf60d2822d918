"""Tables of docs/miniature.md from the committed results: accuracies, paired differences, seed by seed.

They need neither run folders nor weights: each row of the results file holds the answers of its run.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.markers import find_between, layout, marker_pair, put_between
from benchmarks.miniature_results import (
    BACKBONE,
    BACKBONE_ONE,
    CONFIGURATIONS,
    NO_TMIM,
    NO_TMIM_TWO,
    STAGE_ONE,
    STAGE_TWO,
    SUBSETS,
    SWEPT,
    WHOLE,
    Configuration,
    Measured,
    find_measured,
    used_rows,
)
from contextblip.comparison import Row, compare_right
from contextblip.comparison.results import SIGNIFICANT
from contextblip.comparison.units import Subset
from contextblip.comparison.words import count, p_value, points
from contextblip.errors import ConfigurationError
from contextblip.estimates import Interval, holm, mean_and_sd, paired_bootstrap, seed_interval
from contextblip.sweeps.results import ResultsFile

MARKER = "table"
BEGIN, END = marker_pair(MARKER)
Pair = tuple[Configuration, Configuration]
COMPARED: tuple[Pair, ...] = (
    (WHOLE, BACKBONE),
    (NO_TMIM, BACKBONE),
    (WHOLE, NO_TMIM),
    (STAGE_ONE, WHOLE),
    (STAGE_ONE, BACKBONE_ONE),
    (STAGE_TWO, STAGE_ONE),
    (STAGE_TWO, NO_TMIM_TWO),
    *((configuration, WHOLE) for configuration in SWEPT),
)
SEED_BY_SEED: tuple[Pair, ...] = ((WHOLE, BACKBONE), (STAGE_TWO, STAGE_ONE))
_VIDEO: Subset = ("subset", "video")
_NONE = "–"
_ACCURACIES = """\
Mean accuracy in % over the seeds ± standard deviation over them [95% interval: bootstrap over the
queries, each drawn with its answers under all seeds]. π: mask ratio, δ: downsampling rate; where nothing
else is said π is 0.25, δ 2, the adapter on layers 3, 6, 9, 12, and what the text attends to most is
masked. The backbone alone draws nothing zero-shot: one run."""
_DIFFERENCES = """\
Difference in points [95% interval: paired bootstrap over the queries, each drawn with its answers under
all seeds], p: exact sign-flip test by query (McNemar's where both are one run), as in `lightning
compare`. Both speak of these runs; how far other seeds may lie from them, the standard deviations above
tell."""
_SEEDS = """\
Video queries, each seed by itself: difference in points, queries that only the first : only the second
got right, p of McNemar's exact test. Over seeds: mean [Student's 95% interval]; a single run stands
beside each seed."""


def write_tables(rows: Sequence[Mapping[str, str]]) -> str:
    """Write the tables.

    Args:
        rows: Of the results file.

    Returns:
        Markdown, without the markers around it.

    Raises:
        ConfigurationError: Rows do not belong together, or one has no answers.
    """
    found = find_measured(rows)
    if not found:
        raise ConfigurationError("no row is of a configuration of the tables; `make tables` measures them")
    blocks = [
        _accuracies(found),
        _ACCURACIES,
        *_differences(found),
        *_seed_by_seed(found),
        _origin(rows),
    ]
    return "\n\n".join(blocks) + "\n"


def _accuracies(found: Mapping[Configuration, Measured]) -> str:
    """Lay out one row a configuration."""
    sizes = next(iter(found.values())).right
    heads = [f"{subset[1]} (n = {len(sizes[subset]):,})" for subset in SUBSETS]
    lines = []
    for configuration in CONFIGURATIONS:
        measured = found.get(configuration)
        cells = [_NONE] * len(SUBSETS) if measured is None else [_accuracy(measured, s) for s in SUBSETS]
        runs = 0 if measured is None else len(measured.seeds)
        lines.append([configuration.name, configuration.test, str(runs), *cells])
    return layout([["configuration", "test", "runs", *heads], *lines], left=2)


def _accuracy(measured: Measured, subset: Subset) -> str:
    """Write a mean over seeds with its spread and interval."""
    mean, sd, _ = mean_and_sd(measured.accuracies(subset))
    spread = "" if sd is None else f" ± {points(sd)}"
    return f"{points(mean)}{spread} {_between(paired_bootstrap(measured.right[subset]))}"


def _differences(found: Mapping[Configuration, Measured]) -> Iterator[str]:
    """Lay out paired differences; p-values are corrected for their number together."""
    pairs = {pair: sides for pair in COMPARED if (sides := _paired(found, *pair)) is not None}
    if not pairs:
        return
    compared = [
        [compare_right(subset, base.right[subset], a.right[subset]) for subset in SUBSETS]
        for a, base in pairs.values()
    ]
    corrected = iter(holm([row.p for rows in compared for row in rows]))
    lines = [
        [str(a), str(base), *(_difference(row, next(corrected)) for row in rows)]
        for (a, base), rows in zip(pairs, compared, strict=True)
    ]
    yield layout([["configuration", "minus", *(subset[1] for subset in SUBSETS)], *lines], left=2)
    tests = count(len(pairs) * len(SUBSETS), "test")
    yield f"{_DIFFERENCES} Bold: p < {SIGNIFICANT} after Holm's correction for the {tests} of this table."


def _paired(
    found: Mapping[Configuration, Measured], a: Configuration, base: Configuration
) -> tuple[Measured, Measured] | None:
    """Keep the runs of the seeds that both have; what draws nothing has one run for every seed."""
    if a not in found or base not in found:
        return None
    if not base.is_drawn:
        return found[a], found[base]
    seeds = [seed for seed in found[a].seeds if seed in found[base].seeds]
    return (found[a].of_seeds(seeds), found[base].of_seeds(seeds)) if seeds else None


def _difference(row: Row, corrected: float) -> str:
    """Write a difference, its interval and p-value."""
    text = f"{points(row.difference)}{f' {_between(row.interval)}' if row.interval else ''}, {p_value(row.p)}"
    return f"**{text}**" if corrected < SIGNIFICANT else text


def _seed_by_seed(found: Mapping[Configuration, Measured]) -> Iterator[str]:
    """Lay out McNemar's test of each seed on video queries."""
    pairs = [pair for pair in SEED_BY_SEED if _paired(found, *pair) is not None]
    seeds = list(dict.fromkeys(seed for a, _ in pairs for seed in found[a].seeds))
    if not pairs:
        return
    lines = []
    for a, base in pairs:
        rows = {seed: _of_seed(found, (a, base), seed) for seed in seeds}
        told = [row.difference for row in rows.values() if row is not None]
        mean = points(mean_and_sd(told).mean) if told else _NONE
        interval = seed_interval(told) if told else None
        cells = [_NONE if row is None else _flips(row) for row in rows.values()]
        lines.append([str(a), str(base), *cells, f"{mean} {_between(interval)}" if interval else mean])
    heads = ["configuration", "minus", *(f"seed {seed}" for seed in seeds), "over seeds"]
    yield layout([heads, *lines], left=2)
    yield _SEEDS


def _of_seed(found: Mapping[Configuration, Measured], pair: Pair, seed: str) -> Row | None:
    """Compare two runs of one seed; ``None`` where one of them is missing."""
    sides = _paired(found, *pair)
    if sides is None or seed not in sides[0].seeds:
        return None
    a, base = sides[0].of_seeds([seed]), sides[1].of_seeds([seed]) if pair[1].is_drawn else sides[1]
    return compare_right(_VIDEO, base.right[_VIDEO], a.right[_VIDEO])


def _flips(row: Row) -> str:
    return f"{points(row.difference)}, {row.only_b}:{row.only_a}, {p_value(row.p)}"


def _origin(rows: Sequence[Mapping[str, str]]) -> str:
    """Say what was measured on and with which sources."""
    used = [row for found in used_rows(rows).values() for row in found]
    revisions = sorted({f"{row['revision'][:7]}{'+' * row['revision'].endswith('+')}" for row in used} - {""})
    parts = [f"Backbone `{used[0]['backbone']}`, world `{used[0]['data']}`"]
    parts += [f"sources {', '.join(f'`{name}`' for name in revisions)}"] if revisions else []
    return "; ".join(parts) + "."


def _between(interval: Interval | None) -> str:
    return f"[{points(interval.low)}, {points(interval.high)}]" if interval else ""


def between_markers(page: str) -> str | None:
    """Find the tables in the text of a page; ``None`` where a marker is missing."""
    return find_between(page, MARKER)


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, or put them into a page; exit status 2 where they cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature_tables", description=__doc__)
    parser.add_argument("results", type=Path, help="results file, e.g. results/miniature.csv")
    parser.add_argument("--into", type=Path, metavar="PAGE", help=f"put them between {BEGIN} and {END}")
    arguments = parser.parse_args(words)
    try:
        if not arguments.results.is_file():
            raise ConfigurationError(f"{arguments.results}: no such file; `make tables` writes results")
        tables = write_tables(list(ResultsFile(arguments.results).rows().values()))
        if arguments.into is not None:
            put_between(arguments.into, MARKER, tables)
        else:
            print(tables, end="")
    except ConfigurationError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()

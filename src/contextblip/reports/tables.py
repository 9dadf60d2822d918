"""Sets runs beside a table of the paper: like with like, and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from contextblip.errors import ConfigurationError
from contextblip.paper import PaperTable, paper_table, published_counts
from contextblip.reports.identity import EVALUATING_TASKS
from contextblip.reports.placement import ABLATION_TABLES, PRIOR_ROW, PRIORS, TABLES, data_of, find_place
from contextblip.reports.pooling import Estimate, RunGroup, pool
from contextblip.runs import Run

SPLIT_WORDS = {"valid": "validation split", "test": "test split", "mmvp_vlm": "MMVP-VLM"}
World = Literal["real", "miniature"]
_SAME_SPLIT = {"valid": 15, "test": 1}


@dataclass(frozen=True)
class Entry:
    """One number of ours and the paper's beside it.

    Attributes:
        row: Label of the row.
        column: Id of the column.
        metric: What was measured, such as ``accuracy_video``.
        ours: Our number.
        split: Split it belongs to.
        group: The runs behind it.
        paper: The paper's number in percent, ``None`` where it has none or ours is of another world.
        doubt: Why the paper's number is doubtful.
        is_partial: Whether fewer queries were counted than the split has.
        is_baseline: Whether it is no model's but what guessing has.
    """

    row: str
    column: str
    metric: str
    ours: Estimate
    split: str
    group: RunGroup
    paper: float | None = None
    doubt: str | None = None
    is_partial: bool = False
    is_baseline: bool = False


@dataclass(frozen=True)
class ReportTable:
    """A table of the paper and what our runs have for it.

    Attributes:
        paper: The paper's table.
        world: Whether ours is IMAGECODE and MMVP-VLM, or the miniature world, which has no place beside them.
        entries: Our numbers by row and column.
        groups: The runs that fill it.
        divides_by_tags: Whether Table 2 is divided by the annotation file's tag counts.
    """

    paper: PaperTable
    world: World
    entries: tuple[Entry, ...]
    groups: tuple[RunGroup, ...]
    divides_by_tags: bool = False


@dataclass(frozen=True)
class Report:
    """Tables, and runs that have no place in them.

    Attributes:
        tables: In the paper's order.
        notes: One line a run or table that was left out.
    """

    tables: tuple[ReportTable, ...]
    notes: tuple[str, ...]


def paper_percent(table: PaperTable, row: str, column: str) -> float | None:
    """Return the paper's number in percent.

    Args:
        table: The table; Table 10's counts of right answers are divided by its counts of queries.
        row: Label of the row.
        column: Id of the column.

    Returns:
        Percent, or ``None`` where the paper has none.
    """
    value = table.value(row, column)
    if table.metric != "count" or value is None:
        return value
    total = table.value(table.rows[0].label, column)
    return 100 * value / total if total else None


def build_report(
    runs: Sequence[Run], numbers: Sequence[int] | None = None, *, published_denominators: bool = False
) -> Report:
    """Set runs beside the paper's tables.

    Args:
        runs: Any runs; those of no use are named in the notes.
        numbers: Which tables; ``None`` takes every one that the runs can fill.
        published_denominators: Whether Table 2 divides by the annotation file's tag counts, as the paper did.

    Returns:
        At least one table.

    Raises:
        ConfigurationError: A table was asked for and has another split than a run, or nothing can be filled.
    """
    useful, notes = _sort_out(runs)
    groups = pool(useful)
    if published_denominators:
        _refuse_partial(groups)
    tables: list[ReportTable] = []
    single: list[int] = []
    for number in numbers or TABLES:
        found, reasons = _fill(
            paper_table(number), groups, asked=numbers is not None, tags=published_denominators
        )
        if numbers is None and found and number in ABLATION_TABLES and _n_rows(found) < 2:
            single.append(number)
            continue
        tables += found
        notes += reasons if numbers is not None else []
    if not tables:
        raise ConfigurationError("; ".join([*notes, *_further_notes(single)]) or "no run fills any table")
    if published_denominators and not any(table.divides_by_tags for table in tables):
        notes.append("--published_denominators changes Table 2 alone, and none of the miniature world")
    return Report(tuple(tables), (*notes, *_further_notes(single)))


def _n_rows(tables: Iterable[ReportTable]) -> int:
    return len({entry.row for table in tables for entry in table.entries if not entry.is_baseline})


def _further_notes(single: Sequence[int]) -> list[str]:
    """Name the ablations that would show one row, which Table 15 has already."""
    if not single:
        return []
    names = ", ".join(f"Table {number}" for number in single)
    return [f"a single row each in {names}: ask for them with --table {' '.join(map(str, single))}"]


def _sort_out(runs: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """Tell runs that measured something on a benchmark from the others, and name what is lacking."""
    useful, notes = [], []
    for run in runs:
        if run.dataset not in ("IMAGECODE", "MMVP-VLM") or run.task not in EVALUATING_TASKS:
            notes.append(f"{run.folder} is {run.task} on {run.dataset}: no table of the paper holds it")
            continue
        if run.missing_files:
            lacking = " and ".join(run.missing_files)
            notes.append(f"{run.folder} lacks {lacking}: `lightning test` writes them")
        if run.metrics:
            useful.append(run)
    return useful, notes


def _fill(
    table: PaperTable, groups: Sequence[RunGroup], *, asked: bool, tags: bool
) -> tuple[list[ReportTable], list[str]]:
    """Fill one table, once a world; say why runs have no place in it."""
    fitting = [group for group in groups if group.first.dataset == data_of(table.number)]
    if not fitting:
        return [], [f"Table {table.number} is on {data_of(table.number)}: no run given fills it"]
    if asked:
        _refuse_other_splits(table, fitting)
    reasons: list[str] = []
    entries: list[Entry] = []
    for group in fitting:
        if not _is_of_split(table, group, asked=asked):
            continue
        placed = _entries(table, group, tags=tags)
        if isinstance(placed, str):
            reasons.append(f"{', '.join(group.folders)} has no place in Table {table.number}: {placed}")
        else:
            entries += placed
    _refuse_mixed_splits(table, entries)
    worlds: tuple[World, ...] = ("real", "miniature")
    return [built for world in worlds if (built := _table(table, world, entries, tags))], reasons


def _is_of_split(table: PaperTable, group: RunGroup, *, asked: bool) -> bool:
    """Whether a run is on the table's split, or of the miniature world, whose tables take another, too."""
    if not _is_miniature(group):
        return group.first.split == table.split
    # Table 4 alone shows what each part of the method gives, and the paper has it on the test split alone
    return asked or group.first.split == ("valid" if table.number == 4 else table.split)


def _refuse_other_splits(table: PaperTable, groups: Sequence[RunGroup]) -> None:
    """Stop before a validation number stands beside a test number."""
    for group in groups:
        run = group.first
        if run.split == table.split or _is_miniature(group):
            continue
        own = SPLIT_WORDS.get(run.split, f"{run.split} split")
        same = _SAME_SPLIT.get(run.split)
        remedy = f"use --table {same}, which is on the {own}" if same else "evaluate the run on that split"
        raise ConfigurationError(
            f"{run.folder} is on IMAGECODE's {own}, Table {table.number} on its "
            f"{SPLIT_WORDS[table.split or '']}: the two are never set side by side; {remedy}"
        )


def _refuse_mixed_splits(table: PaperTable, entries: Iterable[Entry]) -> None:
    """Stop before two splits of the miniature world stand in one table, for its runs may be on any."""
    groups = {entry.split: entry.group for entry in entries if _is_miniature(entry.group)}
    if len(groups) > 1:
        named = ", ".join(f"{group.first.folder} on {split}" for split, group in groups.items())
        raise ConfigurationError(
            f"Table {table.number}: runs of the miniature world are on different splits ({named}), which "
            "are never set side by side; report the runs of one split at a time"
        )


def _refuse_partial(groups: Sequence[RunGroup]) -> None:
    """Stop where the tag counts of the whole split would divide the answers to a part of it."""
    whole = published_counts().descriptions["valid"]
    for group in groups:
        share = group.first.share("accuracy")
        if not _is_miniature(group) and group.first.dataset == "IMAGECODE" and share and share.n != whole:
            raise ConfigurationError(
                f"--published_denominators: {group.first.folder} counted {share.n:,} queries, the tag counts "
                f"are of all {whole:,} of the validation split; test the whole split or leave the option out"
            )


def _entries(table: PaperTable, group: RunGroup, *, tags: bool) -> list[Entry] | str:
    place = find_place(table, group.identity)
    if isinstance(place, str):
        return place
    is_real = not _is_miniature(group)
    counts = published_counts().tags if tags and table.number == 2 and is_real else {}
    entries = []
    for column, name in place.columns.items():
        ours = group.estimate(name, counts.get(column))
        if ours is None:
            continue
        paper = paper_percent(table, place.row, column) if is_real else None
        doubt = table.doubt(place.row, column) if is_real else None
        partial = is_real and counted_size(group.first) != whole_size(group.first)
        split = group.first.split
        entries.append(Entry(place.row, column, name, ours, split, group, paper, doubt, partial))
    if not entries:
        return f"it has none of {', '.join(list(place.columns.values())[:3])}"
    return entries


def _baseline(entries: Iterable[Entry]) -> list[Entry]:
    """Give the best constant guess in each column, as the first run has it that counted one."""
    found: dict[str, Entry] = {}
    for entry in entries:
        metric = PRIORS.get(entry.metric)
        ours = entry.group.estimate(metric) if metric and entry.column not in found else None
        if metric and ours:
            found[entry.column] = replace(
                entry, row=PRIOR_ROW, metric=metric, ours=ours, paper=None, doubt=None, is_baseline=True
            )
    return list(found.values())


def whole_size(run: Run) -> int | None:
    """Return how many queries or pairs the split of a run has as published."""
    counts = published_counts()
    if run.dataset == "MMVP-VLM":
        return 9 * counts.pairs_per_pattern
    return counts.descriptions.get(run.split)


def counted_size(run: Run) -> int | None:
    """Return how many queries or pairs a run counted."""
    share = run.share("pair_accuracy" if run.dataset == "MMVP-VLM" else "accuracy")
    return None if share is None else share.n


def _is_miniature(group: RunGroup) -> bool:
    return group.first.world == "miniature"


def _table(table: PaperTable, world: World, entries: Sequence[Entry], tags: bool) -> ReportTable | None:
    chosen = [entry for entry in entries if entry.group.first.world == world]
    if not chosen:
        return None
    chosen += _baseline(chosen)
    labels = [row.label for row in table.rows]
    # rows that the paper lacks come after its own, in the order of the runs
    labels += [row for row in dict.fromkeys(entry.row for entry in chosen) if row not in labels]
    columns = list(table.columns)
    chosen.sort(key=lambda entry: (labels.index(entry.row), columns.index(entry.column)))
    groups = {entry.group.letter: entry.group for entry in chosen}
    divides = tags and table.number == 2 and world == "real"
    return ReportTable(table, world, tuple(chosen), tuple(groups[key] for key in sorted(groups)), divides)

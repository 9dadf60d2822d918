"""Lays a report out in grids and notes, the same for every format that people read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from contextblip.paper import PaperRow, PaperTable
from contextblip.reports.origins import differing_origins
from contextblip.reports.placement import PRIOR_ROW
from contextblip.reports.tables import (
    SPLIT_WORDS,
    Entry,
    Report,
    ReportTable,
    counted_size,
    whole_size,
)

NOTHING = "–"
# a table this wide is headed by the ids of its columns, which a note explains
_MOST_TITLES = 8
_BARE = {"valid": "validation", "mmvp_vlm": "MMVP-VLM"}
_DETAILS = {"params": "params", "image_size": "pixels"}


@dataclass(frozen=True)
class Heading:
    """Opens a table.

    Attributes:
        text: One line.
    """

    text: str


@dataclass(frozen=True)
class Grid:
    """Rows of cells.

    Attributes:
        caption: Says whose numbers, in which unit, on which split.
        header: Titles.
        rows: As long as the header each.
        n_left: How many columns are words, set to the left; the others are numbers.
        name: Stands for it in references, such as ``table15-ours``.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_left: int
    name: str


@dataclass(frozen=True)
class Notes:
    """What stands below a table.

    Attributes:
        lines: One paragraph each.
    """

    lines: tuple[str, ...]


Block = Heading | Grid | Notes


def lay_out(report: Report) -> list[Block]:
    """Lay a report out.

    Args:
        report: Its tables and notes.

    Returns:
        For each table of the paper: heading, our numbers (beside the paper's, or by themselves where they
        are the miniature world's), the paper's whole table, notes; then what the runs were not all made with.
    """
    blocks: list[Block] = []
    tables = list(report.tables)
    for number in dict.fromkeys(table.paper.number for table in tables):
        blocks += _blocks([table for table in tables if table.paper.number == number])
    if origins := differing_origins(run for table in tables for group in table.groups for run in group.runs):
        blocks += [Heading("Not made alike"), Notes(origins)]
    if report.notes:
        blocks += [Heading("Left out"), Notes(report.notes)]
    return blocks


def _blocks(worlds: list[ReportTable]) -> Iterator[Block]:
    """Lay out one table of the paper with our numbers of one or both worlds."""
    paper = worlds[0].paper
    marks = {reason: f"[{number}]" for number, reason in enumerate(dict.fromkeys(paper.doubts.values()), 1)}
    yield Heading(f"Table {paper.number}. {paper.caption}")
    for table in worlds:
        yield _beside(table, marks) if table.world == "real" else _apart(table)
    yield _whole(paper, marks, is_beside=any(table.world == "real" for table in worlds))
    yield Notes(tuple(_notes(worlds, marks)))


def _unit(paper: PaperTable) -> str:
    if paper.metric == "pair_accuracy_percent":
        return "share of pairs with both statements right, in %"
    subset = f" on {paper.subset} queries" if paper.subset else ""
    return f"accuracy{subset} in %"


def _beside(table: ReportTable, marks: dict[str, str]) -> Grid:
    """Set ours beside the paper's, number by number."""
    paper = table.paper
    tags = ", right answers divided by the annotation file's tag counts as the paper did"
    caption = (
        f"Table {paper.number}, the paper and ours: {_unit(paper)}, "
        f"{SPLIT_WORDS[paper.split or '']}{tags if table.divides_by_tags else ''}"
    )
    rows = []
    for entry in table.entries:
        published = _with_mark(_number(entry.paper), marks.get(entry.doubt or ""))
        rows.append((*_labels(paper, entry), published, *_our_cells(entry)))
    header = ("row", "column", "paper", "ours", "95% interval", "n", "± sd (seeds)", "split", "run")
    return Grid(caption, header, _without_repeats(rows), 2, f"table{paper.number}-beside")


def _apart(table: ReportTable) -> Grid:
    """Give the miniature world's numbers a table of their own."""
    paper = table.paper
    caption = (
        f"Ours on the miniature world, in the form of Table {paper.number}: {_unit(paper)}, "
        f"{_split_of_ours(table)}; drawn images, so no number here compares with the paper's"
    )
    rows = [(*_labels(paper, entry), *_our_cells(entry)) for entry in table.entries]
    header = ("row", "column", "ours", "95% interval", "n", "± sd (seeds)", "split", "run")
    return Grid(caption, header, _without_repeats(rows), 2, f"table{paper.number}-miniature")


def _split_of_ours(table: ReportTable) -> str:
    """Name our split, and the paper's where it is another; all entries are on one."""
    ours, theirs = table.entries[0].split, table.paper.split or ""
    words = SPLIT_WORDS.get(ours, f"{ours} split")
    return words if ours == theirs else f"our {words}; the paper's is {_BARE.get(theirs, theirs)}"


def _whole(paper: PaperTable, marks: dict[str, str], *, is_beside: bool) -> Grid:
    """Repeat the paper's whole table."""
    ids = len(paper.columns) > _MOST_TITLES
    details = [name for name in _DETAILS if any(row.details.get(name) is not None for row in paper.rows)]
    header = ["row", *(_DETAILS[name] for name in details)]
    header += list(paper.columns) if ids else list(paper.columns.values())
    rows = []
    for row in paper.rows:
        described = [_detail(paper, row, name, marks) for name in details]
        values = [
            _with_mark(_printed(paper, row, column), marks.get(paper.doubt(row.label, column) or ""))
            for column in paper.columns
        ]
        rows.append((row.label, *described, *values))
    unit = "counts of queries" if paper.metric == "count" else f"{_unit(paper)}"
    purpose = "in full" if is_beside else "for reference: real images, not the miniature world"
    caption = f"The paper's Table {paper.number} {purpose}; {unit}, {SPLIT_WORDS[paper.split or '']}"
    return Grid(caption, tuple(header), tuple(rows), 1, f"table{paper.number}-paper")


def _notes(worlds: list[ReportTable], marks: dict[str, str]) -> Iterator[str]:
    """Explain letters, marks, what was counted and what else a reader must know."""
    groups = {group.letter: group for table in worlds for group in table.groups}
    for letter, group in groups.items():
        yield f"run {letter}: {group.describe()}"
    if any(table.world == "real" for table in worlds):
        for group in groups.values():
            run = group.first
            counted, whole = counted_size(run), whole_size(run)
            if run.world == "real" and counted is not None and whole is not None and counted != whole:
                yield (
                    f"! run {group.letter} counted {counted:,} of the {whole:,} that the split has: "
                    f"these are no results on {run.dataset}"
                )
    yield (
        "95% interval: Wilson's, of a share of n answers"
        + ("; over seeds it is that of their mean, and sd is their spread" if _pools(groups.values()) else "")
    )
    if any(entry.is_baseline for table in worlds for entry in table.entries):
        yield (
            f"{PRIOR_ROW}: no model, but always guessing the place that is the target most often among the "
            "queries of the column; what a model should be above"
        )
    paper = worlds[0].paper
    if len(paper.columns) > _MOST_TITLES:
        named = [f"{column} {title}" for column, title in paper.columns.items() if column != title.lower()]
        yield f"columns: {', '.join(named)}"
    for reason, mark in marks.items():
        yield f"{mark} doubtful in the paper: {reason}"
    if paper.number == 2:
        yield from _denominator_note(worlds)
    yield from paper.notes


def _pools(groups: Iterable[object]) -> bool:
    return any(len(getattr(group, "runs", ())) > 1 for group in groups)


def _denominator_note(worlds: list[ReportTable]) -> Iterator[str]:
    if any(table.world == "real" and not table.divides_by_tags for table in worlds):
        yield (
            "Ours is divided by the queries that match an annotated entry (n); --published_denominators "
            "divides by the annotation file's tag counts instead."
        )


def _our_cells(entry: Entry) -> tuple[str, ...]:
    ours = entry.ours
    spread = NOTHING if ours.sd is None else f"{ours.sd:.1f} ({ours.seeds})"
    interval = f"{ours.low:.1f}–{ours.high:.1f}"
    n = f"{ours.n:,}{' !' if entry.is_partial else ''}"
    return (
        _number(ours.value),
        interval,
        n,
        spread,
        entry.split.replace("mmvp_vlm", "MMVP"),
        entry.group.letter,
    )


def _labels(paper: PaperTable, entry: Entry) -> tuple[str, str]:
    return entry.row, paper.columns[entry.column]


def _detail(paper: PaperTable, row: PaperRow, name: str, marks: dict[str, str]) -> str:
    value = row.details.get(name)
    text = NOTHING if value is None else str(value)
    return _with_mark(text, marks.get(paper.doubt(row.label, name) or ""))


def _printed(paper: PaperTable, row: PaperRow, column: str) -> str:
    value = row.values[column]
    if value is not None and paper.metric == "count" and "unit" not in row.details:
        return f"{value:,.0f}"
    return _number(value)


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _with_mark(text: str, mark: str | None) -> str:
    return f"{text} {mark}" if mark else text


def _without_repeats(rows: list[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Leave the label out where it is that of the row above."""
    above = [None, *(row[0] for row in rows)]
    return tuple(
        ("" if row[0] == before else row[0], *row[1:]) for row, before in zip(rows, above, strict=False)
    )

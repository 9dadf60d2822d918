"""Lay statistics out as tables that fit a terminal, and a file or pipe, of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

NONE = "-"
WIDTH = 80
Row = Sequence[str] | None


def make_table(columns: Sequence[str], rows: Sequence[Row]) -> Table:
    """Make a table with names at the left and numbers at the right.

    Args:
        columns: Headings; the first is that of the names and says what the table is about.
        rows: Cells; ``None`` leaves a gap. Cells that are missing at the end stay empty.

    Returns:
        The table.
    """
    cells = [columns, *(row for row in rows if row is not None)]
    widths = [max(len(row[n]) for row in cells if n < len(row)) for n in range(len(columns))]
    roomy = sum(widths) + 2 * len(widths) <= WIDTH
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, int(roomy), 0, 0), header_style="bold")
    for number, heading in enumerate(columns):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        if row is None:
            table.add_row()
        else:
            table.add_row(*(Text(cell, style="" if number else "cyan") for number, cell in enumerate(row)))
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table; on a narrower terminal its lines run on, for a number cut short would be a wrong one.

    Args:
        console: Where to print.
        table: At most ``WIDTH`` wide.
    """
    Console(file=console.file, width=max(WIDTH, console.width)).print(table)


def whole(number: float | None) -> str:
    """Write a whole number with commas, a dash where there is none."""
    return NONE if number is None else f"{number:,.0f}"


def percent(share: float | None) -> str:
    """Write a share in percent, a dash where there is none."""
    return NONE if share is None else f"{100 * share:.1f}%"


def share(part: int, total: int) -> str:
    """Write a number and its share of a total."""
    return f"{part:,} ({100 * part / total:.1f}%)" if total else f"{part:,}"


def length_rows(noun: str, described: Sequence[Mapping[str, Any] | None]) -> list[Row]:
    """Make the rows of a distribution of lengths.

    Args:
        noun: What was counted in each text.
        described: What ``stats_texts.describe`` gave, one a column.

    Returns:
        Rows of mean, median, 95th and 99th percentile and maximum.
    """
    names = {
        "mean": "mean",
        "p50": "median",
        "p95": "95th percentile",
        "p99": "99th percentile",
        "max": "max",
    }

    def cell(values: Mapping[str, Any] | None, key: str) -> str:
        if values is None:
            return NONE
        rounded = f"{values[key]:.1f}"
        return rounded if key == "mean" else rounded.removesuffix(".0")

    return [[f"{noun}, {name}", *(cell(values, key) for values in described)] for key, name in names.items()]


def text_rows(columns: Sequence[Mapping[str, Any]], max_words: int, max_tokens: int) -> list[Row]:
    """Make the rows that every data set has: lengths, cuts, blanks, repeats.

    Args:
        columns: What ``stats_texts`` counted, one a column.
        max_words: Words kept of a text.
        max_tokens: Tokens kept of a text.

    Returns:
        Rows; those that need a tokenizer hold dashes where there was none.
    """
    return [
        *length_rows("words", [column["words"] for column in columns]),
        None,
        *_token_rows(columns, max_words, max_tokens),
        None,
        ["blank at an end", *(whole(column["blank_ends"]) for column in columns)],
        ["nothing but blanks", *(whole(column["empty"]) for column in columns)],
        ["repeat another text", *(whole(column["repeats"]) for column in columns)],
        ["not ASCII", *(whole(column["non_ascii"]) for column in columns)],
    ]


def _token_rows(columns: Sequence[Mapping[str, Any]], max_words: int, max_tokens: int) -> list[Row]:
    if all(column["tokens"] is None for column in columns):
        return [["tokens and cuts", *("no tokenizer" for _ in columns)]]
    cuts = [column["cut"] for column in columns]
    return [
        *length_rows("tokens", [column["tokens"] for column in columns]),
        None,
        [f"cut at {max_words} words", *(_cut_cell(cut, "words") for cut in cuts)],
        [f"cut at {max_tokens} tokens", *(_cut_cell(cut, "tokens") for cut in cuts)],
        ["cut by either", *(_cut_cell(cut, "either") for cut in cuts)],
    ]


def _cut_cell(cut: Mapping[str, int] | None, key: str) -> str:
    """Write how many texts are cut; two digits, since published shares were rounded from them."""
    return f"{cut[key]:,} ({100 * cut[key] / cut['of']:.2f}%)" if cut else NONE

"""A comparison as a table on the terminal, as Markdown and as JSON."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contextblip.comparison.results import Comparison, Flip, Row, Side
from contextblip.comparison.settings import show_settings
from contextblip.comparison.words import points, sentences, short_p, subset_name
from contextblip.estimates import Interval

_WIDTH = 110  # columns where the output goes to no terminal
_HEADINGS = ("subset", "n", "A %", "B %", "B - A", "flips", "p", "Holm p")
_SPECIAL = re.compile(r"([\\`*<|\[\]])")


def print_terminal(found: Comparison, flips: int = 0) -> None:
    """Print a comparison on the terminal.

    Args:
        found: The comparison.
        flips: How many flipped queries to list, at most, for each direction.
    """
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for line in (*_head(found), "", *sentences(found), ""):
        console.print(Text(line))
    table = _table(found, wide=True)
    needed = console.measure(table, options=console.options.update(max_width=999)).maximum
    if console.is_terminal and needed > console.width:
        table = _table(found, wide=False)
    console.print(table, width=None if console.is_terminal else needed)
    for line in (*_legend(found), *_flip_lines(found, flips)):
        console.print(Text(line))


def to_markdown(found: Comparison, flips: int = 0) -> str:
    """Write a comparison as Markdown.

    Args:
        found: The comparison.
        flips: How many flipped queries to list, at most, for each direction.

    Returns:
        Paragraphs, a table and a list.
    """
    table = [f"| {' | '.join(_HEADINGS)} |", f"|---|{'---:|' * (len(_HEADINGS) - 1)}"]
    table += [f"| {' | '.join(cell.replace('|', '/') for cell in _cells(row))} |" for row in found.rows]
    head = [f"- {_escape(line)}" for line in _head(found)]
    first, *rest = sentences(found)
    paragraphs = [f"**{_escape(first)}**", *(_escape(line) for line in (*rest, *_legend(found)))]
    listed = [_escape(line.strip()) for line in _flip_lines(found, flips)]
    listed = listed[:1] + [f"- {line}" for line in listed[1:]]
    blocks = ["\n".join(head), *paragraphs[:-1], "\n".join(table), paragraphs[-1]]
    blocks += [listed[0], "\n".join(listed[1:])] if listed else []
    return "\n\n".join(blocks) + "\n"


def write_json(found: Comparison, path: Path) -> None:
    """Write all numbers of a comparison; shares and differences are fractions, all flips are listed.

    Args:
        found: The comparison.
        path: File to write; its folder is made.
    """
    content: dict[str, Any] = asdict(found)
    for row, written in zip(found.rows, content["rows"], strict=True):
        written["better"] = row.better
    for name, side in (("a", found.a), ("b", found.b)):
        content[name]["over_seeds"] = side.over_seeds._asdict()
    content["words"] = sentences(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _head(found: Comparison) -> Iterator[str]:
    """Say what is compared."""
    yield f"{found.data}; B - A in percentage points"
    for name, side in (("A", found.a), ("B", found.b)):
        yield f"{name}: {_title(side)}"
    if found.settings:
        yield f"Settings that differ (A -> B): {show_settings(found.settings)}"


def _title(side: Side) -> str:
    """Name a group of runs."""
    seeds = ", ".join("none" if seed is None else str(seed) for seed in side.seeds)
    word = "seed" if len(side.seeds) == 1 else "seeds"
    return f"{' '.join(side.runs)} ({side.title}, {word} {seeds})"


def _table(found: Comparison, wide: bool) -> Table:
    """Lay the rows out, section by section."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if place else "left", no_wrap=wide or place > 0)
    section = None
    for row in found.rows:
        if section not in (None, row.section):
            table.add_section()
        section = row.section
        table.add_row(*(Text(cell) for cell in _cells(row, wide)), style="bold" if row.better else None)
    return table


def _cells(row: Row, wide: bool = True) -> list[str]:
    """Write a row of the table; a narrow one leaves the intervals of A and B out."""
    accuracies = [(row.accuracy_a, row.interval_a), (row.accuracy_b, row.interval_b)]
    return [
        subset_name(row),
        f"{row.n:,}",
        *(_with_interval(points(value), interval if wide else None) for value, interval in accuracies),
        _with_interval(points(row.difference), row.interval),
        f"{row.only_a:,}:{row.only_b:,}",
        short_p(row.p),
        "" if row.p_holm is None else short_p(row.p_holm),
    ]


def _with_interval(value: str, interval: Interval | None) -> str:
    """Write a value and its interval."""
    return f"{value} [{points(interval.low)}, {points(interval.high)}]" if interval else value


def _legend(found: Comparison) -> list[str]:
    """Say how intervals and p-values were made."""
    pooled = len(found.a.runs) + len(found.b.runs) > 2
    unit = "image set" if found.cluster == "set" else found.unit
    whole = pooled or found.cluster == "set"
    test = f"exact sign-flip test, clustered by {unit}" if whole else "McNemar's exact test"
    units = "queries" if found.unit == "query" else "pairs"
    resampled = units if unit == found.unit else f"{unit}s"
    more = " in more of its runs" if pooled else ""
    return [
        f"n: {units}. Intervals are 95%: Wilson for A and B, paired bootstrap over {resampled} for B - A "
        f"(none below ten {resampled} or without a flip). Flips: {units} that only A:only B got "
        f"right{more}. p: {test}; Holm p: corrected for the number of subsets."
    ]


def _flip_lines(found: Comparison, number: int) -> list[str]:
    """List some flips of each direction, spread over the file."""
    lines = []
    for name in ("A", "B") if number > 0 else ():
        flips = [flip for flip in found.flips if flip.better == name]
        shown = _spread(flips, number)
        lines += [f"  {name} only: {line}" for flip in shown for line in _flip(flip)]
    return ["Flips (set:index, target, predictions of A and B, text):", *lines] if lines else []


def _flip(flip: Flip) -> Iterator[str]:
    """Describe the statements of a flip."""
    for statement in flip.statements:
        predictions = [
            f"{name} {','.join(map(str, statement[f'predictions_{name.lower()}']))}" for name in ("A", "B")
        ]
        yield (
            f"{flip.set_name}:{statement['query_index']} target {statement['target']}, "
            f"{', '.join(predictions)}: {' '.join(statement['text'].split())}"
        )


def _spread(flips: list[Flip], number: int) -> list[Flip]:
    """Take some evenly spaced ones."""
    if len(flips) <= number:
        return flips
    return [flips[place * len(flips) // number] for place in range(number)]


def _escape(text: str) -> str:
    """Keep Markdown from reading a text's signs as its own."""
    return _SPECIAL.sub(r"\\\1", text)

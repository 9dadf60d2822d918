"""Reads the YAML files beside it: numbers, splits and doubtful cells of the paper's tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from contextblip.errors import ConfigurationError

PREFIX = "table"
TABLE_FILES = ("tables_1_to_9.yaml", "tables_10_to_18.yaml")


@dataclass(frozen=True)
class PaperRow:
    """A row of a table.

    Attributes:
        label: Names the row, unique in its table.
        details: What describes it beside the label, such as ``params`` or ``mask_ratio``.
        values: Number in each column, ``None`` where the paper has none.
    """

    label: str
    details: Mapping[str, Any]
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        id: Such as ``table15``.
        number: Such as 15.
        caption: What it holds, in our words.
        metric: ``accuracy_percent``, ``pair_accuracy_percent``, ``count`` or ``settings``.
        split: ``valid``, ``test`` or ``mmvp_vlm``; ``None`` where none applies.
        subset: ``video`` where only those queries count.
        columns: Id and title of each column of numbers.
        rows: From top to bottom.
        doubts: Why a number contradicts another one of the paper, by row label and column (or detail).
        notes: What else a reader must know.
        settings: Names and values of the tables of settings, which have no columns.
    """

    id: str
    number: int
    caption: str
    metric: str
    split: str | None
    subset: str | None
    columns: Mapping[str, str]
    rows: tuple[PaperRow, ...]
    doubts: Mapping[tuple[str, str], str]
    notes: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def row(self, label: str) -> PaperRow | None:
        """Find a row.

        Args:
            label: Its name.

        Returns:
            The row, or ``None`` where the table has none of that name.
        """
        return next((row for row in self.rows if row.label == label), None)

    def value(self, label: str, column: str) -> float | None:
        """Look a number up.

        Args:
            label: Name of the row.
            column: Id of the column.

        Returns:
            The number, or ``None`` where the paper has none.
        """
        row = self.row(label)
        return None if row is None else row.values.get(column)

    def doubt(self, label: str, column: str) -> str | None:
        """Say why a number is doubtful.

        Args:
            label: Name of the row.
            column: Id of the column, or name of a detail.

        Returns:
            The reason, or ``None`` where nothing speaks against it.
        """
        return self.doubts.get((label, column))


@dataclass(frozen=True)
class PublishedCounts:
    """Sizes that the paper's numbers rest on.

    Attributes:
        descriptions: IMAGECODE's queries, by split.
        videos: Those of video sets, by split.
        pairs_per_pattern: MMVP-VLM's pairs of each of its nine patterns.
        tags: How often each phenomenon is tagged in the annotation file, which is what Table 2 divides by.
    """

    descriptions: Mapping[str, int]
    videos: Mapping[str, int]
    pairs_per_pattern: int
    tags: Mapping[str, int]


def _content(file: str) -> dict[str, Any]:
    text = files("contextblip.paper").joinpath(file).read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


@cache
def _tables() -> dict[str, Any]:
    return {name: table for file in TABLE_FILES for name, table in _content(file).items()}


def paper_tables() -> list[str]:
    """List the ids of all tables, in the paper's order."""
    return list(_tables())


def published_counts() -> PublishedCounts:
    """Return the sizes that the paper's numbers rest on."""
    return PublishedCounts(**_content("counts.yaml"))


@cache
def paper_table(table: str | int) -> PaperTable:
    """Read a table.

    Args:
        table: Its id or number: ``table15``, ``15`` or 15.

    Returns:
        The table.

    Raises:
        ConfigurationError: The paper has no such table.
    """
    name = f"{PREFIX}{str(table).removeprefix(PREFIX)}"
    if name not in (known := paper_tables()):
        raise ConfigurationError(f"{table}: the paper has no such table; there are {known[0]} to {known[-1]}")
    entry = _tables()[name]
    columns = entry.get("columns", {})
    return PaperTable(
        id=name,
        number=int(name.removeprefix(PREFIX)),
        caption=entry["caption"],
        metric=entry["metric"],
        split=entry.get("split"),
        subset=entry.get("subset"),
        columns=columns,
        rows=tuple(_row(row, columns) for row in entry.get("rows", [])),
        doubts=_doubts(entry.get("doubtful", [])),
        notes=tuple(entry.get("notes", [])),
        settings=entry.get("settings", {}),
    )


def _row(row: Mapping[str, Any], columns: Mapping[str, str]) -> PaperRow:
    details = {name: value for name, value in row.items() if name not in ("label", "values")}
    return PaperRow(row["label"], details, dict(zip(columns, row["values"], strict=True)))


def _doubts(entries: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    return {
        (entry["row"], column): " ".join(entry["reason"].split())
        for entry in entries
        for column in entry["columns"]
    }

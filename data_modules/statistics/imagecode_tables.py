"""Lay the statistics of IMAGECODE out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from data_modules.imagecode_files import ANNOTATED_ENTRIES, CHALLENGING_ENTRIES
from data_modules.statistics.imagecode import OTHER, SOURCES
from data_modules.statistics.tables import NONE, Row, make_table, percent, share, text_rows, whole
from data_modules.statistics.texts import TextSettings


def imagecode_tables(stats: dict[str, Any], settings: TextSettings) -> list[Table]:
    """Lay the statistics of IMAGECODE out.

    Args:
        stats: What ``collect_imagecode`` returned.
        settings: How a model would read the texts.

    Returns:
        Tables of sets and texts, of lengths, of targets, and, where there are any, of propositions and of
        annotations.
    """
    splits: dict[str, Any] = stats["splits"]
    columns = [*splits.values(), stats["all"]]
    lengths = text_rows(columns, settings.max_words, settings.max_tokens)
    tables = [
        make_table(["Sets and texts", *splits], _set_rows(list(splits.values()))),
        make_table(["Lengths of texts", *splits, "all"], lengths),
    ]
    targets = {name: split["targets"] for name, split in splits.items() if split["targets"]}
    if targets:
        tables.append(_target_table(targets))
    propositions = {name: split["propositions"] for name, split in splits.items() if split["propositions"]}
    if propositions:
        tables.append(_proposition_table(propositions))
    if stats["annotations"]:
        tables.append(_annotation_table(stats["annotations"]))
    return tables


def _set_rows(splits: Sequence[dict[str, Any]]) -> list[Row]:
    sources = [*SOURCES.values(), OTHER]
    found = [title for title in sources if any(title in split["sources"] for split in splits)]
    sizes = sorted({size for split in splits for size in split["texts_per_set"]})
    return [
        ["sets", *(whole(split["sets"]) for split in splits)],
        ["  static", *(whole(split["static_sets"]) for split in splits)],
        ["  video", *(whole(split["video_sets"]) for split in splits)],
        *(
            [f"  with {size} text{'s' if size > 1 else ''}"]
            + [whole(split["texts_per_set"].get(size, 0)) for split in splits]
            for size in sizes
        ),
        None,
        *(
            [f"  from {title}", *(whole(split["sources"].get(title, 0)) for split in splits)]
            for title in found
        ),
        None,
        ["texts", *(whole(split["texts"]) for split in splits)],
        ["  of static sets", *(share(split["static_texts"], split["texts"]) for split in splits)],
        ["  of video sets", *(share(split["video_texts"], split["texts"]) for split in splits)],
    ]


def _target_table(targets: dict[str, dict[str, list[int]]]) -> Table:
    """Make the table of target indices: each split's, then all of them together."""
    size = max(len(counts) for split in targets.values() for counts in split.values())

    def add(lists: Sequence[list[int]]) -> list[int]:
        return [sum(counts[index] for counts in lists if index < len(counts)) for index in range(size)]

    rows: list[Row] = []
    for name, split in [*targets.items(), ("all", _add_targets(list(targets.values()), add))]:
        rows += [_target_row(f"{name} {kind}", add([counts])) for kind, counts in split.items()]
        rows += [_target_row(name, add(list(split.values()))), None]
    return make_table(["Target index", *map(str, range(size)), "best guess"], rows[:-1])


def _add_targets(
    splits: Sequence[dict[str, list[int]]], add: Callable[[Sequence[list[int]]], list[int]]
) -> dict[str, list[int]]:
    return {kind: add([split[kind] for split in splits]) for kind in splits[0]}


def _target_row(name: str, counts: list[int]) -> list[str]:
    best = max(counts) / sum(counts) if sum(counts) else None
    return [name, *map(str, counts), percent(best) if best is not None else NONE]


def _proposition_table(propositions: dict[str, dict[str, Any]]) -> Table:
    sizes = sorted({size for split in propositions.values() for size in split["per_text"]})
    rows = [
        [
            name,
            *map(
                whole, [split["texts"], *(split["per_text"].get(size, 0) for size in sizes), split["blank"]]
            ),
        ]
        for name, split in propositions.items()
    ]
    headings = [
        "Propositions",
        "texts",
        *(f"with {size}" if size == sizes[0] else str(size) for size in sizes),
        "blank",
    ]
    return make_table(headings, rows)


def _annotation_table(counts: dict[str, Any]) -> Table:
    keys = ("first_200", "first_200_with_text", "first_1002", "first_1002_with_text")
    rows: list[Row] = [
        [f"{code} ({values['meaning']})", *(whole(values[key]) for key in keys)]
        for code, values in counts["codes"].items()
    ]
    rows.append(
        [
            "none (an empty code)",
            whole(counts["empty"]["first_200"]),
            "",
            whole(counts["empty"]["first_1002"]),
        ]
    )
    return make_table(["Annotations by hand", "first 200", "with text", "first 1,002", "with text"], rows)


def annotation_notes(counts: dict[str, Any]) -> list[str]:
    """Say what the annotation file covers.

    Args:
        counts: ``annotations`` of what ``collect_imagecode`` returned.

    Returns:
        Lines.
    """
    sets, videos = counts["challenging_sets"], counts["challenging_video"]
    first = min(CHALLENGING_ENTRIES, counts["entries"])
    lines = [
        f"annotations: {counts['entries']:,} entries of {counts['sets']:,} sets, "
        f"{counts['entries_with_text']:,} match a text; "
        f"{counts['texts_without_entry']:,} texts have no entry",
        f"the first {first} are the challenging samples: {sets:,} sets, {videos} entries of videos, "
        f"{first - videos} static",
    ]
    if counts["entries"] > ANNOTATED_ENTRIES:
        rest = counts["entries"] - ANNOTATED_ENTRIES
        lines.append(f"the last {rest:,} entries were not annotated")
    return lines

"""Statistics of MMVP-VLM: pairs and statements of each type, their lengths, quotes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from data_modules.mmvp_vlm import NAME, find_questions, read_pairs
from data_modules.statistics.tables import Row, make_table, text_rows, whole
from data_modules.statistics.texts import TextCounter, TextSettings, count_cuts, count_tokens, describe
from data_modules.text import clean_retrieval_text

PREFIX = "a photo of "


def collect_mmvp_vlm(root: Path, settings: TextSettings) -> dict[str, Any]:
    """Count what ``Questions.csv`` holds; images are not looked at.

    Args:
        root: Folder of the data or a parent.
        settings: How a model would read the statements.

    Returns:
        ``pairs``, ``types`` and the counts of all statements.

    Raises:
        DatasetNotFoundError: The file is missing.
        DatasetError: It cannot be used.
    """
    path = find_questions(root)
    pairs = read_pairs(path)
    types: dict[str, dict[str, Any]] = {}
    counters: dict[str, TextCounter] = {}
    statements: list[str] = []
    for kind, pair in pairs:
        counter = counters.setdefault(kind, TextCounter())
        counts = types.setdefault(kind, {"pairs": 0, "equal": 0, "quotes": 0})
        counts["pairs"] += 1
        counts["equal"] += pair[0][1].strip() == pair[1][1].strip()
        for _, statement in pair:
            counter.add(statement)
            counts["quotes"] += '"' in statement
            statements.append(statement)
    every = TextCounter()
    for statement in statements:
        every.add(statement)
    tokens = count_tokens(statements, settings.tokenizer) if settings.tokenizer else None
    return {
        "dataset": NAME,
        "file": str(path),
        "pairs": len(pairs),
        "types": {kind: counts | counters[kind].as_dict() for kind, counts in types.items()},
        **every.as_dict(),
        "tokens": describe(tokens) if tokens else None,
        "cut": count_cuts([PREFIX + statement for statement in statements], settings, clean_retrieval_text),
        "notes": [f'cuts are of "{PREFIX}" and the statement, as the data module joins them'],
    }


def mmvp_vlm_tables(stats: dict[str, Any], settings: TextSettings) -> list[Table]:
    """Lay the statistics of MMVP-VLM out.

    Args:
        stats: What ``collect_mmvp_vlm`` returned.
        settings: How a model would read the statements.

    Returns:
        Tables of types and of lengths.
    """
    types: dict[str, dict[str, Any]] = stats["types"]
    rows: list[Row] = [_type_row(kind, counts) for kind, counts in types.items()]
    totals = {key: sum(counts[key] for counts in types.values()) for key in ("pairs", "equal", "quotes")}
    rows += [None, _type_row("all", totals | {"words": stats["words"]})]
    headings = ["Type", "pairs", "words, mean", "words, max", "with quotes", "equal"]
    return [
        make_table(headings, rows),
        make_table(["Statements", "all"], text_rows([stats], settings.max_words, settings.max_tokens)),
    ]


def _type_row(name: str, counts: dict[str, Any]) -> list[str]:
    words = counts["words"]
    return [
        name,
        whole(counts["pairs"]),
        f"{words['mean']:.1f}" if words else "-",
        whole(words["max"] if words else None),
        whole(counts["quotes"]),
        whole(counts["equal"]),
    ]

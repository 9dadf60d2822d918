"""Print what a data set holds: counts, lengths, and how much of it a model would see cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from contextblip.errors import DatasetNotFoundError
from data_modules.statistics.tables import print_table
from data_modules.statistics.texts import TextSettings, load_settings


def print_statistics(
    name: str,
    root: Path,
    *,
    tokenizer: str | None = None,
    max_words: int = 30,
    max_tokens: int = 30,
    json_file: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Print the statistics of a data set's annotation files; images are not looked at.

    Args:
        name: ``coco``, ``visual_genome``, ``imagecode`` or ``mmvp_vlm``.
        root: Folder of the data or a parent.
        tokenizer: A ``vocab.txt``, folder or hub id; ``None``: one beside the data, else the hub's.
        max_words: Words kept of a text.
        max_tokens: Tokens kept of a text, [CLS] and [SEP] included.
        json_file: Where to write the numbers too.
        console: Where to print; ``None`` is standard output.

    Returns:
        The numbers.

    Raises:
        DatasetNotFoundError: No known layout lies there.
        DatasetError: A file cannot be used.
        ConfigurationError: The tokenizer that was named cannot be loaded.
    """
    console = console or Console()
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"--root {root} is no folder; name the data set's folder or a parent that holds it"
        )
    settings = load_settings(tokenizer, root, max_words, max_tokens)
    with console.status("counting"):
        stats, tables = collect(name, root, settings)
    stats |= {
        "root": str(root.absolute()),
        "tokenizer": settings.source if settings.tokenizer else None,
        "max_words": max_words,
        "max_tokens": max_tokens,
    }
    console.print(f"{stats['dataset']} in {root}", highlight=False, markup=False, soft_wrap=True)
    for table in tables:
        console.print()
        print_table(console, table)
    console.print()
    for line in [*stats["notes"], *describe_lengths(settings)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(f"{json.dumps(stats, indent=2, ensure_ascii=False)}\n", encoding="utf-8")
        console.print(f"numbers: {json_file}", highlight=False, markup=False, soft_wrap=True)
    return stats


def collect(name: str, root: Path, settings: TextSettings) -> tuple[dict[str, Any], list[Table]]:
    """Count what a data set's files hold and lay it out.

    Args:
        name: As for ``print_statistics``.
        root: Folder of the data or a parent.
        settings: How a model would read the texts.

    Returns:
        The numbers and the tables of them.

    Raises:
        DatasetNotFoundError: No known layout lies there.
        DatasetError: A file cannot be used.
    """
    if name == "imagecode":
        from data_modules.statistics.imagecode import collect_imagecode
        from data_modules.statistics.imagecode_tables import annotation_notes, imagecode_tables

        stats = collect_imagecode(root, settings)
        stats["notes"] = annotation_notes(stats["annotations"]) if stats["annotations"] else []
        return stats, imagecode_tables(stats, settings)
    if name == "mmvp_vlm":
        from data_modules.statistics.mmvp_vlm import collect_mmvp_vlm, mmvp_vlm_tables

        stats = collect_mmvp_vlm(root, settings)
        return stats, mmvp_vlm_tables(stats, settings)
    from data_modules.statistics.captions import caption_tables, collect_captions

    stats = collect_captions(name, root, settings)
    return stats, caption_tables(stats, settings)


def describe_lengths(settings: TextSettings) -> list[str]:
    """Say what the lengths mean.

    Args:
        settings: How a model would read the texts.

    Returns:
        Lines.
    """
    if settings.tokenizer is None:
        return [settings.source]
    return [
        "Lengths are those of the texts as published, tokens with [CLS] and [SEP];",
        "cuts are those of the texts after the clean-up that models use.",
        f"tokenizer: {settings.source}",
    ]

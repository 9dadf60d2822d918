"""Statistics of COCO and Visual Genome: every layout that lies there, split by split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from contextblip.errors import DatasetNotFoundError
from data_modules.caption_data.sources import CaptionSource, Split
from data_modules.statistics.tables import Row, make_table, text_rows, whole
from data_modules.statistics.texts import (
    EvenSample,
    Histogram,
    TextCounter,
    TextSettings,
    count_cuts,
    count_tokens,
    describe,
)
from data_modules.text import clean_caption
from data_modules.verification.captions import COCO, layouts_beside, locate, locate_all


def collect_captions(name: str, root: Path, settings: TextSettings) -> dict[str, Any]:
    """Count what the annotation files hold; images are not looked at.

    Args:
        name: ``coco`` or ``visual_genome``.
        root: Folder of the data or a parent.
        settings: How a model would read the texts.

    Returns:
        ``layouts`` by name, each with its splits, and ``shared`` with the other data set where it is there.

    Raises:
        DatasetNotFoundError: No known layout lies there.
        DatasetError: A file cannot be used.
    """
    layouts: dict[str, dict[str, Any]] = {}
    keys: set[str] = set()
    sources = locate_all(name, root)
    for source in sources:
        layouts[source.layout] = {}
        for split in source.splits:
            counted, more_keys = _count_split(source, split, settings)
            layouts[source.layout][split] = counted
            keys |= more_keys if source is sources[0] else set()
    shared = _count_shared(name, root, keys)
    beside = layouts_beside(name, root, sources)
    notes = [f"data modules use the layout {sources[0].layout}"] if len(sources) > 1 or beside else []
    notes += [f"here too, but neither read nor counted: {', '.join(beside)}"] if beside else []
    if shared is not None:
        notes.append(f"images shared with {shared['with']}, which is here too: {shared['images']:,}")
    sampled = [split for splits in layouts.values() for split in splits.values() if split["sampled"]]
    if sampled and settings.tokenizer is not None:
        notes.append("tokens and cuts are those of evenly spaced texts, " + _sizes(sampled))
    return {"dataset": sources[0].name, "layouts": layouts, "shared": shared, "notes": notes}


def _sizes(splits: Sequence[dict[str, Any]]) -> str:
    return " and ".join(f"{split['sampled']:,} of {split['texts']:,}" for split in splits)


def _count_split(
    source: CaptionSource, split: Split, settings: TextSettings
) -> tuple[dict[str, Any], set[str]]:
    """Count a split's images and texts; give its images' keys too."""
    counter, sample = TextCounter(), EvenSample()
    per_image: Histogram = Counter()
    keys: set[str] = set()
    for image in source.read(split):
        keys.add(image.key)
        per_image[len(image.captions)] += 1
        for caption in image.captions:
            counter.add(caption)
            sample.add(caption)
    tokens = count_tokens(sample.texts, settings.tokenizer) if settings.tokenizer else Counter[int]()
    counts = {
        "files": [str(path) for path in source.files[split]],
        "images": sum(per_image.values()),
        "photos": len(keys),
        "texts_per_image": {"min": min(per_image, default=0)} | (describe(per_image) or {}),
        **counter.as_dict(),
        "tokens": describe(tokens),
        "cut": count_cuts(sample.texts, settings, clean_caption),
        "sampled": len(sample.texts) if len(sample.texts) < counter.n else 0,
    }
    return counts, keys


def _count_shared(name: str, root: Path, keys: set[str]) -> dict[str, Any] | None:
    """Count the images that the other data set has too, where it lies below the same root or beside it."""
    other = "visual_genome" if name == COCO else COCO
    for folder in (root, root.resolve().parent):
        try:
            source = locate(other, folder)
        except DatasetNotFoundError:
            continue
        others = {image.key for split in source.splits for image in source.read(split)}
        return {"with": source.name, "images": len(keys & others)}
    return None


def caption_tables(stats: dict[str, Any], settings: TextSettings) -> list[Table]:
    """Lay the statistics of a caption data set out.

    Args:
        stats: What ``collect_captions`` returned.
        settings: How a model would read the texts.

    Returns:
        One table a layout.
    """
    return [_layout_table(layout, splits, settings) for layout, splits in stats["layouts"].items()]


def _layout_table(layout: str, splits: dict[str, dict[str, Any]], settings: TextSettings) -> Table:
    columns = list(splits.values())
    per_image = [column["texts_per_image"] for column in columns]
    rows: list[Row] = [
        ["images", *(whole(column["images"]) for column in columns)],
        ["texts", *(whole(column["texts"]) for column in columns)],
        ["texts an image, fewest", *(whole(counts["min"]) for counts in per_image)],
        ["texts an image, mean", *(f"{counts.get('mean', 0):.2f}" for counts in per_image)],
        ["texts an image, most", *(whole(counts.get("max", 0)) for counts in per_image)],
        None,
        *text_rows(columns, settings.max_words, settings.max_tokens),
    ]
    return make_table([f"Layout {layout}", *splits], rows)

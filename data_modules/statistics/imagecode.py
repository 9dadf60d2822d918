"""Statistics of IMAGECODE: sets, texts, sources, lengths, targets, annotations, propositions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.files import first_file, read_json
from data_modules.imagecode_files import (
    ANNOTATED_ENTRIES,
    CHALLENGING_ENTRIES,
    NAME,
    PHENOMENA,
    PHENOMENA_FILE,
    PROPOSITION_FILES,
    Descriptions,
    Split,
    is_video_set,
    read_annotations,
    read_descriptions,
    read_propositions,
)
from data_modules.statistics.texts import (
    Histogram,
    TextCounter,
    TextSettings,
    add_cuts,
    count_cuts,
    count_tokens,
    describe,
)
from data_modules.text import clean_retrieval_text
from data_modules.verification.imagecode import find_splits

SOURCES = {
    "video-storytelling": "video-storytelling",
    "MSR-VTT-videoTrainVal": "MSR-VTT TrainVal",
    "MSR-VTT-videoTest": "MSR-VTT Test",
    "open-images": "open-images",
    "YouCook": "YouCook",
}
OTHER = "other"
CANDIDATES = 10


def source_of(name: str) -> str:
    """Tell where a set's images come from.

    Args:
        name: Name of the set.

    Returns:
        The collection, or ``other``.
    """
    return next((title for prefix, title in SOURCES.items() if name.startswith(prefix)), OTHER)


def collect_imagecode(root: Path, settings: TextSettings) -> dict[str, Any]:
    """Count what the files of IMAGECODE hold; images are not looked at.

    Args:
        root: Folder of the data or a parent.
        settings: How a model would read the texts.

    Returns:
        ``splits`` by name, ``all`` for their texts together, and ``annotations`` where there are any.

    Raises:
        DatasetNotFoundError: No split lies there.
        DatasetError: A file cannot be used.
    """
    files = find_splits(root)
    every = TextCounter()
    tokens: Histogram = Counter()
    splits = {}
    descriptions: dict[Split, Descriptions] = {}
    for split, path in files.items():
        descriptions[split] = read_descriptions(path)
        texts = [text for rows in descriptions[split].values() for _, text in rows]
        counter = TextCounter()
        for text in texts:
            counter.add(text)
            every.add(text)
        lengths = count_tokens(texts, settings.tokenizer) if settings.tokenizer else Counter[int]()
        tokens += lengths
        splits[split] = {
            "file": str(path),
            **_count_sets(descriptions[split]),
            **counter.as_dict(),
            "tokens": describe(lengths),
            "cut": count_cuts(texts, settings, clean_retrieval_text),
            "targets": _count_targets(descriptions[split]),
            "propositions": _count_propositions(path, split, set(texts)),
        }
    whole_set = every.as_dict() | {
        "tokens": describe(tokens),
        "cut": add_cuts([split["cut"] for split in splits.values()]),
    }
    annotated = _beside(files["valid"], [PHENOMENA_FILE]) if "valid" in files else None
    annotations = _count_annotations(annotated, descriptions["valid"]) if annotated else None
    return {"dataset": NAME, "splits": splits, "all": whole_set, "annotations": annotations}


def _count_sets(descriptions: Descriptions) -> dict[str, Any]:
    videos = {name for name in descriptions if is_video_set(name)}
    video_texts = sum(len(descriptions[name]) for name in videos)
    texts = sum(map(len, descriptions.values()))
    return {
        "sets": len(descriptions),
        "static_sets": len(descriptions) - len(videos),
        "video_sets": len(videos),
        "texts_per_set": dict(sorted(Counter(map(len, descriptions.values())).items())),
        "sources": dict(Counter(map(source_of, descriptions))),
        "static_texts": texts - video_texts,
        "video_texts": video_texts,
    }


def _count_targets(descriptions: Descriptions) -> dict[str, list[int]] | None:
    """Count how often each index is the target; ``None`` where targets are secret."""
    rows = [(is_video_set(name), target) for name, row in descriptions.items() for target, _ in row]
    if not rows or min(target for _, target in rows) < 0:
        return None
    counts = Counter(rows)
    size = max(CANDIDATES, 1 + max(target for _, target in rows))
    return {
        kind: [counts[is_video, index] for index in range(size)]
        for kind, is_video in (("static", False), ("video", True))
    }


def _beside(split_file: Path, names: Sequence[str]) -> Path | None:
    return first_file([split_file.parent, split_file.parent / "analysis"], names)


def _count_propositions(split_file: Path, split: Split, texts: set[str]) -> dict[str, Any] | None:
    path = _beside(split_file, PROPOSITION_FILES[split])
    if path is None:
        return None
    counts = {text: number for text, number in read_propositions(path).items() if text in texts}
    parts = [part for text, values in read_json(path, NAME).items() if text in texts for part in values]
    return {
        "file": str(path),
        "texts": len(counts),
        "per_text": dict(sorted(Counter(counts.values()).items())),
        "blank": sum(1 for part in parts if not str(part).strip()),
    }


def _count_annotations(path: Path, texts: Descriptions) -> dict[str, Any]:
    """Count the annotation file's codes, in all of its first entries and in those that match a text."""
    annotations = read_annotations(path)
    known = {(name, target) for name, rows in texts.items() for target, _ in rows}
    entries = list(annotations.phenomena.items())

    def matching(first: int) -> Counter[str]:
        return Counter(name for key, names in entries[:first] if key in known for name in names)

    challenging, annotated = matching(CHALLENGING_ENTRIES), matching(ANNOTATED_ENTRIES)
    codes = [*PHENOMENA, *(code for code in annotations.annotated_codes if code and code not in PHENOMENA)]
    return {
        "file": str(path),
        "sets": annotations.n_sets,
        "entries": len(entries),
        "entries_with_text": sum(key in known for key, _ in entries),
        "challenging_with_text": sum(key in known for key in annotations.challenging),
        "challenging_video": sum(is_video_set(name) for name, _ in annotations.challenging),
        "challenging_sets": len({name for name, _ in annotations.challenging}),
        "texts_without_entry": len(known - annotations.phenomena.keys()),
        "empty": {
            "first_200": annotations.challenging_codes.get("", 0),
            "first_1002": annotations.annotated_codes.get("", 0),
        },
        "codes": {
            code: {
                "meaning": PHENOMENA.get(code, "unknown"),
                "first_200": annotations.challenging_codes.get(code, 0),
                "first_200_with_text": challenging[PHENOMENA.get(code, code)],
                "first_1002": annotations.annotated_codes.get(code, 0),
                "first_1002_with_text": annotated[PHENOMENA.get(code, code)],
            }
            for code in codes
        },
    }

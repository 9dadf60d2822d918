"""IMAGECODE's files: the rank rule, phenomena, propositions, counts."""

import json
from collections import Counter
from pathlib import Path

import pytest

from data_modules.imagecode_files import (
    is_video_set,
    list_sets,
    parse_phenomena,
    read_descriptions,
    read_phenomena,
    read_propositions,
    sort_images,
)

STATIC = "open-images-1_00"
VIDEO = "MSR-VTT-videoTestVideo_video1-shot1_0"


def test_images_are_ordered_by_number() -> None:
    names = ["img113.jpg", "img9.jpg", "img27.jpg", "Thumbs.db", "img1.txt", "img100.JPG"]
    assert sort_images(names) == ["img9.jpg", "img27.jpg", "img100.JPG", "img113.jpg"]


@pytest.mark.parametrize(("split", "sets", "differing"), [("valid", 1039, 450), ("test", 1046, 427)])
def test_order_of_the_real_file_names(real_data: Path, split: str, sets: int, differing: int) -> None:
    official = json.loads((real_data / "imagecode" / f"image_filenames_{split}.json").read_text())
    assert len(official) == sets
    assert all(sort_images(sorted(names)) == names for names in official.values())
    assert sum(sorted(names) != names for names in official.values()) == differing


def test_targets_are_ranks_not_numbers(real_data: Path) -> None:
    descriptions = read_descriptions(real_data / "imagecode" / "valid_data.json")
    official = json.loads((real_data / "imagecode" / "image_filenames_valid.json").read_text())
    root = real_data / "imagecode" / "image-sets"
    present = {name: rows for name, rows in descriptions.items() if (root / name).is_dir()}
    assert len(present) == 53
    numbered = 0
    for candidates in list_sets(present, [root], Path("valid_data.json")):
        files = [file.name for file in candidates.files]
        assert files == official[candidates.name]
        for target, _ in present[candidates.name]:
            numbered += files[target] != f"img{target}.jpg"
    assert numbered > 80  # reading N as the target would be wrong that often


@pytest.mark.parametrize(
    ("split", "sets", "texts", "video"),
    [
        ("train_data.json", 7317, 16594, 13093),
        ("valid_data.json", 1039, 2302, 1872),
        ("test_data_unlabeled.json", 1046, 2306, 1821),
    ],
)
def test_counts_of_the_real_splits(real_data: Path, split: str, sets: int, texts: int, video: int) -> None:
    descriptions = read_descriptions(real_data / "imagecode" / split)
    assert len(descriptions) == sets
    assert sum(map(len, descriptions.values())) == texts
    assert sum(len(rows) for name, rows in descriptions.items() if is_video_set(name)) == video
    targets = {target for rows in descriptions.values() for target, _ in rows}
    assert targets == ({-1} if "unlabeled" in split else set(range(10)))


def test_phenomenon_codes() -> None:
    assert parse_phenomena("col,q,con") == ["colors", "quantities", "context"]
    assert parse_phenomena("s, t,cor,v,n,neg,img") == [
        "spatial",
        "temporal",
        "coreference",
        "occlusion",
        "nuances",
        "negation",
        "meta_properties",
    ]
    assert parse_phenomena(",neg") == ["negation"]
    assert parse_phenomena("") == []


def test_counts_of_the_real_phenomena(real_data: Path) -> None:
    phenomena = read_phenomena(real_data / "imagecode" / "manual_annotation_valid.yaml")
    assert len(phenomena) == 2275
    counts = Counter(name for names in phenomena.values() for name in names)
    assert {name: counts[name] for name in ("context", "quantities", "spatial", "negation")} == {
        "context": 474,
        "quantities": 97,
        "spatial": 141,
        "negation": 179,
    }
    assert [counts[name] for name in ("occlusion", "nuances", "coreference", "meta_properties")] == [
        456,
        264,
        83,
        24,
    ]
    descriptions = read_descriptions(real_data / "imagecode" / "valid_data.json")
    matched = Counter(
        phenomenon
        for name, rows in descriptions.items()
        for target, _ in rows
        for phenomenon in phenomena.get((name, target), [])
    )
    assert (matched["context"], matched["occlusion"]) == (473, 455)  # one entry has no text


def test_counts_of_the_real_propositions(real_data: Path) -> None:
    propositions = read_propositions(real_data / "imagecode" / "valid_split.json")
    descriptions = read_descriptions(real_data / "imagecode" / "valid_data.json")
    texts = [text for rows in descriptions.values() for _, text in rows]
    assert Counter(propositions[text] for text in texts) == {1: 72, 2: 899, 3: 1215, 4: 99, 5: 14, 6: 3}

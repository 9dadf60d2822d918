"""No photo of a validation or test split is trained on, through whichever source, and what is said of it."""

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import pytest

from contextblip.errors import ConfigurationError
from contextblip.worlds import RECORD
from data_modules import CaptionDataModule
from data_modules.caption_data import tables as caption_tables
from data_modules.caption_data.rows import CaptionDataset

PHOTOS = range(1, 41)
SPLITS = {**dict.fromkeys(range(1, 21), "train"), **dict.fromkeys(range(21, 31), "val")}


def make(backbone: Path, root: Path, **keys: Any) -> CaptionDataModule:  # noqa: ANN401
    """A module that loads in this process."""
    return CaptionDataModule(str(backbone), str(root), **{"batch_size": 4, "num_workers": 0, **keys})


def dump(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def name(number: int) -> str:
    return f"train2014/COCO_train2014_{number:012d}.jpg"


@pytest.fixture
def mixture(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Forty photos that Visual Genome has all and Karpathy splits into 20, 10 and 10."""
    for number in PHOTOS:
        write_image(tmp_path / "coco" / name(number))
        write_image(tmp_path / "visual_genome" / "VG_100K" / f"{number + 100}.jpg")
    images = [
        {"split": SPLITS.get(number, "test"), "filename": Path(name(number)).name, "cocoid": number}
        | {"filepath": "train2014", "sentences": [{"raw": f"c{number}"}]}
        for number in PHOTOS
    ]
    dump(tmp_path / "coco" / "dataset_coco.json", {"images": images})
    regions = [{"id": number + 100, "regions": [{"phrase": f"v{number}"}]} for number in PHOTOS]
    dump(tmp_path / "visual_genome" / "region_descriptions.json", regions)
    url = "https://x/VG_100K/{}.jpg"
    data = [{"image_id": n + 100, "url": url.format(n + 100), "coco_id": n} for n in PHOTOS]
    dump(tmp_path / "visual_genome" / "image_data.json", data)
    return tmp_path


def numbers_of(dataset: CaptionDataset | None, source: str) -> set[int]:
    """Photos whose captions of a source a split has."""
    assert dataset is not None
    return {int(text[1:]) for text in dataset.rows.texts if text[0] == source}


def rows_of(numbers: Iterable[int], prefix: str) -> list[dict[str, str]]:
    return [{"image": name(number), "caption": f"{prefix}{number}"} for number in numbers]


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_visual_genome_does_not_train_on_what_coco_evaluates_on(
    backbone: Path, mixture: Path, fraction: float, caplog: pytest.LogCaptureFixture
) -> None:
    module = make(backbone, mixture, val_fraction=fraction)
    with caplog.at_level(logging.INFO):
        module.setup("fit")
    train = {source: numbers_of(module.train_set, source) for source in "cv"}
    val = {source: numbers_of(module.val_set, source) for source in "cv"}
    assert val["c"] == set(range(21, 31))
    assert len(val["v"]) == 40 * fraction
    # neither COCO's validation and test photos nor the held-out ones, under either name
    assert train["c"] == train["v"] == set(range(1, 21)) - val["v"]
    dropped = 40 - len(val["v"]) - len(train["v"])
    assert (
        f"Visual Genome train: left out {dropped} images that are in COCO's val or test split" in caplog.text
    )
    said = f"COCO train: left out {20 - len(train['c'])} images that are in Visual Genome's val split"
    assert (said in caplog.text) == bool(fraction)
    assert f"{mixture / 'visual_genome'}) has no validation file: {100 * fraction:g}% of its" in caplog.text
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_blips_test_file_is_known_too(backbone: Path, mixture: Path) -> None:
    (mixture / "coco" / "dataset_coco.json").unlink()
    for split, numbers in {"train": range(1, 21), "val": range(21, 31), "test": range(31, 38)}.items():
        dump(mixture / "coco" / f"coco_karpathy_{split}.json", rows_of(numbers, "c"))
    module = make(backbone, mixture, val_fraction=0.0)
    module.setup("fit")
    assert numbers_of(module.train_set, "v") == {*range(1, 21), 38, 39, 40}


def test_left_out_photos_need_not_lie_there(backbone: Path, mixture: Path) -> None:
    for number in range(31, 41):
        (mixture / "visual_genome" / "VG_100K" / f"{number + 100}.jpg").unlink()
    make(backbone, mixture, val_fraction=0.0, max_unreadable=0.0).setup("fit")


def test_a_photo_twice_in_one_source_is_held_out_twice(backbone: Path, mixture: Path) -> None:
    url = "https://x/VG_100K/{}.jpg"
    data = [{"image_id": n + 100, "url": url.format(n + 100), "coco_id": (n + 1) // 2} for n in PHOTOS]
    dump(mixture / "visual_genome" / "image_data.json", data)
    module = make(backbone, mixture, datasets=["visual_genome"], val_fraction=0.25)
    module.setup("fit")
    train, val = (
        {(number + 1) // 2 for number in numbers_of(dataset, "v")}
        for dataset in (module.train_set, module.val_set)
    )
    assert train | val == set(range(1, 21))
    assert not train & val


def test_nothing_left_is_said(backbone: Path, mixture: Path) -> None:
    files = [str(dump(mixture / "more.json", rows_of(range(31, 41), "m")))]
    dump(mixture / "coco" / "dataset_coco.json", {"images": []})
    dump(mixture / "coco" / "coco_karpathy_test.json", rows_of(range(31, 41), "c"))
    dump(mixture / "coco" / "coco_karpathy_train.json", [])
    module = make(
        backbone, mixture, datasets=["coco"], coco_layout="blip", annotation_files=files, val_fraction=0.0
    )
    module.setup("fit")
    with pytest.raises(ConfigurationError, match="all their photos are in a validation or test split, or "):
        module.train_dataloader()


@pytest.mark.parametrize("splits", [["train", "val"], ["val"]])
def test_the_test_split_is_kept_as_a_table_for_training_alone(
    backbone: Path, mixture: Path, splits: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = mixture / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(caption_tables, "KEPT_FROM", 0)
    make(backbone, mixture)._builder().keep_tables(splits)
    kept = {path.name.rpartition("-")[0] for path in cache.rglob("*.arrow")}
    expected = {"coco-karpathy-val", "visual-genome-official-train"}
    assert kept == expected | ({"coco-karpathy-train", "coco-karpathy-test"} if "train" in splits else set())


def official(folder: Path, split: str, numbers: Iterable[int], year: int = 2017) -> None:
    images = [{"id": number, "file_name": f"{number:012d}.jpg"} for number in numbers]
    annotations = [{"image_id": row["id"], "caption": f"c{row['id']}"} for row in images]
    content = {"images": images, "annotations": annotations}
    dump(folder / "annotations" / f"captions_{split}{year}.json", content)


def test_a_missing_validation_file_is_said(
    backbone: Path, tmp_path: Path, write_image: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    for number in PHOTOS:
        write_image(tmp_path / "coco" / "train2017" / f"{number:012d}.jpg")
    official(tmp_path / "coco", "train", PHOTOS)
    make(backbone, tmp_path, datasets=["coco"], val_fraction=0.05).setup("validate")
    where = f"COCO (official 2017, {tmp_path / 'coco'})"
    said = f"{where} has no captions_val2017.json: 5% of its training images is held out instead"
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [said]
    (tmp_path / "coco" / "annotations" / "captions_train2017.json").unlink()
    rows = [{"image": f"train2017/{number:012d}.jpg", "caption": "x"} for number in PHOTOS]
    dump(tmp_path / "coco" / "coco.json", rows)
    make(backbone, tmp_path, datasets=["coco"]).setup("fit")
    assert f"COCO (BLIP, {tmp_path / 'coco'}) has no coco_karpathy_val.json: 1% of its" in caplog.text


def test_the_official_layout_warns_of_karpathys_test_photos(
    backbone: Path, tmp_path: Path, write_image: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    for split, year in (("train", 2017), ("val", 2017), ("train", 2014), ("val", 2014)):
        write_image(tmp_path / f"{split}{year}" / "000000000001.jpg")
        official(tmp_path, split, [1], year)
    said = f"COCO (official 2017, {tmp_path}): its training photos include those of Karpathy's test split, so"
    make(backbone, tmp_path, datasets=["coco"]).setup("validate")  # trains on nothing
    assert said not in caplog.text
    module = make(backbone, tmp_path, datasets=["coco"])
    module.setup("fit")
    assert said in caplog.text
    # drawn worlds number the photos of each split from 1
    assert len(module.train_set or []) == 1
    caplog.clear()
    dump(tmp_path / RECORD, {})
    make(backbone, tmp_path, datasets=["coco"]).setup("fit")
    (tmp_path / RECORD).unlink()
    for split in ("train", "val"):
        (tmp_path / "annotations" / f"captions_{split}2017.json").unlink()
    make(backbone, tmp_path, datasets=["coco"]).setup("fit")  # Karpathy tests on photos of val2014
    assert "Karpathy" not in caplog.text

"""Which files are captions, which layout wins, and what they hold."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.caption_data.coco import LAYOUTS as COCO_LAYOUTS
from data_modules.caption_data.images import Split
from data_modules.caption_data.sources import (
    CaptionSource,
    CocoLayout,
    locate_blip_json,
    locate_coco,
    locate_visual_genome,
)

NAME = "COCO_val2014_000000000009.jpg"
OFFICIAL = {
    "images": [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 10, "file_name": "000000000010.jpg"}],
    "annotations": [
        {"image_id": 9, "caption": "official a"},
        {"image_id": 10, "caption": "official b"},
        {"image_id": 9, "caption": "official c "},
    ],
}
KARPATHY = {
    "images": [
        {"filepath": "val2014", "filename": f"COCO_val2014_{number:012d}.jpg", "cocoid": number,
         "split": split, "sentences": [{"raw": f"{split} {number}", "tokens": []}]}
        for number, split in enumerate(("train", "restval", "val", "test"), 9)
    ],
    "dataset": "coco",
}  # fmt: skip


def dump(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read(source: CaptionSource, split: Split = "train") -> dict[str, tuple[str, list[str]]]:
    images = list(source.read(split))
    assert len({image.key for image in images}) == len(images)
    return {image.key: (image.path, image.captions) for image in images}


def test_official_coco(tmp_path: Path) -> None:
    dump(tmp_path / "coco" / "annotations" / "captions_val2014.json", OFFICIAL)
    source = locate_coco(tmp_path)
    assert (source.layout, source.folder, source.splits) == ("official 2014", tmp_path / "coco", ("val",))
    dump(tmp_path / "coco" / "annotations" / "captions_train2017.json", OFFICIAL)
    source = locate_coco(tmp_path)
    assert (source.layout, source.splits) == ("official 2017", ("train",))  # years are not mixed
    assert read(source) == {
        "coco/9": ("train2017/000000000009.jpg", ["official a", "official c "]),
        "coco/10": ("train2017/000000000010.jpg", ["official b"]),
    }
    with pytest.raises(
        DatasetNotFoundError, match=r"COCO \(official 2017\) in .*coco has no test split, only t"
    ):
        source.read("test")


def test_official_coco_whose_keys_were_sorted(tmp_path: Path) -> None:
    path = dump(tmp_path / "captions_train2014.json", dict(sorted(OFFICIAL.items())))
    assert path.read_text().index("annotations") < path.read_text().index("images")
    images = read(locate_coco(tmp_path))
    assert [captions for _, captions in images.values()] == [["official a", "official c "], ["official b"]]


def test_official_coco_with_captions_of_an_unlisted_image(tmp_path: Path) -> None:
    path = dump(tmp_path / "captions_train2014.json", {**OFFICIAL, "images": OFFICIAL["images"][:1]})
    with pytest.raises(DatasetError, match=f"COCO: {path} has captions of image 10, which it does not list"):
        read(locate_coco(tmp_path))


def test_karpathy_train_takes_the_rest_of_val(tmp_path: Path) -> None:
    dump(tmp_path / "annotations" / "dataset_coco.json", KARPATHY)
    source = locate_coco(tmp_path)
    assert (source.layout, source.folder, source.splits) == ("Karpathy", tmp_path, ("train", "val", "test"))
    assert read(source) == {
        "coco/9": (f"val2014/{NAME}", ["train 9"]),
        "coco/10": ("val2014/COCO_val2014_000000000010.jpg", ["restval 10"]),
    }
    assert [captions for _, captions in read(source, "val").values()] == [["val 11"]]
    assert [captions for _, captions in read(source, "test").values()] == [["test 12"]]


def test_blip_files_of_coco_lie_together(tmp_path: Path) -> None:
    rows = [{"image": f"/export/share/coco/images/val2014/{NAME}", "caption": text} for text in "ab"]
    dump(tmp_path / "coco.json", rows)
    assert locate_coco(tmp_path).splits == ("train",)
    dump(tmp_path / "coco_karpathy_val.json", [{"image": f"val2014/{NAME}", "caption": ["c", "d", "e"]}])
    source = locate_coco(tmp_path)
    assert (source.layout, source.splits) == ("BLIP", ("train", "val"))
    assert [captions for _, captions in read(source).values()] == [["a", "b"]]
    assert read(source, "val") == {"coco/9": (f"val2014/{NAME}", ["c", "d", "e"])}


def test_the_papers_selection_wins_and_can_be_overruled(tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    dump(folder / "annotations" / "captions_train2017.json", OFFICIAL)
    assert locate_coco(tmp_path).layout == "official 2017"
    dump(folder / "coco_karpathy_train.json", [])
    assert locate_coco(tmp_path).layout == "BLIP"
    dump(folder / "dataset_coco.json", KARPATHY)
    assert locate_coco(tmp_path).layout == "Karpathy"
    layouts: tuple[CocoLayout, ...] = ("official", "karpathy", "blip")
    found = [locate_coco(tmp_path, layout).layout for layout in layouts]
    assert found == ["official 2017", "Karpathy", "BLIP"]
    assert set(layouts) == set(get_args(CocoLayout)) - {"auto"} == set(COCO_LAYOUTS)


def test_absent_files_are_named_by_layout(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetNotFoundError,
        match=r"^COCO not found: looked for dataset_coco\.json \(Karpathy\) or coco\.json or coco_karpathy_"
        r"\{train,val,test\}\.json \(BLIP\) or captions_\{train,val\}2017\.json or captions_\{train,val\}2014"
        rf"\.json \(official\) in {tmp_path}, in its folders coco, .* set --data\.root to the folder",
    ):
        locate_coco(tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"looked for dataset_coco\.json \(Karpathy\) in"):
        locate_coco(tmp_path, "karpathy")
    with pytest.raises(
        DatasetNotFoundError, match=r"Visual Genome not found: looked for vg\.json \(BLIP\) or region_descr"
    ):
        locate_visual_genome(tmp_path)
    path = dump(tmp_path / "VG" / "region_descriptions.json", [])
    with pytest.raises(
        DatasetNotFoundError, match=f"{path} needs image_data.json beside it, which names the"
    ):
        locate_visual_genome(tmp_path)


def visual_genome(folder: Path) -> None:
    url = "https://cs.stanford.edu/people/rak248/{}/{}.jpg"
    images = [
        {"image_id": 1, "url": url.format("VG_100K_2", 1), "coco_id": None},
        {"image_id": 2, "url": url.format("VG_100K", 2), "coco_id": 9},
    ]
    regions = [
        {"id": number, "regions": [{"phrase": f"{number}a"}, {"phrase": f"{number}b"}]} for number in (2, 1)
    ]
    dump(folder / "image_data.json", images)
    dump(folder / "region_descriptions.json", regions)


def test_official_visual_genome(tmp_path: Path) -> None:
    visual_genome(tmp_path / "visual_genome")
    source = locate_visual_genome(tmp_path)
    assert (source.layout, source.splits) == ("official", ("train",))
    assert read(source) == {
        "coco/9": ("VG_100K/2.jpg", ["2a", "2b"]),
        "visual_genome/1": ("VG_100K_2/1.jpg", ["1a", "1b"]),
    }
    dump(tmp_path / "visual_genome" / "region_descriptions.json", [{"id": 3, "regions": []}])
    with pytest.raises(
        DatasetError, match=r"do not fit together \(image 3 is only in the first\); download b"
    ):
        read(source)


def counts(source: CaptionSource, split: Split) -> tuple[int, int]:
    images = read(source, split).values()
    return len(images), sum(len(captions) for _, captions in images)


def test_real_coco_in_every_layout(real_data: Path, tmp_path: Path) -> None:
    official = locate_coco(real_data)
    assert official.layout == "official 2017"
    assert (counts(official, "train"), counts(official, "val")) == ((80, 400), (79, 395))
    blip = locate_coco(real_data / "coco" / "blip_format")
    assert [counts(blip, split) for split in blip.splits] == [(80, 400), (40, 200), (39, 195)]
    (tmp_path / "dataset_coco.json").symlink_to(real_data / "coco" / "dataset_coco_sample.json")
    karpathy = locate_coco(tmp_path)
    assert [counts(karpathy, split) for split in karpathy.splits] == [(80, 400), (40, 200), (39, 195)]
    # the same photos with the same captions under the same keys
    train = {key: Counter(captions) for key, (_, captions) in read(official).items()}
    for source in (blip, karpathy, locate_blip_json(real_data / "coco" / "blip_format" / "coco.json")):
        assert {key: Counter(captions) for key, (_, captions) in read(source).items()} == train
    for split in ("val", "test"):
        assert read(karpathy, split) == read(blip, split)


def test_real_visual_genome_in_both_layouts(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    official = locate_visual_genome(real_data)
    assert counts(official, "train") == (100, 7278)
    with caplog.at_level(logging.WARNING):
        blip = locate_visual_genome(real_data / "visual_genome" / "blip_format")
        assert counts(blip, "train") == (100, 7278)
    assert "no image_data.json lies beside" in caplog.text
    folders = Counter(path.split("/")[0] for path, _ in read(official).values())
    assert folders == {"VG_100K": 49, "VG_100K_2": 51}
    raw = json.loads((real_data / "visual_genome" / "image_data.json").read_text())
    coco = {f"coco/{row['coco_id']}" for row in raw if row["coco_id"] is not None}
    assert {key for key in read(official) if key.startswith("coco/")} == coco

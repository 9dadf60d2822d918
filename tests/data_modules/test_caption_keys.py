"""A photo has one key and one file under all the names that sources give it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_modules.caption_data.images import CaptionImageFinder, key_of_path, key_of_row
from data_modules.caption_data.sources import CaptionSource, locate_blip_json, locate_visual_genome

NAME = "COCO_val2014_000000000009.jpg"


def dump(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def keys_of(source: CaptionSource) -> list[str]:
    return [image.key for image in source.read("train")]


def image_data(folder: Path, coco_ids: dict[int, int | None]) -> None:
    url = "https://cs.stanford.edu/people/rak248/VG_100K/{}.jpg"
    rows = [{"image_id": n, "url": url.format(n), "coco_id": coco} for n, coco in coco_ids.items()]
    dump(folder / "image_data.json", rows)


def test_blips_visual_genome_knows_coco_photos_by_the_list_of_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"image": f"visual-genome/image/{number}.jpg", "caption": "x"} for number in (1, 2)]
    path = dump(tmp_path / "vg.json", rows)
    assert keys_of(locate_visual_genome(tmp_path)) == ["visual_genome/1", "visual_genome/2"]
    assert f"no image_data.json lies beside {path}, so which of its 2 images are COCO's too" in caplog.text
    caplog.clear()
    image_data(tmp_path, {1: None, 2: 9})
    dump(tmp_path / "region_descriptions.json", [])
    for source in (locate_visual_genome(tmp_path), locate_blip_json(path)):
        assert source.layout == "BLIP"
        assert keys_of(source) == ["visual_genome/1", "coco/9"]
    assert locate_visual_genome(tmp_path, "official").layout == "official"
    assert not caplog.records


@pytest.mark.parametrize("path", ["image/2.jpg", "2.jpg", "/data/vg_images/2.jpg", "images/VG_100K/2.jpg"])
def test_a_number_names_visual_genomes_photo_in_whatever_folder(tmp_path: Path, path: str) -> None:
    dump(tmp_path / "vg.json", [{"image": path, "caption": "x"}])
    image_data(tmp_path, {2: 9})
    assert keys_of(locate_visual_genome(tmp_path)) == ["coco/9"]


def test_photos_that_the_list_of_images_lacks_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("1.jpg", "2.jpg", "3.jpg", "other.jpg", NAME)
    dump(tmp_path / "vg.json", [{"image": name, "caption": "x"} for name in names])
    image_data(tmp_path, {1: None, 2: 9})
    found = keys_of(locate_visual_genome(tmp_path))
    assert found == ["visual_genome/1", "coco/9", "visual_genome/3", "other.jpg", "coco/9"]
    assert "image_data.json lacks 2 of the 5 images of vg.json, so which of those are COCO's" in caplog.text


def test_two_numbers_of_one_coco_photo_keep_their_own_files(tmp_path: Path) -> None:
    dump(tmp_path / "vg.json", [{"image": f"{number}.jpg", "caption": f"{number}"} for number in (1, 2)])
    image_data(tmp_path, {1: 9, 2: 9})
    images = list(locate_visual_genome(tmp_path).read("train"))
    assert [(image.key, image.path, image.captions) for image in images] == [
        ("coco/9", "1.jpg", ["1"]),
        ("coco/9", "2.jpg", ["2"]),
    ]


def test_a_photo_has_one_key_whoever_names_it() -> None:
    for path in (
        NAME,
        f"coco/val2014/{NAME}",
        f"C:\\coco\\{NAME}",
        "val2017/000000000009.jpg",
        "pretrain_data/vl_pair/coco/images/train2017/000000000009.jpg",
        "coco/images/000000000009.jpg",
    ):
        assert key_of_path(path) == "coco/9", path
    for path in ("visual-genome/image/7.jpg", "VG_100K_2/7.jpg", "/data/visual_genome/images/VG_100K/7.jpg"):
        assert key_of_path(path) == "visual_genome/7", path
    for path in ("photos/7.jpg", "000000000009.jpg", "vggface/7.jpg", "VG_100K/7a.jpg"):
        assert key_of_path(path) is None, path
    rows: list[tuple[dict[str, Any], str, str]] = [
        ({"image": "x.jpg", "image_id": "coco_0000000009"}, "any", "coco/9"),
        ({"image": "000000000009.jpg"}, "coco", "coco/9"),
        ({"image": "000000000009.jpg"}, "coco_karpathy_train", "coco/9"),
        ({"image": "000000000009.jpg"}, "flowers", "000000000009.jpg"),
        ({"image": "x.jpg", "image_id": 9}, "flowers", "flowers/9"),  # another file's 9 is another photo
        ({"image": "x.jpg", "image_id": "flickr_9"}, "flowers", "flowers/flickr_9"),
        ({"image": "trees/12.jpg"}, "coconut", "trees/12.jpg"),
        ({"image": "12.jpg"}, "mscoco-train", "coco/12"),
        ({"image": "image/7.jpg"}, "vg", "visual_genome/7"),
        ({"image": "7.jpg", "image_id": 3}, "vg", "visual_genome/7"),
        ({"image": "/data/vg_images/7.jpg"}, "vg", "visual_genome/7"),
        ({"image": f"image/{NAME}"}, "vg", "coco/9"),
        ({"image": "image/7.jpg"}, "vgg", "image/7.jpg"),
    ]
    for row, owner, key in rows:
        assert key_of_row(row, owner) == key


def test_coco_photos_are_found_under_the_names_of_either_year(
    tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    new = write_image(tmp_path / "a" / "images" / "train2017" / "000000000009.jpg")
    old = write_image(tmp_path / "b" / "val2014" / NAME)
    for folder, file in (("a/images", new), ("b", old)):
        finder = CaptionImageFinder("COCO", [tmp_path / folder])
        for path in (f"val2014/{NAME}", f"/export/coco/images/val2014/{NAME}"):
            assert finder.find(path) == file
        # a photo that the year's other split has is another one with the same number, as drawn worlds have
        assert finder.find("val2017/000000000009.jpg") == (old if file == old else None)
        assert finder.find("val2014/COCO_val2014_000000000010.jpg") is None
        assert finder.find("VG_100K/9.jpg") is None
    both = CaptionImageFinder("COCO", [tmp_path / "a" / "images", tmp_path / "b"])
    assert both.find(f"val2014/{NAME}") == old  # the annotated name wins

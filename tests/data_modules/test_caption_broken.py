"""Annotation files that are broken, of another form, or say two things of one photo: one clear line each."""

import json
from pathlib import Path
from typing import Any

import pytest

from contextblip.errors import DatasetError
from data_modules.caption_data.images import CaptionedImage, CaptionSource, Split
from data_modules.caption_data.sources import locate_blip_json, locate_coco, locate_visual_genome


def dump(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read(source: CaptionSource, split: Split = "train") -> list[CaptionedImage]:
    return list(source.read(split))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "1.jpg"}, "no 'caption'"),
        ({"caption": "a"}, "no 'image'"),
        ({"image": "1.jpg", "caption": 3}, "a caption is 3, expected text"),
        ({"image": "1.jpg", "caption": ["a", None]}, "a caption is \\['a', None\\], expected text"),
        ({"image": "", "caption": "a"}, "an image's name is '', expected text"),
        ("text", "string indices must be integers"),
    ],
)
def test_rows_of_another_form_are_numbered(tmp_path: Path, row: object, said: str) -> None:
    path = dump(tmp_path / "x.json", [{"image": "0.jpg", "caption": "fine"}, row])
    form = r'a list of \{"image": path, "caption": text\}'
    with pytest.raises(
        DatasetError, match=rf"^BLIP json: {path} is not {form}: entry 1: {said}.*; download it"
    ):
        read(locate_blip_json(path))


def test_files_of_another_form_are_named(tmp_path: Path) -> None:
    path = dump(tmp_path / "captions_train2017.json", [])
    with pytest.raises(DatasetError, match=f"COCO: {path} holds a list, expected an object"):
        read(locate_coco(tmp_path))
    dump(path, {"images": []})
    with pytest.raises(DatasetError, match=f"COCO: {path} has no list 'annotations'; download it again"):
        read(locate_coco(tmp_path))
    dump(path, {"images": [{"id": 1}], "annotations": []})
    with pytest.raises(DatasetError, match="not in COCO's caption form: entry 0: no 'file_name'"):
        read(locate_coco(tmp_path))
    path = dump(tmp_path / "dataset_coco.json", {"images": [{"filename": "x.jpg"}]})
    with pytest.raises(DatasetError, match=f"{path} is not in Karpathy's form: entry 0: no 'split'"):
        read(locate_coco(tmp_path))
    dump(tmp_path / "image_data.json", [{"image_id": 1}])
    dump(tmp_path / "region_descriptions.json", [])
    with pytest.raises(DatasetError, match=r"image_data\.json is not .*: entry 0: no 'url'"):
        read(locate_visual_genome(tmp_path))


def official(images: list[int], annotations: list[int]) -> dict[str, Any]:
    return {
        "images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in images],
        "annotations": [{"image_id": images[0], "id": number, "caption": "a"} for number in annotations],
    }


def test_official_coco_that_lists_something_twice(tmp_path: Path) -> None:
    path = dump(tmp_path / "captions_train2017.json", official([7, 8, 7], [1, 2]))
    with pytest.raises(DatasetError, match=f"^COCO: {path} lists image 7 twice; remove one or download it"):
        read(locate_coco(tmp_path))
    dump(path, official([7, 8], [1, 2, 1]))
    with pytest.raises(DatasetError, match=f"^COCO: {path} lists annotation 1 twice; remove one or download"):
        read(locate_coco(tmp_path))
    dump(path, official([7, 8], [1, 2]))
    assert [image.captions for image in read(locate_coco(tmp_path))] == [["a", "a"], []]


@pytest.mark.parametrize("other", ["test", "train"])
def test_karpathys_file_that_lists_a_photo_twice(tmp_path: Path, other: str) -> None:
    images = [
        {"split": split, "filename": "x.jpg", "cocoid": 9, "sentences": []} for split in ("test", other)
    ]
    path = dump(tmp_path / "dataset_coco.json", {"images": images})
    for split in ("train", "test"):
        with pytest.raises(DatasetError, match=f"^COCO: {path} lists image 9 twice; remove one or download"):
            read(locate_coco(tmp_path), split)


def test_visual_genome_that_lists_an_image_twice(tmp_path: Path) -> None:
    images = [{"image_id": 1, "url": f"https://x/VG_100K/{number}.jpg"} for number in (1, 2)]
    regions = [{"id": 1, "regions": [{"phrase": "a"}]}] * 2
    data = dump(tmp_path / "image_data.json", images)
    path = dump(tmp_path / "region_descriptions.json", regions)
    with pytest.raises(DatasetError, match=f"^Visual Genome: {data} lists image 1 twice; remove one or down"):
        read(locate_visual_genome(tmp_path))
    dump(data, images[:1])
    with pytest.raises(DatasetError, match=f"^Visual Genome: {path} lists image 1 twice; remove one or down"):
        read(locate_visual_genome(tmp_path))


def test_one_id_of_two_photos_would_swap_captions(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"image": name, "caption": name, "image_id": number} for name, number in (("a.jpg", 0), ("b.jpg", 0))
    ]
    path = dump(tmp_path / "x.json", rows)
    with pytest.raises(
        DatasetError, match=f"^BLIP json: {path} has two files for image x/0, a.jpg and b.jpg, so captions wo"
    ):
        read(locate_blip_json(path))
    dump(path, [rows[0], {**rows[1], "image_id": 1}, {**rows[0], "caption": "again"}])
    assert [image.captions for image in read(locate_blip_json(path))] == [["a.jpg", "again"], ["b.jpg"]]


def test_one_photo_may_have_two_paths(tmp_path: Path) -> None:
    names = ("train2017/000000000009.jpg", "val2014/COCO_val2014_000000000009.jpg")
    path = dump(
        tmp_path / "x.json", [{"image": name, "caption": "a", "image_id": "coco_9"} for name in names]
    )
    assert [image.captions for image in read(locate_blip_json(path))] == [["a", "a"]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "a.jpg", "caption": "bad \ud83d x"}, r"a caption is 'bad \\ud83d x', with half of a char"),
        ({"image": "\ud83d.jpg", "caption": "x"}, r"an image's name is '\\ud83d.jpg', with half of a char"),
        ({"image": "a.jpg", "image_id": "\ud83d", "caption": "x"}, r"image_id is '\\ud83d', with half of a"),
        ({"image": "a\0.jpg", "caption": "x"}, r"an image's name is 'a\\x00.jpg', with a zero byte"),
    ],
)
def test_texts_that_cannot_be_written_are_named(tmp_path: Path, row: object, said: str) -> None:
    path = dump(tmp_path / "x.json", [{"image": "0.jpg", "caption": "\N{GRINNING FACE}"}, row])
    with pytest.raises(DatasetError, match=rf"^BLIP json: {path} is not .*: entry 1: {said}.*; dow") as error:
        read(locate_blip_json(path))
    str(error.value).encode()  # the line can be printed
    assert "\n" not in str(error.value)


def test_numbers_beyond_all_numbers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "dataset_coco.json"
    path.write_text('{"images": [{"split": "train", "filename": "x.jpg", "cocoid": 1e999, "sentences": []}]}')
    with pytest.raises(DatasetError, match="entry 0: cannot convert float infinity to integer; download it"):
        read(locate_coco(tmp_path))

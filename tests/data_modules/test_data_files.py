"""Finding files, resolving annotated paths, and what is said when that fails."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.files import ImageFinder, read_json, readable_image, require_file


def test_longest_existing_suffix_wins(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    deep = write_image(tmp_path / "coco" / "train2017" / "1.jpg")
    flat = write_image(tmp_path / "1.jpg")
    finder = ImageFinder("COCO", [tmp_path])
    assert finder.find("pretrain_data/vl_pair/coco/train2017/1.jpg") == deep
    assert finder.find("pretrain_data/vl_pair/images/1.jpg") == flat
    assert finder.find("pretrain_data\\coco\\train2017\\1.jpg") == deep
    assert finder.find("1.jpg") == flat
    assert finder.find("coco/train2017/2.jpg") is None


def test_suffix_is_resolved_for_each_file(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    first = write_image(tmp_path / "VG_100K" / "2.jpg")
    second = write_image(tmp_path / "VG_100K_2" / "1.jpg")
    finder = ImageFinder("Visual Genome", [tmp_path / "VG_100K", tmp_path / "VG_100K_2"])
    assert finder.find_all(["vg/image/1.jpg", "vg/image/2.jpg"]) == [str(second), str(first)]


def test_absolute_path_is_taken_as_it_is(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    elsewhere = write_image(tmp_path / "elsewhere" / "1.jpg")
    write_image(tmp_path / "root" / "1.jpg")
    assert ImageFinder("BLIP json", [tmp_path / "root"]).find(str(elsewhere)) == elsewhere


def test_missing_images_are_counted_and_the_first_named(
    tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    write_image(tmp_path / "1.jpg")
    with pytest.raises(DatasetNotFoundError) as error:
        ImageFinder("COCO", [tmp_path]).find_all(["1.jpg", "a/2.jpg", "3.jpg"])
    assert str(error.value) == (
        f"COCO: 2 of 3 images not found, first a/2.jpg: looked below {tmp_path}; "
        "set --data.image_root to the folder that holds them"
    )


def test_missing_file_names_every_place(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError) as error:
        require_file("IMAGECODE", [tmp_path / "a", tmp_path / "b"], ["train_data.json"])
    assert str(error.value).startswith(
        f"IMAGECODE not found: looked for train_data.json in "
        f"{tmp_path / 'a'}, {tmp_path / 'b'}; set --data.root"
    )


@pytest.mark.parametrize(
    ("content", "reason"), [(b'{"a": 1', "is not valid JSON"), (b'{"a": "\xff"}', "is not UTF-8")]
)
def test_unreadable_json(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"COCO: {path} {reason} .*; download it again"):
        read_json(path, "COCO")


def test_unreadable_images_are_named(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    truncated = write_image(tmp_path / "truncated.jpg", size=(200, 200))
    truncated.write_bytes(truncated.read_bytes()[:700])
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    missing = tmp_path / "missing.jpg"
    for path, reason in ((truncated, "truncated"), (text, "cannot identify"), (missing, "no such file")):
        with pytest.raises(DatasetError) as error, readable_image(path, "IMAGECODE, set s") as image:
            image.load()
        message = str(error.value)
        assert message.startswith(f"IMAGECODE, set s: cannot read image {path} (")
        assert reason in message
        assert message.endswith("restore or download this file")


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    Image.new("RGB", (20, 10)).save(tmp_path / "rotated.jpg", exif=exif)
    with readable_image(tmp_path / "rotated.jpg", "COCO") as image:
        assert image.size == (10, 20)

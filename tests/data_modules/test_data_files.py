"""Finding files, resolving annotated paths, and what is said when that fails."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.files import ImageFinder, read_json, require_file


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


def test_absolute_path_is_resolved_below_the_root(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    elsewhere = write_image(tmp_path / "elsewhere" / "1.jpg")
    finder = ImageFinder("BLIP json", [tmp_path / "root"])
    assert finder.find(str(elsewhere)) is None
    inside = write_image(tmp_path / "root" / "1.jpg")
    assert ImageFinder("BLIP json", [tmp_path / "root"]).find(str(elsewhere)) == inside


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


@pytest.mark.parametrize("asked", ["scandir", "is_dir"])
def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    owner: object = os if asked == "scandir" else Path
    monkeypatch.setattr(owner, asked, refuse)
    with pytest.raises(DatasetError) as error:
        ImageFinder("COCO", [tmp_path]).find("1.jpg")
    assert str(error.value) == f"COCO: {tmp_path} cannot be listed (Permission denied); make it readable"


def test_blanks_of_a_folder_may_be_underscores(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    file = write_image(tmp_path / "Camera_Perspective" / "1.jpg")
    finder = ImageFinder("MMVP-VLM", [tmp_path])
    assert finder.find("images/Camera Perspective/1.jpg") == file
    blank = write_image(tmp_path / "Camera Perspective" / "1.jpg")
    assert ImageFinder("MMVP-VLM", [tmp_path]).find("Camera Perspective/1.jpg") == blank


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


@pytest.mark.parametrize("depth", [3, 200_000])
def test_json_nested_beyond_reason(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "x.json"
    path.write_text("[" * depth)
    with pytest.raises(DatasetError, match=rf"COCO: {path} is not valid JSON .*; download it again"):
        read_json(path, "COCO")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, "COCO") == {"a": 1}
    path.write_bytes("[1]".encode("utf-16"))
    with pytest.raises(DatasetError, match="is not UTF-8"):
        read_json(path, "COCO")


def test_a_key_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"s": {"1": "a", "é": 2, "é": 3}}')
    assert read_json(path, "IMAGECODE") == {"s": {"1": "a", "é": 3}}
    with pytest.raises(DatasetError) as error:
        read_json(path, "IMAGECODE", unique_keys=True)
    assert str(error.value) == (
        f'IMAGECODE: {path} has the key "é" twice in one object; remove one or download it again'
    )
    path.write_text('{"s": {"1": "a"}, "t": {"1": "a"}}')
    assert read_json(path, "IMAGECODE", unique_keys=True)["t"] == {"1": "a"}


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"COCO: .*x\.json cannot be read \(No such file.*\); restore it"):
        read_json(tmp_path / "x.json", "COCO")

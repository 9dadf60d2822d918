"""How to make small images, and what the tests of data modules share."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write a small image of one colour."""

    def write(
        path: Path, colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (20, 10)
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return write


@pytest.fixture
def imagecode_folder(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """A static set of three images and a video set of two in the official layout, with own names."""
    static, video = "open-images-1_00", "MSR-VTT-videoTestVideo_video1-shot1"
    for number in range(3):
        write_image(tmp_path / "image-sets" / static / f"img{number}.jpg", colour=(80 * number, 0, 0))
    for number in (9, 113):
        write_image(tmp_path / "image-sets" / video / f"img{number}.jpg", colour=(2 * number, 0, 0))
    labelled = {static: {"2": "a circle ", "0": "a red circle"}, video: {"1": "a square"}}
    for name in ("train_data.json", "valid_data.json"):
        (tmp_path / name).write_text(json.dumps(labelled))
    unlabelled = {name: list(texts.values()) for name, texts in labelled.items()}
    (tmp_path / "test_data_unlabeled.json").write_text(json.dumps(unlabelled))
    (tmp_path / "manual_annotation_valid.yaml").write_text(
        f'"{static}":\n  "2":\n    "annotation": "con,neg"\n  "0":\n    "annotation": ""\n'
        f'"{video}":\n  "7":\n    "annotation": ",v"\n'
    )
    (tmp_path / "valid_split.json").write_text(json.dumps({"a circle ": ["a", ""], "a square": ["b"]}))
    return tmp_path

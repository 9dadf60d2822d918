import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contextblip.errors import ConfigurationError, DatasetNotFoundError
from contextblip.gallery import candidate_files, choose_queries, draw_gallery, read_predictions


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """One video set whose files carry frame numbers."""
    folder = tmp_path / "image-sets" / "clip"
    folder.mkdir(parents=True)
    for number, grey in ((2, 40), (10, 120), (101, 220)):
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(folder / f"img{number}.jpg")
    return tmp_path


ROW = {"set": "clip", "text": "the lightest", "target": 2, "prediction": 1, "scores": [0.1, 0.6, 0.3]}


def test_candidates_come_in_the_order_of_their_numbers(image_root: Path) -> None:
    assert [file.name for file in candidate_files(image_root, "clip")] == [
        "img2.jpg",
        "img10.jpg",
        "img101.jpg",
    ]
    (image_root / "image-sets" / "clip" / "img7.png").touch()
    (image_root / "image-sets" / "clip" / "preview12.jpg").touch()
    assert [file.name for file in candidate_files(image_root / "image-sets", "clip")] == [
        "img2.jpg",
        "img7.png",
        "img10.jpg",
        "img101.jpg",
    ]
    with pytest.raises(DatasetNotFoundError, match="no images of set other: looked in .*; set --image_root"):
        candidate_files(image_root, "other")


def test_a_picture_shows_every_candidate(image_root: Path, tmp_path: Path) -> None:
    draw_gallery([ROW], image_root, tmp_path / "out" / "gallery.png")
    with Image.open(tmp_path / "out" / "gallery.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int).reshape(-1, 3)
    for expected in ((40, 40, 40), (120, 120, 120), (220, 220, 220), (0, 158, 115), (213, 94, 0)):
        assert (np.abs(pixels - expected).max(axis=1) < 6).any(), expected


def test_queries_are_spread_over_the_run() -> None:
    rows = [{"query_index": i} for i in range(10)]
    assert [row["query_index"] for row in choose_queries(rows, 3)] == [0, 3, 6]
    assert len(choose_queries(rows, 99)) == 10


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="predictions.jsonl not found: `lightning test`"):
        read_predictions(tmp_path)
    (tmp_path / "predictions.jsonl").write_text(json.dumps(ROW) + "\n")
    assert read_predictions(tmp_path) == [ROW]
    with pytest.raises(ConfigurationError, match="--queries must be at least 1"):
        draw_gallery([], tmp_path, tmp_path / "x.png")

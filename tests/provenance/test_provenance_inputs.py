"""What data and weights are known by: other content, names or sizes give other fingerprints."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from contextblip.provenance.inputs import describe_data, describe_weights, survey_images

IMAGECODE = "data_modules.ImageCoDeDataModule"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A parent of two data sets, with weights beside them."""
    return lay(
        tmp_path / "data",
        {
            "imagecode/train_data.json": "train",
            "imagecode/image-sets/a/img0.jpg": "12",
            "imagecode/image-sets/a/img1.JPG": "123",
            "mmvp/Questions.csv": "other",
            "mmvp/1.jpg": "1",
            "vocab.txt": "words",
            "model.pth": "weights",
        },
    )


def data(root: Path, **values: Any) -> dict[str, Any]:  # noqa: ANN401  # keys of a data module
    survey_images.cache_clear()
    return describe_data(IMAGECODE, {"root": str(root), **values})


def test_only_the_data_set_that_is_read_counts(root: Path) -> None:
    found = data(root)
    assert found["annotations"] == {
        "imagecode/train_data.json": sha256(b"train"),
        "vocab.txt": sha256(b"words"),
    }
    assert (found["images"]["files"], found["images"]["bytes"]) == (2, 5)
    lay(root, {"mmvp/Questions.csv": "changed", "mmvp/2.jpg": "1", "model.pth": "changed"})
    assert data(root) == found


@pytest.mark.parametrize(
    "changed", [{"image-sets/a/img0.jpg": "longer"}, {"image-sets/b/img0.jpg": "12"}], ids=["size", "name"]
)
def test_images_are_known_by_names_and_sizes(root: Path, changed: dict[str, str]) -> None:
    before = data(root)
    lay(root / "imagecode", changed)
    after = data(root)
    assert after["images"]["sha256"] != before["images"]["sha256"]
    assert after["annotations"] == before["annotations"]


def test_where_the_data_lie_and_when_they_were_copied_does_not_matter(root: Path, tmp_path: Path) -> None:
    before = data(root / "imagecode")
    (root / "imagecode").rename(tmp_path / "moved")
    os.utime(tmp_path / "moved" / "train_data.json", (0, 0))
    after = data(tmp_path / "moved")
    assert after | {"root": None} == before | {"root": None}
    assert before["annotations"] == {"train_data.json": sha256(b"train")}


def test_images_and_files_that_are_named_apart(root: Path, tmp_path: Path) -> None:
    lay(tmp_path / "apart", {"x/1.png": "1"})
    own = lay(tmp_path, {"own.json": "[]"}) / "own.json"
    found = data(root, image_root={"own": str(tmp_path / "apart")}, annotation_files=[str(own)])
    assert found["images"]["files"] == 1
    assert found["annotations"][str(own)] == sha256(b"[]")
    assert data(root, image_root=str(tmp_path / "apart"))["images"] == found["images"]


def test_links_in_a_circle_and_broken_ones_end_nothing(root: Path) -> None:
    before = data(root)["images"]
    (root / "imagecode" / "again").symlink_to(root / "imagecode")
    (root / "imagecode" / "gone.jpg").symlink_to("nowhere")
    assert data(root)["images"] == before


def test_a_root_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    found = data(tmp_path / "none")
    assert (found["annotations"], found["images"]["files"]) == ({}, 0)


def test_a_backbone_is_known_by_its_weights(tmp_path: Path) -> None:
    folder = lay(tmp_path / "b", {"model.safetensors": "w", "config.json": "{}"})
    file = lay(tmp_path, {"b.pth": "w"}) / "b.pth"
    for source in (folder, file):
        assert describe_weights(str(source), 1) == {"source": str(source), "sha256": sha256(b"w")}
    lay(folder, {"config.json": "{1}"})
    assert describe_weights(str(folder), 1)["sha256"] == sha256(b"w")
    lay(folder, {"model.safetensors": "other"})
    assert describe_weights(str(folder), 1)["sha256"] == sha256(b"other")


def test_shards_are_known_by_all_of_them(tmp_path: Path) -> None:
    folder = lay(tmp_path, {"model-1-of-2.safetensors": "a", "model-2-of-2.safetensors": "b"})
    before = describe_weights(str(folder), 1)["sha256"]
    lay(folder, {"model-2-of-2.safetensors": "c"})
    assert describe_weights(str(folder), 1)["sha256"] not in (before, None)


def test_random_and_absent_weights_have_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert describe_weights("random:base", 7) == {"source": "random:base", "drawn_with_seed": 7}
    assert describe_weights("org/name", 7) == {"source": "org/name", "sha256": None}
    assert describe_weights("a/b/c/none.pth", 7) == {"source": "a/b/c/none.pth", "sha256": None}


def test_a_file_is_read_once_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lay(tmp_path, {"b.pth": "w"}) / "b.pth"
    reads: list[str] = []
    digest = hashlib.file_digest

    def counted(opened: Any, name: str) -> object:  # noqa: ANN401  # handed on as it is
        reads.append(name)
        return digest(opened, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.chdir(tmp_path)
    describe_weights(str(file), 1)
    describe_weights("b.pth", 1)
    assert len(reads) == 1

"""Sets called as the published ones have ten images; one fewer shifts every target behind it."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contextblip.errors import DatasetError
from data_modules import ImageCoDeDataModule
from data_modules.archive import ArchivedFolder
from data_modules.imagecode_files import (
    SPLIT_FILES,
    Descriptions,
    has_official_name,
    read_descriptions,
    read_image_order,
)
from data_modules.imagecode_sets import list_sets
from data_modules.retrieval import CandidateSet

STATIC = "open-images-1_0123456789abcdef"
VIDEO = "video-storytelling-videochristmas_5-oI5OZapI-shot1_0"
SPLIT: Descriptions = {STATIC: [(2, "a"), (0, "b")], VIDEO: [(1, "c")]}
FILE = Path("valid_data.json")
NUMBERS = {STATIC: range(10), VIDEO: range(3, 113, 11)}


@pytest.fixture
def root(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Two extracted sets of ten images, called as published, in all three splits."""
    for name, numbers in NUMBERS.items():
        for number in numbers:
            write_image(tmp_path / "image-sets" / name / f"img{number}.jpg", size=(4, 4))
    labelled = {name: {str(target): text for target, text in rows} for name, rows in SPLIT.items()}
    for name in SPLIT_FILES.values():
        (tmp_path / name).write_text(json.dumps(labelled))
    return tmp_path


def make(backbone: Path, root: Path, **keys: Any) -> ImageCoDeDataModule:  # noqa: ANN401
    return ImageCoDeDataModule(str(backbone), str(root), batch_size=4, num_workers=0, **keys)


def listed(root: Path, **keys: Any) -> list[CandidateSet]:  # noqa: ANN401
    return list_sets(SPLIT, [root, root / "image-sets"], FILE, **keys)


def pack(root: Path) -> Path:
    with zipfile.ZipFile(root / "image-sets.zip", "w") as archive:
        for file in (root / "image-sets").rglob("*.jpg"):
            archive.write(file, file.relative_to(root))
    return root / "image-sets.zip"


def test_all_published_names_are_known(real_data: Path) -> None:
    names = [
        name for file in SPLIT_FILES.values() for name in read_descriptions(real_data / "imagecode" / file)
    ]
    assert len(names) == 9402
    assert [name for name in names if not has_official_name(name)] == []


@pytest.mark.parametrize(
    "name", ["open-images-1_00", "my-set", f"{STATIC}-2", "MSR-VTT-videoTestVideo_video1-shot1", f"x{VIDEO}"]
)
def test_other_names_may_have_any_number_of_images(name: str) -> None:
    assert not has_official_name(name)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
@pytest.mark.parametrize("gone", ["img0.jpg", "img9.jpg"])
def test_evaluation_refuses_a_set_that_lacks_an_image(
    backbone: Path, root: Path, stage: str, gone: str
) -> None:
    folder = root / "image-sets" / STATIC
    (folder / gone).unlink()
    with pytest.raises(DatasetError) as error:
        make(backbone, root, max_unreadable=1.0).setup(stage)
    assert str(error.value) == (
        f"IMAGECODE: set {STATIC} has 9 images imgN.jpg in {folder}, not the published 10, so that its "
        "targets mean other images; extract this set again"
    )


def test_too_many_images_are_refused(root: Path) -> None:
    folder = root / "image-sets" / STATIC
    shutil.copy(folder / "img3.jpg", folder / "img10.jpg")
    with pytest.raises(DatasetError, match=r" has 11 images .*; remove what is not the set's, or extract "):
        listed(root)


def test_no_set_is_complete_and_the_archive_is_asked(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = pack(root)
    for name, numbers in NUMBERS.items():
        (root / "image-sets" / name / f"img{numbers[0]}.jpg").unlink()
    sets = listed(root)
    assert all(isinstance(candidates.folder, ArchivedFolder) for candidates in sets)
    assert [len(candidates.names) for candidates in sets] == [10, 10]
    assert caplog.messages[0] == (
        f"IMAGECODE: 2 sets are partly or wrongly extracted, first {STATIC}; they are read from {archive}"
    )
    archive.unlink()
    with pytest.raises(DatasetError, match=r"extract this set again \(so too 1 more of the 2 sets\)$"):
        listed(root)


def test_an_archive_that_lacks_images_too_is_named(root: Path) -> None:
    (root / "image-sets" / STATIC / "img3.jpg").unlink()
    archive = pack(root)
    (root / "image-sets" / STATIC / "img4.jpg").unlink()
    with pytest.raises(
        DatasetError, match=rf" has 9 images imgN.jpg in .* in {archive}, .*; download the archive again$"
    ):
        listed(root)


def test_training_replaces_and_counts_such_a_set(
    backbone: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "image-sets" / STATIC / "img0.jpg").unlink()
    whole = {VIDEO: {"1": "c"}}
    (root / "valid_data.json").write_text(json.dumps(whole))
    module = make(backbone, root, max_unreadable=0.1)
    module.setup("fit")
    (line,) = (message for message in caplog.messages if STATIC in message)
    assert line.startswith(f"IMAGECODE: set {STATIC} has 9 images imgN.jpg in ")
    assert line.endswith("another row replaces it (1 of 19 images so far)")
    (batch,) = list(module.train_dataloader())
    assert {query["set_name"] for query in batch["queries"]} == {VIDEO}
    assert len(batch["queries"]) == 3
    with pytest.raises(DatasetError, match=rf"1 of 19 training images is unreadable, .*set {STATIC} has 9"):
        make(backbone, root, max_unreadable=0.01).setup("fit")


def test_the_published_list_of_names_is_compared(backbone: Path, root: Path) -> None:
    order = {name: [f"img{number}.jpg" for number in numbers] for name, numbers in NUMBERS.items()}
    (root / "image_filenames_valid.json").write_text(json.dumps(order))
    make(backbone, root).setup("validate")
    folder = root / "image-sets" / VIDEO
    (folder / "img3.jpg").rename(folder / "img200.jpg")
    with pytest.raises(DatasetError) as error:
        make(backbone, root).setup("validate")
    assert str(error.value) == (
        f"IMAGECODE: set {VIDEO} has 10 images imgN.jpg in {folder}, not the 10 of the published list "
        "(img3.jpg is missing), so that its targets mean other images; remove what is not the set's, or "
        "extract this set again"
    )
    make(backbone, root).setup("predict")  # there is no list of test here


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"a": [1]}'])
def test_a_broken_list_of_names(tmp_path: Path, content: str) -> None:
    (tmp_path / "image_filenames_valid.json").write_text(content)
    with pytest.raises(DatasetError, match=r"valid\.json is not an object of sets and image names; download"):
        read_image_order([tmp_path], "valid")
    assert read_image_order([tmp_path], "train") == {}


def test_a_folder_of_sets_that_may_not_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("data_modules.imagecode_sets.os.scandir", refuse)
    with pytest.raises(DatasetError) as error:
        listed(root)
    assert str(error.value) == f"IMAGECODE: {root} cannot be listed (Permission denied); make it readable"

"""What inspecting IMAGECODE's files finds, before any image is decoded."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from data_modules.verification import inspect


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    """A copy of the data set that a test may break."""
    return shutil.copytree(world / "imagecode", tmp_path / "imagecode")


@pytest.fixture
def folder(root: Path) -> Path:
    """The images of one set of the valid split."""
    return next((root / "image-sets").glob("open-images-2*"))


def problems(root: Path) -> list[str]:
    return inspect("imagecode", root, None, True).problems


def test_official_files_have_no_problems(root: Path) -> None:
    found = inspect("imagecode", root, None, True)
    assert (found.problems, found.missing, found.missing_sets) == ([], [], [])
    assert found.found["images"] == len(found.jobs) == 150
    assert found.notes == ["manual_annotation_valid.yaml: 14 of 14 entries match a text"]
    assert {path.name for path in found.files} >= {"train_data.json", "valid_split.json"}


def test_a_split_that_is_not_there_is_noted(root: Path) -> None:
    (root / "train_data.json").unlink()
    found = inspect("imagecode", root, None, True)
    assert "train_data.json is not there" in found.notes
    assert (found.found["train sets"], found.found["sets"]) == (0, 9)


@pytest.mark.parametrize("number", [0, 9])
def test_a_published_set_of_less_than_ten_images_fails(root: Path, folder: Path, number: int) -> None:
    (folder / f"img{number}.jpg").unlink()
    assert problems(root) == [
        f"set {folder.name} has 9 images imgN.jpg in {folder}, not the published 10, so that its targets "
        "mean other images; extract this set again"
    ]


def test_a_set_of_another_name_with_fewer_images_than_its_targets_fails(root: Path, folder: Path) -> None:
    path = root / "valid_data.json"
    content = json.loads(path.read_text())
    content["mine"] = {"9": next(iter(content.pop(folder.name).values()))}
    path.write_text(json.dumps(content))
    folder = folder.rename(folder.with_name("mine"))
    (folder / "img3.jpg").unlink()
    assert (
        f"set mine in {folder} has 9 images imgN.jpg, but a text asks for target 9; extract it again"
        in problems(root)
    )


def test_the_official_list_finds_missing_and_foreign_images(root: Path, folder: Path) -> None:
    order = {folder.name: [f"img{number}.jpg" for number in range(10)]}
    (root / "image_filenames_valid.json").write_text(json.dumps(order))
    assert problems(root) == []
    (folder / "img9.jpg").rename(folder / "img11.jpg")
    found = inspect("imagecode", root, None, True)
    assert found.missing == [f"{folder.name}/img9.jpg"]
    assert found.problems == [
        f"set {folder.name} in {folder} has images that the published list lacks, which shift its targets: "
        "img11.jpg; remove them"
    ]


def test_two_images_of_one_number_fail(root: Path, folder: Path) -> None:
    shutil.copy(folder / "img3.jpg", folder / "img3.jpeg")
    assert problems(root) == [
        f"set {folder.name} has two images numbered 3 in {folder}, so that its targets are ambiguous; "
        "remove one of them"
    ]


def test_a_set_in_two_splits_fails(root: Path) -> None:
    train, valid = (json.loads((root / f"{name}_data.json").read_text()) for name in ("train", "valid"))
    name = next(iter(train))
    (root / "valid_data.json").write_text(json.dumps(valid | {name: train[name]}))
    assert f"set {name} is both in train_data.json and in valid_data.json; download both again" in problems(
        root
    )


def test_a_split_without_its_targets_fails(root: Path) -> None:
    path = root / "valid_data.json"
    name, texts = next(iter(json.loads(path.read_text()).items()))
    path.write_text(json.dumps({name: list(texts.values())}))
    assert any(
        problem.startswith(f"{path}, set {name}: texts without targets; ") for problem in problems(root)
    )


def test_proposition_and_annotation_files_must_be_about_the_texts(root: Path) -> None:
    propositions = json.loads((root / "valid_split.json").read_text())
    text = next(iter(propositions))
    propositions[f"{text} "] = propositions.pop(text)
    (root / "valid_split.json").write_text(json.dumps(propositions))
    (root / "manual_annotation_valid.yaml").write_text(
        '"open-images-9_0000000000000000": {"0": {"description": "a", "annotation": "con"}}\n'
    )
    lacking, foreign = problems(root)
    assert lacking.startswith(f"{root}/valid_split.json lacks 1 of the 14 texts of valid_data.json, first ")
    assert lacking.endswith("texts are compared with the blanks at their ends; download it again")
    assert foreign == (
        f"{root}/manual_annotation_valid.yaml: none of its 1 entries is a text of "
        f"{root}/valid_data.json; download both again"
    )


def test_the_archive_stands_in_for_sets_that_are_absent_or_partly_extracted(root: Path, folder: Path) -> None:
    sets = folder.parent
    with zipfile.ZipFile(root / "image-sets.zip", "w") as archive:
        for path in sets.rglob("*.jpg"):
            archive.write(path, path.relative_to(root))
    (folder / "img3.jpg").unlink()
    gone = next(path for path in sets.iterdir() if path != folder)
    shutil.rmtree(gone)
    found = inspect("imagecode", root, None, True)
    archived = {job.member for job in found.jobs if job.member is not None}
    assert {Path(member).parent.name for member in archived if member} == {folder.name, gone.name}
    assert (len(archived), len(found.jobs)) == (20, 150)
    assert found.layout == "official, images in image-sets.zip"

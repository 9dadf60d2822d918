"""Finding IMAGECODE's images, extracted or in the archive, and what is said when some lack."""

import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.archive import ArchivedFolder
from data_modules.imagecode_files import Descriptions, read_descriptions
from data_modules.imagecode_sets import list_sets
from data_modules.images import readable_image
from data_modules.retrieval import CandidateSet

STATIC = "open-images-1_00"
VIDEO = "MSR-VTT-videoTestVideo_video1-shot1"
SPLIT: Descriptions = {STATIC: [(2, "a"), (0, "b")], VIDEO: [(1, "c")]}
FILE = Path("valid_data.json")


@pytest.fixture
def root(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Two extracted sets of three images each."""
    for name, numbers in ((STATIC, (0, 1, 2)), (VIDEO, (9, 27, 113))):
        for number in numbers:
            write_image(tmp_path / "image-sets" / name / f"img{number}.jpg", colour=(number, 0, 0))
    return tmp_path


def pack(root: Path, prefix: str = "image-sets/") -> Path:
    """Put the extracted sets into an archive beside them."""
    sets = root / "image-sets"
    with zipfile.ZipFile(root / "image-sets.zip", "w") as archive:
        for file in sorted(sets.rglob("*.jpg")):
            archive.write(file, f"{prefix}{file.relative_to(sets)}")
    return root / "image-sets.zip"


def listed(root: Path, split: Descriptions = SPLIT) -> list[CandidateSet]:
    roots = [folder for folder in (root, root / "image-sets") if folder.is_dir()]
    return list_sets(split, roots, FILE)


def refused(root: Path, split: Descriptions = SPLIT) -> str:
    with pytest.raises((DatasetError, DatasetNotFoundError)) as error:
        listed(root, split)
    message = str(error.value)
    assert message.startswith("IMAGECODE: ")
    assert "\n" not in message
    return message


def names(sets: list[CandidateSet]) -> list[list[str]]:
    return [list(candidates.names) for candidates in sets]


def test_extracted_sets(root: Path) -> None:
    static, video = listed(root)
    assert (static.name, static.is_video, video.is_video) == (STATIC, False, True)
    assert static.files == tuple(root / "image-sets" / STATIC / f"img{number}.jpg" for number in range(3))
    assert video.names == ("img9.jpg", "img27.jpg", "img113.jpg")


@pytest.mark.parametrize("prefix", ["image-sets/", "", "./", "data/imagecode/image-sets/"])
def test_sets_straight_from_the_archive(root: Path, prefix: str) -> None:
    extracted = listed(root)
    pixels = {(s.name, name): _pixels(s, name) for s in extracted for name in s.names}
    pack(root, prefix.removeprefix("./"))
    shutil.rmtree(root / "image-sets")
    sets = listed(root)
    assert names(sets) == names(extracted)
    assert [candidates.is_video for candidates in sets] == [False, True]
    for candidates in sets:
        assert isinstance(candidates.folder, ArchivedFolder)
        for name in candidates.names:
            assert np.array_equal(_pixels(candidates, name), pixels[candidates.name, name])


def _pixels(candidates: CandidateSet, name: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with readable_image(candidates.folder.joinpath(name), "D") as image:
        return np.asarray(image)


def test_extracted_sets_win_and_the_archive_is_not_even_opened(root: Path) -> None:
    (root / "image-sets.zip").write_text("no archive")
    assert all(isinstance(candidates.folder, Path) for candidates in listed(root))


def test_sets_that_are_not_extracted_come_from_the_archive(root: Path) -> None:
    pack(root)
    shutil.rmtree(root / "image-sets" / VIDEO)
    static, video = listed(root)
    assert static.folder == root / "image-sets" / STATIC
    assert isinstance(video.folder, ArchivedFolder)
    assert video.names == ("img9.jpg", "img27.jpg", "img113.jpg")


def test_partly_extracted_sets_are_named_and_read_from_the_archive(
    root: Path, write_image: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    other = "open-images-2_00"
    for number in range(3):
        write_image(root / "image-sets" / other / f"img{number}.jpg")
    archive = pack(root)
    (root / "image-sets" / VIDEO / "img9.jpg").unlink()  # every rank would mean another image
    with caplog.at_level(logging.WARNING):
        _, video, _ = listed(root, SPLIT | {other: [(0, "d")]})
    assert video.names == ("img9.jpg", "img27.jpg", "img113.jpg")
    assert isinstance(video.folder, ArchivedFolder)
    assert caplog.messages == [
        f"IMAGECODE: 1 sets are partly or wrongly extracted, first {VIDEO}; they are read from {archive}"
    ]


def test_without_an_archive_sets_smaller_than_most_are_named(
    root: Path, write_image: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    other = "open-images-2_00"
    for number in range(3):
        write_image(root / "image-sets" / other / f"img{number}.jpg")
    (root / "image-sets" / VIDEO / "img9.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        assert len(listed(root, SPLIT | {other: [(0, "d")]})) == 3
    (message,) = caplog.messages
    assert message.startswith(
        f"IMAGECODE: 1 of the 3 sets in {FILE} have fewer than 3 images, first {VIDEO} with 2 in "
    )


def test_missing_sets_are_counted_and_named(root: Path) -> None:
    (root / "image-sets" / STATIC).rename(root / "image-sets" / "other")
    message = refused(root)
    assert message == (
        f"IMAGECODE: 1 of the 2 sets in {FILE} have no folder of images, first {STATIC}: looked in {root}, "
        f"{root / 'image-sets'}; put image-sets.zip there, extracted or as it is, or set --data.image_root "
        "to the folder of the sets"
    )
    archive = pack(root)
    assert refused(root).endswith(
        f"; {archive} lacks them too, download it again, or set --data.image_root to the folder of the sets"
    )


def test_a_damaged_archive_is_named(root: Path) -> None:
    archive = pack(root)
    shutil.rmtree(root / "image-sets")
    archive.write_bytes(archive.read_bytes()[:1000])
    assert refused(root) == (
        f"IMAGECODE: {archive} is no complete zip archive (File is not a zip file); download it again"
    )


def test_an_image_root_one_level_too_deep(root: Path) -> None:
    inside = root / "image-sets" / STATIC
    assert refused(inside).endswith(
        f"; {inside} is the folder of one set, set --data.image_root to {inside.parent}"
    )


def test_targets_beyond_the_images(root: Path) -> None:
    assert refused(root, SPLIT | {STATIC: [(0, "a"), (3, "b")]}) == (
        f"IMAGECODE: set {STATIC} has 3 images imgN.jpg in {root / 'image-sets' / STATIC}, but {FILE} asks "
        "for target 3, counted from 0; extract this set again or correct the file"
    )


@pytest.mark.parametrize("left", [0, 1])
def test_sets_of_less_than_two_images(root: Path, left: int) -> None:
    folder = root / "image-sets" / STATIC
    for number in range(left, 3):
        (folder / f"img{number}.jpg").unlink()
    plural = "s" if left == 0 else ""
    assert refused(root, SPLIT | {STATIC: [(0, "a")]}) == (
        f"IMAGECODE: set {STATIC} has {left} image{plural} imgN.jpg in {folder}, at least 2 are needed; "
        "extract this set again"
    )


def test_two_images_of_one_number(root: Path, write_image: Callable[..., Path]) -> None:
    folder = root / "image-sets" / VIDEO
    write_image(folder / "img27.png")
    assert refused(root) == (
        f"IMAGECODE: set {VIDEO} has two images numbered 27 in {folder}, so that its targets are ambiguous; "
        "remove one of them"
    )


def test_other_files_and_names_do_not_disturb(root: Path) -> None:
    (root / "image-sets" / STATIC / "Thumbs.db").touch()
    (root / "image-sets" / "list.txt").touch()
    (root / VIDEO).touch()  # a file called as a set is no set
    (Path(os.fsdecode(os.fsencode(root / "image-sets") + b"/\xff\xfe"))).mkdir()
    assert [len(candidates.names) for candidates in listed(root)] == [3, 3]
    assert "first ../image-sets:" in refused(root, {"../image-sets": [(0, "a")]})


def test_real_sets_give_the_same_candidates_from_the_archive(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "imagecode"
    split = read_descriptions(source / "mini" / "valid_data.json")
    extracted = list_sets(split, [source / "image-sets"], FILE)
    with zipfile.ZipFile(tmp_path / "image-sets.zip", "w") as archive:
        for candidates in extracted:
            for name in candidates.names:
                archive.write(candidates.folder.joinpath(name), f"image-sets/{candidates.name}/{name}")  # type: ignore[arg-type]  # extracted: a path
    packed = list_sets(split, [tmp_path], FILE)
    assert names(packed) == names(extracted)
    assert len(packed) == 14
    first = [torch.from_numpy(_pixels(packed[3], name).copy()) for name in packed[3].names]
    assert all(
        torch.equal(pixels, torch.from_numpy(_pixels(extracted[3], name).copy()))
        for pixels, name in zip(first, extracted[3].names, strict=True)
    )

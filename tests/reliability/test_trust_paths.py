"""No annotation opens a file outside of the folders that the user named: not by ``..``, a root or a link."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.pytorch import LightningDataModule
from PIL import Image

from contextblip.cli import main
from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules import CaptionDataModule, CocoRetrievalDataModule, ImageCoDeDataModule, MMVPVLMDataModule
from data_modules.files import ImageFinder

Make = Callable[[Path], LightningDataModule]
OUT = [
    "../secret.jpg",
    "a/../../secret.jpg",
    "..\\secret.jpg",
    "{out}",
    "/{out}",
    "//{out}",
    "{out}/../secret.jpg",
]
OUT += ["\\\\{out}", "~/secret.jpg", "$HOME/secret.jpg", "file://{out}", "."]


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Path:
    """A copy of the world that tests may change."""
    return Path(shutil.copytree(world, tmp_path / "place" / "world"))


@pytest.fixture
def makers(backbone: Path) -> dict[str, tuple[Make, str]]:
    """From a root to each data module, set up; and one of its images."""
    source = str(backbone)

    def ready(module: LightningDataModule, stage: str) -> LightningDataModule:
        module.setup(stage)
        return module

    return {
        "captions": (
            lambda root: ready(CaptionDataModule(source, str(root), datasets=["coco"], num_workers=0), "fit"),
            "coco/images/train2017/*",
        ),
        "coco": (
            lambda root: ready(
                CocoRetrievalDataModule(source, str(root), split="val", num_workers=0), "test"
            ),
            "coco/images/val2017/*",
        ),
        "imagecode": (
            lambda root: ready(ImageCoDeDataModule(source, str(root), num_workers=0), "fit"),
            "imagecode/image-sets/*/img0.jpg",
        ),
        "mmvp_vlm": (
            lambda root: ready(MMVPVLMDataModule(source, str(root), num_workers=0), "test"),
            "mmvp_vlm/*/*/1.jpg",
        ),
    }


def outside(path: Path, tmp_path: Path) -> Path:
    """Move a file or folder out of the world and leave a link in its place."""
    target = tmp_path / "elsewhere" / path.name
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    path.symlink_to(target)
    return target


@pytest.mark.parametrize("name", ["captions", "coco", "imagecode", "mmvp_vlm"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_out_of_the_root_are_refused(
    name: str, what: str, makers: dict[str, tuple[Make, str]], place: Path, tmp_path: Path
) -> None:
    make, pattern = makers[name]
    make(place)
    file = sorted(place.glob(pattern))[0]
    link = file if what == "file" else file.parent
    target = outside(link, tmp_path)
    with pytest.raises(DatasetError) as stop:
        make(place)
    message = str(stop.value)
    assert f"{link}" in message
    assert f"is linked to {target}" in message
    assert "set --data.image_root to the folder" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["captions", "coco", "imagecode", "mmvp_vlm"])
def test_links_of_the_user_are_followed(
    name: str, makers: dict[str, tuple[Make, str]], place: Path, tmp_path: Path
) -> None:
    make, pattern = makers[name]
    file = sorted(place.glob(pattern))[0]
    inner = file.with_name("kept-beside.jpg")
    file.rename(inner)
    file.symlink_to(inner.name)  # one that stays inside
    (tmp_path / "data").symlink_to(place)  # the root itself
    make(tmp_path / "data")


def test_image_root_is_the_remedy(backbone: Path, place: Path, tmp_path: Path) -> None:
    images = outside(place / "coco" / "images" / "val2017", tmp_path).parent
    module = CocoRetrievalDataModule(
        str(backbone), str(place), split="val", num_workers=0, image_root=str(images)
    )
    module.setup("test")
    loaders = module.test_dataloader()
    assert len(next(iter(loaders[0]))["images"]) > 0


def test_verifying_names_the_link(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside(sorted((place / "coco" / "images" / "val2017").iterdir())[0], tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["data", "verify", "coco", "--root", str(place), "--num_workers", "1", "--allow_part"])
    said = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert len(said) == 1
    assert "is linked to" in said[0]
    assert "set --image_root" in said[0]


@pytest.mark.parametrize("path", OUT)
def test_no_spelling_leads_out(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (4, 4)).save(secret)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert ImageFinder("x", [root]).find(path.format(out=secret)) is None


def test_an_absolute_path_inside_is_found(tmp_path: Path) -> None:
    file = tmp_path / "root" / "a" / "1.jpg"
    file.parent.mkdir(parents=True)
    file.touch()
    finder = ImageFinder("x", [tmp_path / "root"])
    assert finder.find(str(file)) == finder.find(f"/export/share/data/a/{file.name}") == file


def test_a_link_behind_a_link(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").touch()
    (root / "b.jpg").symlink_to("../secret.jpg")
    (root / "a.jpg").symlink_to("b.jpg")
    (root / "gone.jpg").symlink_to("/nowhere/gone.jpg")
    (root / "circle.jpg").symlink_to("circle.jpg")
    finder = ImageFinder("x", [root])
    for name in ("a.jpg", "b.jpg", "gone.jpg"):
        with pytest.raises(DatasetError, match=rf"{name} is linked to "):
            finder.find(name)
    assert finder.find("circle.jpg") == root / "circle.jpg"  # leads nowhere; opening it says so


@pytest.mark.parametrize("name", ["../secret", "{out}", "..", ".", "a/../../secret"])
def test_a_set_of_imagecode_is_a_folder_of_the_root(
    name: str, backbone: Path, place: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    for number in range(10):
        Image.new("RGB", (4, 4)).save(secret / f"img{number}.jpg")
    file = place / "imagecode" / "valid_data.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, name.format(out=secret): {"0": "a text"}}))
    with pytest.raises(DatasetNotFoundError, match="1 of the 7 sets .* have no folder of images"):
        ImageCoDeDataModule(str(backbone), str(place), num_workers=0).setup("validate")


def test_names_of_coco_lead_nowhere_else(backbone: Path, place: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (4, 4)).save(secret)
    file = place / "coco" / "annotations" / "captions_val2017.json"
    content = json.loads(file.read_text())
    for name in (str(secret), os.path.relpath(secret, place / "coco" / "images" / "val2017")):
        content["images"][0]["file_name"] = name
        file.write_text(json.dumps(content))
        with pytest.raises(DatasetNotFoundError, match=r"1 of 8 images not found, first .*secret\.jpg"):
            CocoRetrievalDataModule(str(backbone), str(place), split="val", num_workers=0).setup("test")

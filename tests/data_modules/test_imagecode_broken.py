"""ImageCoDeDataModule on broken or unpacked folders: errors, replacements, the archive."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from data_modules import ImageCoDeDataModule

STATIC = "open-images-1_00"
VIDEO = "MSR-VTT-videoTestVideo_video1-shot1"


def make(backbone: Path, root: Path | str, **keys: Any) -> ImageCoDeDataModule:  # noqa: ANN401
    """A module with small batches that loads in this process."""
    return ImageCoDeDataModule(str(backbone), str(root), **{"batch_size": 4, "num_workers": 0, **keys})


def test_images_straight_from_the_archive(backbone: Path, imagecode_folder: Path) -> None:
    extracted = make(backbone, imagecode_folder)
    extracted.setup("validate")
    (expected,) = list(extracted.val_dataloader())
    with zipfile.ZipFile(imagecode_folder / "image-sets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((imagecode_folder / "image-sets").rglob("*.jpg")):
            archive.write(file, file.relative_to(imagecode_folder))
    (imagecode_folder / "image-sets").rename(imagecode_folder / "elsewhere")
    for num_workers in (0, 2):
        module = make(backbone, imagecode_folder, num_workers=num_workers)
        module.setup("validate")
        (batch,) = list(module.val_dataloader())
        assert torch.equal(batch["images"], expected["images"])
        assert batch["queries"] == expected["queries"]


def test_real_sets_from_the_archive_by_two_workers(
    backbone: Path, real_data: Path, world: Path, tmp_path: Path
) -> None:
    source = real_data / "imagecode"
    shutil.copy(source / "mini" / "valid_data.json", tmp_path)
    with zipfile.ZipFile(tmp_path / "image-sets.zip", "w") as archive:
        for name in json.loads((tmp_path / "valid_data.json").read_text()):
            for file in (source / "image-sets" / name).iterdir():
                archive.write(file, f"image-sets/{name}/{file.name}")
    keys = {"tokenizer": str(world), "batch_size": 8}
    extracted = make(backbone, source / "mini", image_root=str(source / "image-sets"), **keys)
    packed = make(backbone, tmp_path, num_workers=2, **keys)
    for module in (extracted, packed):
        module.setup("validate")
    for batch, expected in zip(packed.val_dataloader(), extracted.val_dataloader(), strict=True):
        assert torch.equal(batch["images"], expected["images"])
        assert torch.equal(batch["target_index"], expected["target_index"])


def test_wrong_root_lists_the_places(backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError) as error:
        make(backbone, tmp_path).setup("fit")
    message = str(error.value)
    assert message.startswith(f"IMAGECODE not found: looked for train_data.json in {tmp_path}, ")
    assert str(tmp_path / "imagecode") in message
    assert "set --data.root" in message


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_sets_without_a_folder_are_an_error_in_every_stage(
    backbone: Path, imagecode_folder: Path, stage: str
) -> None:
    (imagecode_folder / "image-sets" / STATIC).rename(imagecode_folder / "image-sets" / "other")
    with pytest.raises(DatasetNotFoundError) as error:
        make(backbone, imagecode_folder, max_unreadable=1.0).setup(stage)
    message = str(error.value)
    assert "1 of the 2 sets in " in message
    assert f"first {STATIC}" in message
    assert str(imagecode_folder / "image-sets") in message


def test_training_replaces_what_evaluation_refuses(backbone: Path, imagecode_folder: Path) -> None:
    broken = imagecode_folder / "image-sets" / VIDEO / "img113.jpg"
    broken.write_bytes(broken.read_bytes()[:-40])
    module = make(backbone, imagecode_folder, max_unreadable=0.2)  # one of five images
    module.setup("fit")
    (batch,) = list(module.train_dataloader())
    assert {query["set_name"] for query in batch["queries"]} == {STATIC}
    assert len(batch["queries"]) == 3
    with pytest.raises(
        DatasetError, match=rf"^IMAGECODE, set {VIDEO}: cannot read image {broken} \((?i:.*trunc)"
    ):
        list(module.val_dataloader())
    strict = make(backbone, imagecode_folder, max_unreadable=0.1)
    strict.setup("fit")
    with pytest.raises(DatasetError, match=r"^IMAGECODE: 1 of 5 training images is unreadable, more than"):
        list(strict.train_dataloader())


def test_evaluating_the_training_split_replaces_nothing(backbone: Path, imagecode_folder: Path) -> None:
    (imagecode_folder / "image-sets" / VIDEO / "img113.jpg").write_text("no image")
    module = make(backbone, imagecode_folder, test_split="train", max_unreadable=1.0)
    module.setup("test")
    with pytest.raises(DatasetError, match="no image, or of an unknown format"):
        list(module.test_dataloader())


@pytest.mark.parametrize(("stage", "name"), [("fit", "train_data.json"), ("validate", "valid_data.json")])
def test_texts_without_targets_cannot_be_trained_on(
    backbone: Path, imagecode_folder: Path, stage: str, name: str
) -> None:
    (imagecode_folder / name).write_text(json.dumps({STATIC: ["a circle"]}))
    with pytest.raises(DatasetError, match=rf"{name}, set {STATIC}: texts without targets; training and"):
        make(backbone, imagecode_folder).setup(stage)


def test_target_beyond_the_images(backbone: Path, imagecode_folder: Path) -> None:
    (imagecode_folder / "valid_data.json").write_text(json.dumps({VIDEO: {"2": "a square"}}))
    with pytest.raises(
        DatasetError, match=rf"set {VIDEO} has 2 images imgN.jpg in .* asks for target 2, .*; extract"
    ):
        make(backbone, imagecode_folder).setup("validate")


@pytest.mark.parametrize(
    "content", ['{"s": {"x": "a circle"}}', '{"s": {"1": 5}}', '{"s": "a circle"}', '["s"]', '{"s": ']
)
def test_broken_descriptions(backbone: Path, imagecode_folder: Path, content: str) -> None:
    (imagecode_folder / "valid_data.json").write_text(content)
    with pytest.raises(DatasetError, match=r"^IMAGECODE: .*valid_data\.json"):
        make(backbone, imagecode_folder).setup("validate")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manual_annotation_valid.yaml", "a: [1"),
        ("manual_annotation_valid.yaml", "a: 1"),
        ("valid_split.json", "[]"),
    ],
)
def test_broken_annotations(backbone: Path, imagecode_folder: Path, name: str, content: str) -> None:
    (imagecode_folder / name).write_text(content)
    with pytest.raises(DatasetError, match=rf"^IMAGECODE: .*{name}"):
        make(backbone, imagecode_folder).setup("validate")


def test_broken_image_names_set_and_file(backbone: Path, imagecode_folder: Path) -> None:
    broken = imagecode_folder / "image-sets" / VIDEO / "img113.jpg"
    broken.write_text("no image")
    module = make(backbone, imagecode_folder)
    module.setup("validate")
    with pytest.raises(DatasetError, match=rf"^IMAGECODE, set {VIDEO}: cannot read image {broken} \("):
        list(module.val_dataloader())


def test_secret_targets_cannot_be_tested(backbone: Path, imagecode_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--data\.test_split test: .* secret; .*lightning predict"):
        make(backbone, imagecode_folder, test_split="test").setup("test")

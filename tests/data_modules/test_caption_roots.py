"""Where the images of each source lie, and that a path in an annotation leads nowhere else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from data_modules import CaptionDataModule


def make(backbone: Path, root: Path, **keys: Any) -> CaptionDataModule:  # noqa: ANN401
    """A module on given annotation files that loads in this process."""
    given = {"datasets": [], "batch_size": 4, "num_workers": 0, "val_fraction": 0.0, **keys}
    return CaptionDataModule(str(backbone), str(root), **given)


def dump(path: Path, content: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


def files_of(module: CaptionDataModule) -> list[str]:
    module.setup("fit")
    assert module.train_set is not None
    return [str(file) for file in module.train_set.rows.files.to_pylist()]


@pytest.fixture
def apart(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Annotations of three sources in one folder, their images in another one each."""
    dump(tmp_path / "coco" / "coco.json", [{"image": "train2017/000000000001.jpg", "caption": "c"}])
    dump(tmp_path / "visual_genome" / "vg.json", [{"image": "visual-genome/image/5.jpg", "caption": "v"}])
    dump(tmp_path / "more.json", [{"image": "0.jpg", "caption": "m"}])
    for file in ("a/train2017/000000000001.jpg", "b/VG_100K/5.jpg", "c/0.jpg"):
        write_image(tmp_path / "images" / file)
    return tmp_path


def test_each_source_may_have_a_folder_of_images(backbone: Path, apart: Path) -> None:
    images = apart / "images"
    roots = {"coco": str(images / "a"), "visual_genome": str(images / "b"), "more": str(images / "c")}
    keys: dict[str, Any] = {
        "datasets": ["coco", "visual_genome"],
        "annotation_files": [str(apart / "more.json")],
    }
    module = make(backbone, apart, image_root=roots, **keys)
    files = [str(images / file) for file in ("a/train2017/000000000001.jpg", "b/VG_100K/5.jpg", "c/0.jpg")]
    assert files_of(module) == files
    (apart / "0.jpg").symlink_to(images / "c" / "0.jpg")
    del roots["more"]  # what is not named lies beside its annotations
    assert files_of(make(backbone, apart, image_root=roots, **keys))[2] == str(apart / "0.jpg")
    with pytest.raises(ConfigurationError, match=r"image_root: coca is no source; .*; did you mean coco\?$"):
        make(backbone, apart, image_root={"coca": "x"}, **keys).setup("fit")
    with pytest.raises(DatasetNotFoundError, match=r"--data\.image_root .*nowhere is no folder; name that"):
        make(backbone, apart, image_root={"coco": str(apart / "nowhere")}, **keys).setup("fit")


@pytest.mark.parametrize("path", ["../secret.jpg", "deep/../../secret.jpg", "..\\secret.jpg", ".."])
def test_no_path_leads_out_of_the_folder(
    backbone: Path, tmp_path: Path, write_image: Callable[..., Path], path: str
) -> None:
    write_image(tmp_path / "secret.jpg")
    data = tmp_path / "data"
    kept = [write_image(data / f"{number}.jpg") for number in range(3)]
    rows = [{"image": image, "caption": "a"} for image in (path, *(file.name for file in kept))]
    module = make(backbone, data, annotation_files=[dump(data / "x.json", rows)], max_unreadable=0.5)
    first, *others = files_of(module)
    assert others == list(map(str, kept))
    assert ".." not in Path(first).parts
    assert Path(first).is_relative_to(data)
    assert module.train_set is not None
    module.train_set.unreadable = None
    with pytest.raises(DatasetError, match="x.json train: cannot read image"):
        module.train_set[0]


def test_an_absolute_path_is_resolved_below_image_root(
    backbone: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    elsewhere = write_image(tmp_path / "elsewhere" / "0.jpg")
    rows = [{"image": str(elsewhere), "caption": "a"}]
    files = [dump(tmp_path / "data" / "x.json", rows)]
    with pytest.raises(DatasetNotFoundError, match=r"1 of 1 images not found.*; set --data\.image_root"):
        make(backbone, tmp_path / "data", annotation_files=files).setup("fit")
    module = make(backbone, tmp_path / "data", annotation_files=files, image_root=str(tmp_path / "elsewhere"))
    assert files_of(module) == [str(elsewhere)]

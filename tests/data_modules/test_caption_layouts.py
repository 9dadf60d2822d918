"""Layouts that captions come in, and what is said about broken ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from data_modules import CaptionDataModule


def make(backbone: Path | str, root: Path | str, **keys: Any) -> CaptionDataModule:  # noqa: ANN401
    """A module with small batches that loads in this process."""
    keys = {"batch_size": 8, "num_workers": 0, **keys}
    return CaptionDataModule(str(backbone), str(root), **keys)


def test_blip_json_with_one_or_several_captions(
    backbone: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    files = [write_image(tmp_path / "photos" / "vg" / f"{number}.jpg") for number in range(3)]
    rows = [
        {"image": "pretrain_data/vl_pair/vg/0.jpg", "caption": "one"},
        {"image": "pretrain_data/vl_pair/vg/1.jpg", "caption": ["two", " ", "three"]},
        {"image": "pretrain_data/vl_pair/vg/0.jpg", "caption": "four"},
        {"image": "pretrain_data/vl_pair/vg/2.jpg", "caption": "five", "image_id": "coco_7"},
    ]
    annotations = tmp_path / "vg.json"
    annotations.write_text(json.dumps(rows))
    module = make(
        backbone,
        tmp_path,
        datasets=[],
        annotation_files=[str(annotations)],
        image_root=str(tmp_path / "photos"),
        val_fraction=0.0,
    )
    module.setup("fit")
    assert module.train_set is not None
    rows_read = module.train_set.rows
    assert rows_read.texts[:] == ["one", "four", "two", "three", "five"]
    assert rows_read.files.to_pylist() == [str(file) for file in files]
    assert rows_read.image.tolist() == [0, 0, 1, 1, 2]
    assert len(set(rows_read.image_ids.tolist())) == 3
    assert module.val_dataloader() == []


def write_coco(root: Path, split: str, names: list[str]) -> None:
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, 1)]
    captions = [
        {"image_id": image["id"], "id": image["id"], "caption": f"a {image['id']}"} for image in images
    ]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"captions_{split}.json").write_text(
        json.dumps({"images": images, "annotations": captions})
    )


def test_coco_2014_beside_the_images_without_images_folder(
    backbone: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    name = "COCO_train2014_000000000009.jpg"
    write_image(tmp_path / "train2014" / name)
    write_coco(tmp_path, "train2014", [name])
    module = make(backbone, tmp_path, datasets=["coco"], val_fraction=0.0)
    module.setup("fit")
    assert module.train_set is not None
    assert module.train_set.rows.files.to_pylist() == [str(tmp_path / "train2014" / name)]


def test_visual_genome_takes_the_folder_from_the_url_and_knows_coco_photos(
    backbone: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    write_image(tmp_path / "coco" / "images" / "train2017" / "000000000001.jpg")
    write_coco(tmp_path / "coco", "train2017", ["000000000001.jpg"])
    genome = tmp_path / "visual_genome"
    files = [write_image(genome / folder / "1.jpg") for folder in ("VG_100K", "VG_100K_2")]
    url = "https://cs.stanford.edu/people/rak248/{}/1.jpg"
    images = [
        {"image_id": 10, "url": url.format("VG_100K_2"), "coco_id": None},
        {"image_id": 11, "url": url.format("VG_100K"), "coco_id": 1},
    ]
    regions = [{"id": row["image_id"], "regions": [{"phrase": f"p{row['image_id']}"}]} for row in images]
    (genome / "image_data.json").write_text(json.dumps(images))
    (genome / "region_descriptions.json").write_text(json.dumps(regions))
    module = make(backbone, tmp_path, val_fraction=0.0)
    module.setup("fit")
    assert module.train_set is not None
    rows = module.train_set.rows
    file = dict(zip(rows.texts, rows.files.take(rows.image).to_pylist(), strict=True))
    number = dict(zip(rows.texts, rows.image_ids[rows.image].tolist(), strict=True))
    assert file["p10"] == str(files[1])
    assert file["p11"] == str(files[0])
    assert number["p11"] == number["a 1"] != number["p10"]


def test_real_coco_sample(backbone: Path, real_data: Path, world: Path) -> None:
    module = make(backbone, real_data, datasets=["coco"], tokenizer=str(world))
    module.setup("fit")
    assert len(module.train_set or []) == 400
    assert len(module.val_set or []) == 395
    assert module.val_set is not None
    image_id = [module.val_set[row]["image_id"] for row in range(10)]
    assert image_id == [image_id[0]] * 5 + [image_id[5]] * 5  # five captions each
    assert image_id[0] != image_id[5]
    blip = real_data / "coco" / "blip_format" / "coco.json"
    module = make(
        backbone,
        real_data,
        datasets=[],
        annotation_files=[str(blip)],
        tokenizer=str(world),
        image_root=str(real_data / "coco"),
    )
    module.setup("fit")
    assert len(module.train_set or []) + len(module.val_set or []) == 400


def test_absent_visual_genome_photos_are_named(backbone: Path, real_data: Path) -> None:
    module = make(backbone, real_data, datasets=["visual_genome"])
    with pytest.raises(
        DatasetNotFoundError,
        match=r"^Visual Genome train: 99 of 99 images not found, first VG_100K_2/1\.jpg, ",
    ):
        module.setup("fit")


def test_mistakes_are_named(backbone: Path, world: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetNotFoundError,
        match=r"COCO not found: looked for dataset_coco\.json \(Karpathy\) or coco\.json or .*official\) in ",
    ):
        make(backbone, tmp_path, datasets=["coco"]).setup("fit")
    with pytest.raises(DatasetNotFoundError, match=r"--data\.root .*nowhere is no folder"):
        make(backbone, tmp_path / "nowhere").setup("fit")
    with pytest.raises(DatasetNotFoundError, match=r"--data\.image_root .*nowhere is no folder"):
        make(backbone, world, image_root=str(tmp_path / "nowhere")).setup("fit")
    with pytest.raises(DatasetNotFoundError, match=r"set --data\.annotation_files"):
        make(backbone, world, annotation_files=[str(tmp_path / "x.json")]).setup("fit")
    (tmp_path / "x.json").write_text('[{"image": "1.jpg"}]')
    with pytest.raises(DatasetError, match=r"x\.json is not a list of"):
        make(backbone, world, annotation_files=[str(tmp_path / "x.json")]).setup("fit")
    mistakes: tuple[dict[str, Any], ...] = (
        {"datasets": []},
        {"val_fraction": 1.0},
        {"group_size": 0},
        {"crop_scale_min": 0.0},
    )
    for keys in mistakes:
        with pytest.raises(ConfigurationError, match=rf"--data\.{next(iter(keys))}"):
            make(backbone, world, **keys).setup("fit")

"""Pre-training on captions: mixing sources, images that cannot be read, what is said about the texts."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from contextblip.types import CaptionBatch
from data_modules import CaptionDataModule

IMAGES = 10


def make(backbone: Path, root: Path, **keys: Any) -> CaptionDataModule:  # noqa: ANN401
    """A module on one annotation file that loads in this process."""
    given: dict[str, Any] = {"datasets": [], "annotation_files": [str(root / "x.json")]}
    given |= {"batch_size": 4, "num_workers": 0, "val_fraction": 0.0}
    return CaptionDataModule(str(backbone), str(root), **{**given, **keys})


@pytest.fixture
def photos(tmp_path: Path, write_image: Callable[..., Path]) -> list[Path]:
    """Ten photos of ten greys, two captions each."""
    files = [write_image(tmp_path / f"{n}.png", (n * 20, n * 20, n * 20)) for n in range(IMAGES)]
    rows = [{"image": file.name, "caption": f"{n} {part}"} for n, file in enumerate(files) for part in "ab"]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    return files


def batches_of(module: CaptionDataModule, epoch: int = 0) -> list[CaptionBatch]:
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # our sampler has it
    return list(loader)


def seen(batches: list[CaptionBatch]) -> list[int]:
    return torch.cat([batch["index"] for batch in batches]).tolist()


def test_a_few_broken_images_are_replaced_while_training(
    backbone: Path, tmp_path: Path, photos: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    photos[3].write_text("no image")
    photos[6].unlink()
    module = make(backbone, tmp_path, max_unreadable=0.2)
    with caplog.at_level(logging.WARNING):
        module.setup("fit")
    assert "BLIP json x.json train: 1 of 10 images not found, first 6.png; other rows replace" in caplog.text
    dataset = module.train_set
    assert dataset is not None
    assert dataset.unreadable is not None
    batches = batches_of(module)
    assert len(seen(batches)) == 2 * IMAGES  # as many rows as there would be
    assert dataset.unreadable.count == 2  # distinct images, although each has two captions
    shown = {dataset.rows.image[row] for row in seen(batches)}
    assert shown == set(range(IMAGES)) - {3, 6}
    for batch in batches:  # what replaces a row is a whole row: its own pixels, caption and number
        for image, row, number in zip(batch["images"], batch["index"], batch["image_id"], strict=True):
            assert torch.equal(image, dataset[(0, int(row))]["image"])
            assert int(number) == dataset.rows.image_ids[dataset.rows.image[int(row)]]
    assert seen(batches_of(module)) == seen(batches)  # replaced by the same rows again
    assert seen(batches_of(module, 1)) != seen(batches)


def test_workers_replace_by_the_same_rows(backbone: Path, tmp_path: Path, photos: list[Path]) -> None:
    photos[3].write_text("no image")
    here, there = (make(backbone, tmp_path, max_unreadable=0.1, num_workers=workers) for workers in (0, 2))
    here.setup("fit")
    there.setup("fit")
    assert seen(batches_of(there)) == seen(batches_of(here))
    assert there.train_set is not None
    assert there.train_set.unreadable is not None
    assert there.train_set.unreadable.count == 1  # what workers meet is seen here


def test_too_many_broken_images_stop_the_training(backbone: Path, tmp_path: Path, photos: list[Path]) -> None:
    for photo in photos[:2]:
        photo.write_text("no image")
    module = make(backbone, tmp_path, max_unreadable=0.1, num_workers=1)
    module.setup("fit")
    with pytest.raises(
        DatasetError,
        match=r"^BLIP json x\.json: 2 of 10 training images are unreadable, more than --data\.max_unreadable "
        r"0\.1 allows; last: BLIP json x\.json train: cannot read image .*[01]\.png \(no image, or .*; run `",
    ) as error:
        batches_of(module)
    assert "\n" not in str(error.value)


def test_too_many_absent_images_are_refused_at_once(
    backbone: Path, tmp_path: Path, photos: list[Path]
) -> None:
    for photo in photos[4:6]:
        photo.unlink()
    with pytest.raises(
        DatasetNotFoundError,
        match=r"^BLIP json x\.json train: 2 of 10 images not found, first 4\.png, more than "
        rf"--data\.max_unreadable 0\.1 allows: looked below {tmp_path}; set --data\.image_root to the folder",
    ):
        make(backbone, tmp_path, max_unreadable=0.1).setup("fit")


def test_nothing_readable_ends(backbone: Path, tmp_path: Path, photos: list[Path]) -> None:
    for photo in photos:
        photo.write_text("no image")
    module = make(backbone, tmp_path, max_unreadable=1.0)
    module.setup("fit")
    with pytest.raises(DatasetError, match=r"^BLIP json x\.json train: cannot read image"):
        batches_of(module)


def test_evaluation_never_leaves_an_image_out(backbone: Path, tmp_path: Path, photos: list[Path]) -> None:
    module = make(backbone, tmp_path, max_unreadable=1.0, val_fraction=0.5)
    module.setup("validate")
    assert module.val_set is not None
    assert len(module.val_set) == IMAGES
    victim = Path(module.val_set.rows.files[2].as_py())
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        DatasetError, match=rf"^BLIP json x\.json val: cannot read image {victim} \(.*\); restore or download"
    ) as error:
        list(module.val_dataloader())
    assert "\n" not in str(error.value)
    victim.unlink()
    with pytest.raises(
        DatasetNotFoundError,
        match=rf"^BLIP json x\.json val: 1 of 5 images not found, first {victim.name}: looked below .*; set",
    ):
        make(backbone, tmp_path, max_unreadable=1.0, val_fraction=0.5).setup("validate")
    assert len(photos) == IMAGES


def test_sources_are_mixed_by_their_weights(backbone: Path, tmp_path: Path, photos: list[Path]) -> None:
    rows = [{"image": photos[0].name, "caption": "extra 1"}, {"image": photos[1].name, "caption": "extra 2"}]
    (tmp_path / "extra.json").write_text(json.dumps(rows))
    files = [str(tmp_path / name) for name in ("x.json", "extra.json")]
    module = make(backbone, tmp_path, annotation_files=files, source_weights={"x": 0.5, "extra": 3})
    module.setup("fit")
    assert module.train_set is not None
    texts = module.train_set.rows.texts
    lengths = set()
    for epoch in range(3):
        batches = batches_of(module, epoch)
        lengths.add(len(batches))
        counts = Counter(seen(batches))
        assert {texts[row]: n for row, n in counts.items() if row >= 20} == {"extra 1": 3, "extra 2": 3}
        assert sum(n for row, n in counts.items() if row < 20) == 10
    assert lengths == {4}  # 10 + 6 captions in fours
    # the three times of one caption are cropped on their own
    Image.linear_gradient("L").save(photos[0])
    pixels = [module.train_set[(0, 20 + turn * len(module.train_set))]["image"] for turn in range(3)]
    assert not torch.equal(pixels[0], pixels[1])
    assert not torch.equal(pixels[1], pixels[2])
    assert torch.equal(module.train_set[(0, 20)]["image"], pixels[0])
    assert module.train_set[(0, 20 + len(module.train_set))]["index"] == 20


def test_unusable_weights_are_named(backbone: Path, tmp_path: Path, photos: list[Path]) -> None:
    assert photos
    with pytest.raises(ConfigurationError, match=r"--data\.source_weights: coco is no source; there are x"):
        make(backbone, tmp_path, source_weights={"coco": 1.0}).setup("fit")
    with pytest.raises(ConfigurationError, match=r"--data\.source_weights: x is -1, expected above 0"):
        make(backbone, tmp_path, source_weights={"x": -1}).setup("fit")
    with pytest.raises(
        ConfigurationError, match=r"x is 0\.001, which draws none of its captions; raise it or"
    ):
        make(backbone, tmp_path, source_weights={"x": 0.001}).setup("fit")


def test_mirroring_counts_captions_that_say_left_or_right(
    backbone: Path, tmp_path: Path, photos: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    said = ["on the LEFT", "Right-hand side", "bright leftover copyright", "upright", "left of the right one"]
    rows = [{"image": file.name, "caption": text} for file, text in zip(photos, said, strict=False)]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    with caplog.at_level(logging.WARNING):
        make(backbone, tmp_path).setup("fit")
    assert "horizontal_flip" not in caplog.text
    with caplog.at_level(logging.WARNING):
        make(backbone, tmp_path, horizontal_flip=True).setup("fit")
    assert "but 3 of 5 training captions (60.0%) say left or right and then become wrong" in caplog.text


def test_only_training_captions_are_counted(backbone: Path, tmp_path: Path, photos: list[Path]) -> None:
    rows = [
        {"image": file.name, "caption": "to the left" if n % 2 else "up"} for n, file in enumerate(photos)
    ]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    module = make(backbone, tmp_path, val_fraction=0.5)
    module.setup("fit")
    assert module.train_set is not None
    assert module.val_set is not None
    sides = [dataset.rows.count_sides() for dataset in (module.train_set, module.val_set)]
    expected = [sum("left" in text for text in d.rows.texts) for d in (module.train_set, module.val_set)]
    assert sides == expected
    assert sum(sides) == 5


def test_the_layout_in_use_and_cut_texts_are_reported(
    backbone: Path, tmp_path: Path, photos: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert photos
    with caplog.at_level(logging.INFO):
        make(backbone, tmp_path, val_fraction=0.2, max_words=1).setup("fit")
    assert f"BLIP json x.json (BLIP, {tmp_path}) train: 8 images, 16 captions" in caplog.text
    assert f"BLIP json x.json (BLIP, {tmp_path}) val: 2 images, 4 captions" in caplog.text
    assert "train: 100.0% of 16 texts are cut (100.0% at max_words 1" in caplog.text
    assert "val: 100.0% of 4 texts are cut (100.0% at max_words 1" in caplog.text


def test_a_photo_of_two_sources_has_one_number(
    backbone: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    write_image(tmp_path / "coco" / "train2017" / "000000000009.jpg")
    write_image(tmp_path / "visual_genome" / "image" / "2.jpg")
    (tmp_path / "coco" / "coco.json").write_text('[{"image": "train2017/000000000009.jpg", "caption": "a"}]')
    url = "https://cs.stanford.edu/people/rak248/VG_100K/2.jpg"
    data = [{"image_id": 2, "url": url, "coco_id": 9}]
    (tmp_path / "visual_genome" / "image_data.json").write_text(json.dumps(data))
    rows = [{"image": "visual-genome/image/2.jpg", "caption": "b"}]
    (tmp_path / "visual_genome" / "vg.json").write_text(json.dumps(rows))
    keys: dict[str, Any] = {"annotation_files": [], "batch_size": 2}
    module = make(backbone, tmp_path, datasets=["coco", "visual_genome"], **keys)
    module.setup("fit")
    (batch,) = batches_of(module)
    assert len(set(batch["image_id"].tolist())) == 1
    assert len(set(batch["index"].tolist())) == 2


def test_layouts_can_be_named(backbone: Path, tmp_path: Path, write_image: Callable[..., Path]) -> None:
    write_image(tmp_path / "train2017" / "000000000009.jpg")
    (tmp_path / "coco.json").write_text('[{"image": "train2017/000000000009.jpg", "caption": "blip"}]')
    official = {
        "images": [{"id": 9, "file_name": "000000000009.jpg"}],
        "annotations": [{"image_id": 9, "caption": "official"}],
    }
    (tmp_path / "captions_train2017.json").write_text(json.dumps(official))
    keys: dict[str, Any] = {"datasets": ["coco"], "annotation_files": []}
    for layout, text in (("auto", "blip"), ("blip", "blip"), ("official", "official")):
        module = make(backbone, tmp_path, coco_layout=layout, **keys)
        module.setup("fit")
        assert module.train_set is not None
        assert list(module.train_set.rows.texts) == [text]
    with pytest.raises(
        DatasetNotFoundError, match=r"COCO not found: looked for dataset_coco\.json \(Karpathy\) in"
    ):
        make(backbone, tmp_path, coco_layout="karpathy", **keys).setup("fit")


def test_odd_modes_are_trained_on(backbone: Path, tmp_path: Path, photos: list[Path]) -> None:
    for mode, photo in zip(("L", "P", "CMYK", "RGBA", "1", "I;16"), photos, strict=False):
        suffix = ".jpg" if mode == "CMYK" else ".png"
        Image.new(mode, (20, 10)).save(photo.with_suffix(suffix))
    rows = [{"image": file.name, "caption": "a"} for file in sorted(tmp_path.glob("?.[jp][pn]g"))]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    module = make(backbone, tmp_path, batch_size=len(rows), max_unreadable=0.0)
    module.setup("fit")
    (batch,) = batches_of(module)
    assert batch["images"].shape == (len(rows), 3, 32, 32)
    assert batch["images"].dtype == torch.uint8

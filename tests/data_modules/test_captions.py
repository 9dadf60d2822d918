"""CaptionDataModule on the layouts it reads."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from contextblip.errors import ConfigurationError
from contextblip.types import CaptionBatch
from data_modules import CaptionDataModule
from data_modules import miniature as miniature_module


def make(backbone: Path | str, root: Path | str, **keys: Any) -> CaptionDataModule:  # noqa: ANN401
    """A module with small batches that loads in this process."""
    keys = {"batch_size": 8, "num_workers": 0, **keys}
    return CaptionDataModule(str(backbone), str(root), **keys)


def epoch_of(module: CaptionDataModule, epoch: int) -> list[CaptionBatch]:
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # our sampler has it
    return list(loader)


def validation_of(module: CaptionDataModule) -> list[CaptionBatch]:
    loader: Any = module.val_dataloader()
    return list(loader)


def rows_of(batches: list[CaptionBatch]) -> list[int]:
    return torch.cat([batch["index"] for batch in batches]).tolist()


def test_batches_have_the_declared_form(backbone: Path, world: Path) -> None:
    module = make(backbone, world)
    module.setup("fit")
    batch = epoch_of(module, 0)[0]
    assert batch["images"].shape == (8, 3, 32, 32)
    assert batch["images"].dtype == torch.uint8  # normalised on the device
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert int(batch["attention_mask"].sum(1).max()) == batch["input_ids"].shape[1] <= 30
    for name in ("input_ids", "attention_mask", "image_id", "index"):
        assert batch[name].dtype == torch.int64
    assert module.vocabulary == backbone / "vocab.txt"


def test_rows_of_the_world(backbone: Path, world: Path) -> None:
    module = make(backbone, world, val_fraction=0.25)
    module.setup("fit")
    assert module.train_set is not None
    assert module.val_set is not None
    coco = json.loads((world / "coco" / "annotations" / "captions_train2017.json").read_text())
    coco_val = json.loads((world / "coco" / "annotations" / "captions_val2017.json").read_text())
    genome = json.loads((world / "visual_genome" / "region_descriptions.json").read_text())
    phrases = sum(len(row["regions"]) for row in genome)
    train, val = module.train_set.rows, module.val_set.rows
    assert len(train) + len(val) == len(coco["annotations"]) + len(coco_val["annotations"]) + phrases
    assert train.sources == val.sources == ("COCO", "Visual Genome")
    # of 8 images of Visual Genome 2 are held out, by image
    assert np.bincount(val.image_sources).tolist() == [8, 2]
    assert not set(train.files.to_pylist()) & set(val.files.to_pylist())
    for file in train.files.to_pylist():
        assert Path(file).is_file()
    assert set(train.texts[:5]) <= {row["caption"] for row in coco["annotations"]}
    assert train.captions([4, 0, 4]) == [train.texts[4], train.texts[0], train.texts[4]]
    assert list(val.texts) == val.texts[:] == val.captions(range(len(val)))


def test_same_pixels_whatever_the_workers(backbone: Path, world: Path) -> None:
    here, there = make(backbone, world), make(backbone, world, num_workers=2)
    here.setup("fit")
    there.setup("fit")
    loader = there.train_dataloader()
    for epoch in (0, 1):  # the workers of the first epoch live on
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # our sampler has it
        for batch, expected in zip(loader, epoch_of(here, epoch), strict=True):
            assert torch.equal(batch["images"], expected["images"])
            assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert rows_of(epoch_of(here, 0)) != rows_of(epoch_of(here, 1))


def test_augmentation_changes_with_the_epoch_and_not_with_the_neighbours(backbone: Path, world: Path) -> None:
    module = make(backbone, world)
    module.setup("fit")
    dataset = module.train_set
    assert dataset is not None
    first = dataset[(0, 5)]["image"]
    assert not torch.equal(dataset[(1, 5)]["image"], first)
    assert torch.equal(dataset[(0, 5)]["image"], first)
    row = next(number for number, (_, row) in enumerate(_pairs(epoch_of(module, 0))) if row == 5)
    batch = epoch_of(module, 0)[row // 8]
    assert torch.equal(batch["images"][row % 8], first)


def _pairs(batches: list[CaptionBatch]) -> list[tuple[int, int]]:
    return list(enumerate(rows_of(batches)))


def test_families_share_a_batch(backbone: Path, world: Path) -> None:
    module = make(backbone, world, datasets=["coco"], group_size=miniature_module.FAMILY_SIZE)
    module.setup("fit")
    assert module.train_set is not None
    rows = module.train_set.rows
    group = rows.groups[rows.image]
    together = 0
    for batch in epoch_of(module, 2):
        groups = [group[row] for row in batch["index"].tolist()]
        images = batch["image_id"].tolist()
        together += sum(a == b for a, b in pairwise(groups))
        assert len(set(images)) >= len(images) - 2  # rounds of a family hold each image once
    assert together > len(module.train_set) // 2


def test_one_caption_an_image_and_epoch(backbone: Path, world: Path) -> None:
    module = make(backbone, world, datasets=["coco"], captions_per_epoch="one", batch_size=4)
    module.setup("fit")
    images = torch.cat([batch["image_id"] for batch in epoch_of(module, 0)]).tolist()
    assert len(images) == len(set(images)) == 32
    assert len(set(rows_of(epoch_of(module, 0))) | set(rows_of(epoch_of(module, 1)))) > 32


def test_evaluation_is_in_file_order(backbone: Path, world: Path) -> None:
    module = make(backbone, world, datasets=["coco"], eval_batch_size=5)
    module.setup("test")
    assert module.train_set is None
    batches = list(module.test_dataloader())
    assert rows_of(batches) == list(range(len(module.val_set or [])))
    assert len(batches[0]["index"]) == 5


def test_backbone_without_vocabulary_takes_the_one_beside_the_data(world: Path, tmp_path: Path) -> None:
    module = make("random:miniature", world / "coco", datasets=["coco"])
    module.setup("validate")
    assert module.vocabulary == world / "vocab.txt"
    assert validation_of(module)[0]["images"].shape == (8, 3, 64, 64)
    (world / "coco" / "annotations").rename(tmp_path / "annotations")
    try:
        module = make("random:miniature", tmp_path, datasets=["coco"], image_root=str(world / "coco"))
        with pytest.raises(ConfigurationError, match="no vocab.txt beside .* has its 510 lines; pass one by"):
            module.setup("validate")
    finally:
        (tmp_path / "annotations").rename(world / "coco" / "annotations")


def test_miniature_is_drawn_on_first_use(
    backbone: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Path, miniature_module.MiniatureSize]] = []

    def draw(root: Path, *, seed: int, size: miniature_module.MiniatureSize, workers: int) -> Path:
        assert workers >= 1
        assert seed == (0 if size.photos else 7)
        drawn.append((root, size))
        return root

    monkeypatch.setattr(miniature_module, "draw_miniature", draw)
    make(backbone, f"miniature:{tmp_path / 'new'}").prepare_data()
    make(backbone, f"miniature-backbone:{tmp_path / 'big'}").prepare_data()
    assert drawn == [
        (tmp_path / "new", miniature_module.MiniatureSize()),
        (tmp_path / "big", miniature_module.PRESETS["backbone"].size),
    ]
    module = make(backbone, f"miniature:{world}")
    module.prepare_data()
    make(backbone, world).prepare_data()
    assert len(drawn) == 2  # one that is there, of whatever size, is used
    module.setup("validate")
    assert len(module.val_set or []) > 0


class Recorder(LightningModule):
    """Keeps the rows it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.rows: dict[int, list[int]] = {}
        self.val_rows: list[int] = []

    def training_step(self, batch: CaptionBatch) -> Tensor:
        self.rows.setdefault(self.current_epoch, []).extend(batch["index"].tolist())
        loss: Tensor = self.layer(torch.ones(1)).sum()
        return loss

    def validation_step(self, batch: CaptionBatch) -> None:
        self.val_rows.extend(batch["index"].tolist())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.* is deprecated")
def test_trainer_moves_the_epoch_on(backbone: Path, world: Path, tmp_path: Path) -> None:
    module, recorder = make(backbone, world, datasets=["coco"]), Recorder()
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, datamodule=module)
    assert recorder.rows[0] == rows_of(epoch_of(module, 0))
    assert recorder.rows[1] == rows_of(epoch_of(module, 1))
    assert recorder.rows[0] != recorder.rows[1]
    assert recorder.val_rows == 2 * list(range(len(module.val_set or [])))

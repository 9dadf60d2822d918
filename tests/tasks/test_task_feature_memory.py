"""Stage two's memory: the frozen parts run once a query, and training is the same as without it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from contextblip.tasks import InterContext
from contextblip.tasks.feature_memory import FeatureMemory
from contextblip.types import RetrievalBatch

ImageSets = Callable[..., RetrievalBatch]
SIZES: dict[str, Any] = {"adapter_layers": [1, 3], "inter_context_heads": 2, "max_candidates": 4}


class Sets(LightningDataModule):
    """One batch a step, with what stage two asks of a data module."""

    def __init__(self, batch: RetrievalBatch, augment: bool) -> None:
        super().__init__()
        self.batch = batch
        self.augment = augment

    def train_dataloader(self) -> "DataLoader[Any]":
        return DataLoader([self.batch], batch_size=None)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


def train(
    backbone: str, make_trainer: Callable[..., Trainer], sets: Sets, monkeypatch: pytest.MonkeyPatch
) -> tuple[InterContext, int]:
    torch.manual_seed(0)
    task = InterContext(backbone, lr=1e-2, dropout=0.0, **SIZES)
    compute, calls = task.candidate_features, []

    def counted(batch: RetrievalBatch) -> Tensor:
        calls.append(batch)
        return compute(batch)

    monkeypatch.setattr(task, "candidate_features", counted)
    make_trainer(max_epochs=3, num_sanity_val_steps=0).fit(task, datamodule=sets)
    return task, len(calls)


def test_frozen_parts_run_once_and_training_is_the_same(
    backbone: str,
    make_trainer: Callable[..., Trainer],
    image_sets: ImageSets,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = image_sets()
    remembering, few = train(backbone, make_trainer, Sets(batch, augment=False), monkeypatch)
    computing, many = train(backbone, make_trainer, Sets(batch, augment=True), monkeypatch)
    assert few == 1  # training and validation see the same sets here
    assert many == 3 + 1  # each training step, and validation once
    for name, tensor in remembering.model.state_dict().items():
        assert torch.equal(tensor, computing.model.state_dict()[name]), name


def test_another_fit_starts_without_memory(
    backbone: str, make_trainer: Callable[..., Trainer], image_sets: ImageSets
) -> None:
    task = InterContext(backbone, **SIZES)
    sets = Sets(image_sets(), augment=False)
    make_trainer(max_epochs=1).fit(task, datamodule=sets)
    assert len(task._memory) == 4
    make_trainer().test(task, dataloaders=sets.train_dataloader(), verbose=False)
    assert len(task._memory) == 0


def test_recall_pads_to_the_batch_and_keeps_queries_apart(image_sets: ImageSets) -> None:
    memory, batch = FeatureMemory(), image_sets()
    mask = batch["candidate_mask"][batch["set_index"]]
    features = torch.randn(4, 4, 5) * mask[..., None]
    assert torch.equal(memory.recall(batch["queries"], mask, lambda: features), features)

    def refuse() -> Tensor:
        raise AssertionError("computed again")

    # the video alone has three candidates, and its queries come in another order and number
    assert torch.equal(memory.recall(batch["queries"][2:3], mask[2:3, :3], refuse), features[2:3, :3])
    assert torch.equal(memory.recall(batch["queries"][::-1], mask.flip(0), refuse), features.flip(0))

"""Stage two's memory: the frozen parts run once a query, and training is the same as without it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from contextblip.tasks import InterContext
from contextblip.tasks.candidate_scoring import Candidates, Texts
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
    compute, calls = task.fuse_texts, []

    def counted(candidates: Candidates, texts: Texts) -> tuple[Tensor, Tensor]:
        calls.extend(texts.set_index.tolist())
        return compute(candidates, texts)

    def one_by_one(batch: RetrievalBatch) -> Tensor:  # which round as what is remembered does
        return pad_sequence(task.features_of(batch, range(len(batch["queries"]))), batch_first=True)

    monkeypatch.setattr(task, "fuse_texts", counted)
    monkeypatch.setattr(task, "candidate_features", one_by_one)
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
    assert few == 4  # queries; training and validation see the same here
    assert many == 4 * 3 + 4  # in each training step, and in the validations once
    for name, tensor in remembering.model.state_dict().items():
        assert torch.equal(tensor, computing.model.state_dict()[name]), name


def test_a_query_has_the_same_features_to_the_last_bit_in_any_batch(
    backbone: str, image_sets: ImageSets
) -> None:
    task, batch = InterContext(backbone, **SIZES), image_sets()
    task.configure_model()
    task.eval()
    with torch.no_grad():
        whole = task.features_of(batch, range(4))
        plain = task.candidate_features(batch)
        for row in range(4):
            counted = int(batch["candidate_mask"][batch["set_index"][row]].sum())
            torch.testing.assert_close(whole[row], plain[row, :counted], atol=1e-6, rtol=1e-5)
            (alone,) = task.features_of(one_query(batch, row), [0])
            assert torch.equal(alone, whole[row])
        for row, features in zip((3, 0), task.features_of(batch, (3, 0)), strict=True):
            assert torch.equal(features, whole[row])


def one_query(batch: RetrievalBatch, row: int) -> RetrievalBatch:
    number = int(batch["set_index"][row])
    rows = slice(row, row + 1)
    return {
        **batch,
        "images": batch["images"][number : number + 1],
        "candidate_mask": batch["candidate_mask"][number : number + 1],
        "set_index": torch.tensor([0]),
        "input_ids": batch["input_ids"][rows],
        "attention_mask": batch["attention_mask"][rows],
        "target_index": batch["target_index"][rows],
        "is_video": batch["is_video"][rows],
        "queries": batch["queries"][rows],
    }


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
    asked: list[int] = []

    def compute(rows: Sequence[int]) -> list[Tensor]:
        asked.extend(rows)
        return [features[row][mask[row]] for row in rows]

    # what is known is not computed again
    memory.recall(batch["queries"][1:2], mask[1:2], lambda _: [features[1][mask[1]]])
    assert torch.equal(memory.recall(batch["queries"], mask, compute), features)
    assert asked == [0, 2, 3]
    # the video alone has three candidates, and its queries come in another order and number
    assert torch.equal(memory.recall(batch["queries"][2:3], mask[2:3, :3], compute), features[2:3, :3])
    assert torch.equal(memory.recall(batch["queries"][::-1], mask.flip(0), compute), features.flip(0))
    assert asked == [0, 2, 3]

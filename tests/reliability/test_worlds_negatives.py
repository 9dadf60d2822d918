"""Where negatives cannot be drawn by similarity: one warning a run, and never a crash."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from contextblip.losses import negative_weights
from contextblip.tasks import BackbonePretraining, Pretraining
from contextblip.tasks.matching import draw_negatives
from contextblip.tasks.negatives_watch import FALLBACKS, fallbacks
from contextblip.types import CaptionBatch
from tests.tasks import conftest as tasks

config, make_backbone, backbone = tasks.config, tasks.make_backbone, tasks.backbone
captions, make_trainer, fit = tasks.captions, tasks.make_trainer, tasks.fit

Fit = Callable[..., Trainer]
Captions = Callable[..., CaptionBatch]


def build(kind: str, backbone: str) -> LightningModule:
    if kind == "backbone":
        return BackbonePretraining(backbone, warmup_steps=0, dropout=0.0)
    sizes: dict[str, Any] = {"adapter_layers": [1, 3], "decoder_layers": 1, "decoder_heads": 2}
    return Pretraining(backbone, warmup_steps=0, **sizes)


def odd(number: int, captions: Captions) -> CaptionBatch:
    """Return a batch that makes a fall-back."""
    if number == 2:
        batch = captions(4)
        batch["images"] = batch["images"][:1].expand(4, -1, -1, -1).clone()
        for key in ("input_ids", "attention_mask"):
            batch[key] = batch[key][:1].expand(4, -1).clone()
        return batch
    return captions(1) if number == 0 else captions(4, same_image=True)


@pytest.mark.parametrize("kind", ["adapter", "backbone"])
@pytest.mark.parametrize("number", range(len(FALLBACKS)))
def test_a_warning_once_a_run(
    kind: str, number: int, backbone: str, fit: Fit, captions: Captions, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "contextblip.tasks.negatives_watch"):
        batches = [odd(number, captions)] * 5
        trainer = fit(build(kind, backbone), batches, max_epochs=2, log_every_n_steps=1)
    assert [record.getMessage() for record in caplog.records if record.name.endswith("watch")] == [
        FALLBACKS[number]
    ]
    assert bool(trainer.callback_metrics["train/loss"].isfinite())


@pytest.mark.parametrize("kind", ["adapter", "backbone"])
def test_a_later_step_is_seen_where_the_trainer_logs(
    kind: str, backbone: str, fit: Fit, captions: Captions, caplog: pytest.LogCaptureFixture
) -> None:
    batches = [captions(4), captions(4), odd(1, captions), captions(4), captions(4)]
    with caplog.at_level(logging.WARNING, "contextblip.tasks.negatives_watch"):
        fit(build(kind, backbone), batches, max_epochs=1, log_every_n_steps=4)
    assert FALLBACKS[1] in caplog.messages


def test_ordinary_steps_and_validation_say_nothing(
    backbone: str, fit: Fit, captions: Captions, caplog: pytest.LogCaptureFixture
) -> None:
    validation = [odd(number, captions) for number in range(len(FALLBACKS))]
    fit(build("adapter", backbone), [captions(4)] * 2, validation, max_epochs=1, log_every_n_steps=1)
    assert not any(record.name.endswith("watch") for record in caplog.records)


@pytest.mark.parametrize(
    ("sim", "same", "expected"),
    [
        (torch.tensor([[0.3]]), None, [1, 0, 0]),
        (torch.tensor([[0.3, 0.1], [0.2, 0.5]]), torch.ones(2, 2, dtype=torch.bool), [0, 1, 0]),
        (torch.full((2, 5), 0.25), torch.eye(2, 5, dtype=torch.bool), [0, 0, 1]),
        (torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.bool), [0, 1, 1]),
        (torch.tensor([[0.3, 0.1], [0.2, 0.5]]), torch.eye(2, dtype=torch.bool), [0, 0, 0]),
    ],
)
def test_what_falls_back(sim: Tensor, same: Tensor | None, expected: list[int]) -> None:
    assert fallbacks(sim, same).tolist() == expected


@pytest.mark.parametrize("value", [0.0, 1.0, torch.nan, torch.inf])
def test_equal_similarities_and_no_numbers_are_drawn_from_uniformly(value: float) -> None:
    sim = torch.full((3, 3), value)
    weights = negative_weights(sim)
    assert torch.equal(weights > 0, ~torch.eye(3, dtype=torch.bool))
    assert len(set(weights[~torch.eye(3, dtype=torch.bool)].tolist())) == 1
    drawn = draw_negatives(sim, None, 1.0)
    assert drawn is not None
    assert not bool((drawn.images == torch.arange(3)).any() or (drawn.texts == torch.arange(3)).any())


def test_one_broken_pair_leaves_all_drawable() -> None:
    sim = torch.rand(4, 4)
    sim[:, 2] = torch.nan
    for _ in range(20):
        drawn = draw_negatives(sim, torch.eye(4, dtype=torch.bool), 0.05)
        assert drawn is not None
        assert int(drawn.images.max()) < 4

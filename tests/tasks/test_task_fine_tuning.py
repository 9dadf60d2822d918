"""Both stages of fine-tuning: what trains, what stays frozen, and that a batch can be learnt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import save_file
from torch import nn

from contextblip.losses import loss_candidates
from contextblip.tasks import FineTuning, InterContext, ZeroShot
from contextblip.types import RetrievalBatch

ImageSets = Callable[..., RetrievalBatch]
Fit = Callable[..., Trainer]
ADAPTER: dict[str, Any] = {"adapter_layers": [1, 3]}
SIZES: dict[str, Any] = {"inter_context_heads": 2, "max_candidates": 4, **ADAPTER}


def test_stage_one_overfits_a_batch(backbone: str, fit: Fit, image_sets: ImageSets) -> None:
    torch.manual_seed(0)
    task = FineTuning(backbone, lr_backbone=3e-3, lr_head=3e-2, weight_decay=0.0, dropout=0.0, **ADAPTER)
    batch = image_sets()
    trainer = fit(task, [batch] * 60, [batch], max_epochs=1)
    assert trainer.callback_metrics["train/accuracy"] == 1.0
    assert trainer.callback_metrics["train/loss"] < 0.3
    assert trainer.callback_metrics["val/accuracy"] == 1.0


def test_stage_one_trains_all_but_heads_it_does_not_use(
    backbone: str, fit: Fit, image_sets: ImageSets
) -> None:
    task = FineTuning(backbone, **ADAPTER)
    task.configure_model()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    fit(task, [image_sets()], max_epochs=1)
    changed = {
        name for name, tensor in task.model.state_dict().items() if not torch.equal(before[name], tensor)
    }
    trainable = {name for name, parameter in task.model.named_parameters() if parameter.requires_grad}
    frozen = {name.split(".")[0] for name in before if name not in trainable}
    assert frozen == {"itm_head", "vision_proj", "text_proj", "temperature"}
    assert not changed - trainable
    # L2 decay moves every weight that is not zero; what it cannot show is a gradient
    assert all(parameter.grad is not None for parameter in task.model.parameters() if parameter.requires_grad)


def test_a_head_begun_as_the_itm_head_ranks_as_zero_shot_does(
    backbone: str, image_sets: ImageSets, tmp_path: Path
) -> None:
    batch = image_sets()
    zero_shot, random = ZeroShot(backbone, **ADAPTER), FineTuning(backbone, **ADAPTER)
    torch.manual_seed(0)
    zero_shot.configure_model()
    task = FineTuning(backbone, score_head_init="itm", dropout=0.0, **ADAPTER)
    torch.manual_seed(0)  # of the adapter's random weights
    task.configure_model()
    with torch.no_grad():
        margins = zero_shot.eval().score(batch).candidate_logits
        logits = task.eval().score(batch).candidate_logits
    known = margins.isfinite()
    assert torch.equal(logits.argsort(dim=1), margins.argsort(dim=1))
    torch.testing.assert_close(
        logits[known], margins[known], rtol=0.05, atol=0.05 * float(margins[known].std())
    )
    assert task._untrained == {"adapter"}  # nothing else is reported as random
    random.configure_model()
    assert "score_head" in random._untrained
    # what an earlier stage one brought is kept
    path = tmp_path / "stage_one.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in random.model.state_dict().items()}, path)
    later = FineTuning(backbone, init_from=str(path), score_head_init="itm", **ADAPTER)
    later.configure_model()
    assert torch.equal(*(task.model.get_parameter("score_head.weight") for task in (later, random)))


def test_stage_one_has_two_learning_rates_that_decay_each_epoch(
    backbone: str, fit: Fit, image_sets: ImageSets
) -> None:
    task = FineTuning(backbone, lr_backbone=1e-4, lr_head=1e-2, gamma=0.5, **ADAPTER)
    trainer = fit(task, [image_sets()] * 2, max_epochs=2)
    rest, head = trainer.optimizers[0].param_groups
    assert [group["lr"] for group in (rest, head)] == pytest.approx([0.25e-4, 0.25e-2])
    assert [tuple(parameter.shape) for parameter in head["params"]] == [(1, 16), (1,)]


def test_stage_two_overfits_a_batch(backbone: str, fit: Fit, image_sets: ImageSets) -> None:
    torch.manual_seed(0)
    task = InterContext(backbone, lr=1e-2, weight_decay=0.0, dropout=0.0, **SIZES)
    batch = image_sets()
    trainer = fit(task, [batch] * 100, [batch], max_epochs=1)
    assert trainer.callback_metrics["train/accuracy"] == 1.0
    assert trainer.callback_metrics["train/loss"] < 0.3
    assert trainer.callback_metrics["val/accuracy"] == 1.0


class TrainingModes(Callback):
    """Notes which modules are in training mode while a step runs."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def on_train_batch_end(self, _trainer: Trainer, task: LightningModule, *_: object) -> None:
        self.names |= {name for name, module in task.named_modules() if module.training and name}


def test_stage_two_changes_no_frozen_tensor_and_keeps_frozen_dropout_off(
    backbone: str, fit: Fit, image_sets: ImageSets
) -> None:
    task = InterContext(backbone, lr=1e-2, dropout=0.5, **SIZES)
    task.configure_model()
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    modes = TrainingModes()
    # the second epoch comes after a validation, which switches modes back and forth
    fit(task, [image_sets(seed=s) for s in range(3)], [image_sets()], max_epochs=2, callbacks=[modes])
    after = task.model.state_dict()
    changed = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"inter_context"}
    assert {name.split(".")[1] for name in modes.names if name.startswith("model.")} == {"inter_context"}
    dropouts = [module for module in task.model.text_encoder.modules() if isinstance(module, nn.Dropout)]
    assert dropouts
    assert not any(module.training for module in dropouts)


def test_stage_two_gives_each_trained_parameter_a_gradient(backbone: str, image_sets: ImageSets) -> None:
    """In distributed training processes would wait for one that gets none."""
    task = InterContext(backbone, **SIZES)
    task.configure_model()
    batch = image_sets()
    logits = task.contextual_scores(batch).candidate_logits
    torch.autograd.backward(loss_candidates(logits, batch["target_index"]))
    grown = {name for name, parameter in task.model.named_parameters() if parameter.grad is not None}
    assert grown == {name for name, parameter in task.model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in grown} == {"inter_context"}


def test_stage_two_stores_nothing_of_the_frozen_parts(backbone: str, image_sets: ImageSets) -> None:
    task = InterContext(backbone, **SIZES)
    task.configure_model()
    features = task.candidate_features(image_sets())
    assert features.requires_grad is False
    logits = task.contextual_scores(image_sets()).candidate_logits
    assert logits.requires_grad


def test_an_encoder_that_starts_at_zero_scores_as_stage_one_and_learns(
    backbone: str, fit: Fit, image_sets: ImageSets, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    one = FineTuning(backbone, score_head_init="itm", dropout=0.0, **ADAPTER)
    one.configure_model()
    path = tmp_path / "stage_one.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in one.model.state_dict().items()}, path)
    two = InterContext(
        backbone, init_from=str(path), inter_context_zero_init=True, dropout=0.0, lr=3e-3, **SIZES
    )
    two.configure_model()
    batch = image_sets()
    with torch.no_grad():
        before = one.eval().score(batch).candidate_logits
        torch.testing.assert_close(two.eval().score(batch).candidate_logits, before)
        first = loss_candidates(before, batch["target_index"])
    trainer = fit(two, [batch] * 60, max_epochs=1)
    assert trainer.callback_metrics["train/loss"] < 0.5 * first


def test_positions_start_small(backbone: str) -> None:
    task = InterContext(backbone, position_std=0.02, **SIZES)
    task.configure_model()
    assert task.model.inter_context is not None
    assert 0.01 < task.model.inter_context.position_embeddings.weight.std().item() < 0.03

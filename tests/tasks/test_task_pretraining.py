"""Pre-training: what trains, what is masked, what is stored for backward, what is logged."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from contextblip.models.masking import MaskPolicy
from contextblip.tasks import Pretraining
from contextblip.tasks.pretraining_step import PretrainingOutput, pretraining_forward
from contextblip.types import CaptionBatch

Captions = Callable[..., CaptionBatch]
Fit = Callable[..., Trainer]


@pytest.fixture
def make_task(backbone: str) -> Callable[..., Pretraining]:
    def make(**keys: object) -> Pretraining:
        arguments: dict[str, Any] = {
            "adapter_layers": [1, 3],
            "decoder_layers": 1,
            "decoder_heads": 2,
            "warmup_steps": 0,
            **keys,
        }
        torch.manual_seed(0)
        task = Pretraining(backbone, **arguments)
        task.configure_model()
        return task

    return make


MakeTask = Callable[..., Pretraining]


def forward(task: Pretraining, batch: CaptionBatch, **given: Any) -> PretrainingOutput:  # noqa: ANN401
    texts = batch["input_ids"], batch["attention_mask"]
    return pretraining_forward(task.model, batch["images"], *texts, policy=task.policy, **given)


def test_one_batch_can_be_overfitted(make_task: MakeTask, fit: Fit, captions: Captions) -> None:
    task = make_task(lr=1e-2, dropout=0.0, downsampling_rate=1)
    batch = captions(3)
    with torch.no_grad():
        before = task.run_step(batch)
    trainer = fit(task, [batch] * 150, max_epochs=2)
    with torch.no_grad():
        after = task.run_step(batch)
    assert trainer.callback_metrics["train/accuracy_itm"] == 1.0
    assert after.loss_itm < 0.3 * before.loss_itm
    assert before.loss_tmim is not None
    assert after.loss_tmim is not None
    assert after.loss_tmim < 0.6 * before.loss_tmim


def test_gradients_on_adapter_and_decoder_only(make_task: MakeTask, captions: Captions) -> None:
    task = make_task()
    torch.autograd.backward(task.run_step(captions()).loss)
    grown = {name for name, parameter in task.model.named_parameters() if parameter.grad is not None}
    trainable = {name for name, parameter in task.model.named_parameters() if parameter.requires_grad}
    assert grown == trainable
    assert {name.split(".")[0] for name in grown} == {"adapter", "mim_decoder"}


def test_backbone_is_unchanged_and_never_in_training_mode(
    make_task: MakeTask, fit: Fit, captions: Captions
) -> None:
    task = make_task()
    modes: list[bool] = []

    def note(module: nn.Module, *_: object) -> None:
        modes.append(module.training)

    task.model.text_encoder.register_forward_hook(note)
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    fit(task, [captions()] * 2, [captions(seed=1)], max_epochs=2)
    after = task.model.state_dict()
    changed = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"adapter", "mim_decoder"}
    assert modes
    assert not any(modes)
    training = {name.split(".")[0] for name, module in task.model.named_modules() if module.training}
    assert training == {"adapter", "mim_decoder"}


def vit_activations_saved(task: Pretraining, batch: CaptionBatch) -> int:
    """Count the outputs of modules inside the ViT's blocks that autograd keeps for backward."""
    inside: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: inside.append(output))
        for module in task.model.vision_encoder.blocks.modules()
    ]
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        task.run_step(batch)
    for hook in hooks:
        hook.remove()
    assert kept
    return len({tensor.untyped_storage().data_ptr() for tensor in inside} & set(kept))


def test_no_activation_of_the_vit_is_stored_for_backward(make_task: MakeTask, captions: Captions) -> None:
    task = make_task(refine_steps=2)
    assert vit_activations_saved(task, captions()) == 0
    task.model.vision_encoder.requires_grad_(True)  # the count does see them where they are kept
    assert vit_activations_saved(task, captions()) > 0


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("strategy", ["top", "random", "bottom", "mixture"])
@pytest.mark.parametrize("refine_steps", [1, 3])
def test_exactly_int_of_ratio_times_patches_are_masked(
    make_task: MakeTask, captions: Captions, ratio: float, strategy: str, refine_steps: int
) -> None:
    task = make_task(mask_ratio=ratio, mask_strategy=strategy, refine_steps=refine_steps)
    mask = task.run_step(captions()).mask
    assert mask is not None
    assert mask.mask.sum(dim=1).tolist() == [int(ratio * 16)] * 4
    everything = torch.cat([mask.ids_keep, mask.ids_mask], dim=1).sort(dim=1).values
    assert torch.equal(everything, torch.arange(16).expand(4, -1))


def test_refinement_ranks_by_what_the_visible_patches_show(make_task: MakeTask, captions: Captions) -> None:
    task, batch = make_task(), captions()
    given: dict[str, Any] = {"token_row": torch.ones(4, dtype=torch.long), "noise": torch.zeros(4, 16)}
    once, twice = forward(task, batch, **given), forward(task, batch, refine_steps=2, **given)
    assert once.mask is not None
    assert twice.mask is not None
    assert once.row_attention is not None
    assert twice.row_attention is not None
    hidden = once.mask.mask
    assert torch.equal(once.row_attention[hidden], twice.row_attention[hidden])
    assert not torch.isclose(once.row_attention[~hidden], twice.row_attention[~hidden]).any()
    ranked = twice.row_attention.argsort(dim=1, descending=True)[:, :4].sort(dim=1).values
    assert torch.equal(ranked, twice.mask.ids_mask.sort(dim=1).values)


def test_every_step_takes_the_mask_from_the_current_model(make_task: MakeTask, captions: Captions) -> None:
    task, batch = make_task(), captions()
    given: dict[str, Any] = {"token_row": torch.ones(4, dtype=torch.long), "noise": torch.zeros(4, 16)}
    before = forward(task, batch, **given).attention
    with torch.no_grad():
        assert task.model.adapter is not None
        task.model.adapter.up.weight.normal_()
    after = forward(task, batch, **given).attention
    assert before is not None
    assert after is not None
    assert not torch.allclose(before, after)


@pytest.mark.parametrize(("text", "leaks"), [("fused", True), ("text", False), ("none", False)])
def test_decoder_sees_masked_patches_only_through_fused_text(
    make_task: MakeTask, captions: Captions, text: str, leaks: bool
) -> None:
    task, batch = make_task(decoder_text=text).eval(), captions()
    hidden = torch.arange(16) < 4
    noise = hidden.float().expand(4, -1) * 10  # decides alone which patches are masked
    given: dict[str, Any] = {"token_row": torch.ones(4, dtype=torch.long), "noise": noise}
    before = forward(task, batch, **given)
    other = batch.copy()
    other["images"] = batch["images"].clone()
    other["images"][:, :, :4] += 1.0  # the first row of patches
    after = forward(task, other, **given)
    assert before.mask is not None
    assert after.mask is not None
    assert torch.equal(before.mask.mask, after.mask.mask)
    assert before.reconstruction is not None
    assert after.reconstruction is not None
    # the ranking may order the masked patches differently
    first, second = (
        output.reconstruction.gather(1, output.mask.ids_mask.argsort(dim=1)[..., None].expand(-1, -1, 48))
        for output in (before, after)
        if output.reconstruction is not None and output.mask is not None
    )
    assert torch.allclose(first, second, atol=1e-6) is not leaks


def test_normalised_target(make_task: MakeTask, captions: Captions) -> None:
    target = make_task(normalize_pixels=True).run_step(captions()).target
    assert target is not None
    assert torch.allclose(target.mean(dim=-1), torch.zeros(4, 4), atol=1e-5)


def test_without_tmim_there_is_no_decoder(make_task: MakeTask, fit: Fit, captions: Captions) -> None:
    task = make_task(use_tmim=False)
    assert task.model.mim_decoder is None
    output = task.run_step(captions())
    assert output.loss is output.loss_itm
    assert output.attention is None
    trainer = fit(task, [captions()], [captions()], max_epochs=1)
    assert {"train/loss", "train/loss_itm", "val/accuracy_itm"} <= trainer.callback_metrics.keys()
    assert "train/loss_tmim" not in trainer.callback_metrics


@pytest.mark.parametrize("exclude", [True, False])
def test_batch_of_one_and_batch_of_one_image(
    make_task: MakeTask, fit: Fit, captions: Captions, exclude: bool
) -> None:
    task = make_task(exclude_same_image=exclude)
    alone, same = task.run_step(captions(1)), task.run_step(captions(4, same_image=True))
    assert alone.itm_labels.tolist() == [1]
    assert same.itm_labels.tolist() == [1] * 4 + [0] * 8
    fit(task, [captions(1), captions(4, same_image=True)], max_epochs=1)


@pytest.mark.parametrize(("key", "expected"), [("backbone", 0.0432), (0.5, 0.5), (None, 1.0)])
def test_temperature_of_the_negatives(
    make_task: MakeTask,
    captions: Captions,
    monkeypatch: pytest.MonkeyPatch,
    key: float | str | None,
    expected: float,
) -> None:
    used: list[float] = []

    def draw(_sim: Tensor, _same: Tensor | None, temperature: float | Tensor, *_: object) -> None:
        used.append(float(temperature))

    monkeypatch.setattr("contextblip.tasks.pretraining_step.draw_negatives", draw)
    task = make_task(negatives_temperature=key)
    task.model.temperature.fill_(0.0432)
    task.run_step(captions())
    assert used == [pytest.approx(expected)]


def test_mask_changed_is_absent_at_first(make_task: MakeTask, captions: Captions, fit: Fit) -> None:
    once = fit(make_task(), [captions()], [captions(seed=1)], max_epochs=1)
    assert "val/mask_changed" not in once.callback_metrics
    still = fit(
        make_task(lr=1e-12, warmup_lr=0.0, min_lr=0.0), [captions()], [captions(seed=1)], max_epochs=2
    )
    assert still.callback_metrics["val/mask_changed"] == 0.0
    moving = fit(make_task(lr=0.3), [captions()] * 5, [captions(seed=1)], max_epochs=2)
    assert 0.0 < moving.callback_metrics["val/mask_changed"] <= 1.0


def test_validation_is_repeatable(
    make_task: MakeTask, validate: Callable[..., dict[str, float]], captions: Captions
) -> None:
    task = make_task()
    first, second = validate(task, [captions()]), validate(task, [captions()])
    assert first == second
    names = {"loss", "loss_itm", "loss_tmim", "loss_mean_colour", "accuracy_itm"}
    names |= {"attention_entropy", "masked_attention"}
    assert first.keys() == {f"val/{name}" for name in names}


def test_validation_leaves_the_random_state(
    make_task: MakeTask, captions: Captions, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, batch = make_task(), captions()
    monkeypatch.setattr(Pretraining, "_log", lambda *_: None)
    monkeypatch.setattr(Pretraining, "_compares_masks", False)
    task.eval()  # as the trainer validates: dropout draws nothing
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    task.validation_step(batch)
    assert torch.equal(torch.rand(1), expected)


def test_policy_is_built_from_the_keys(make_task: MakeTask) -> None:
    task = make_task(
        mask_ratio=0.5,
        mask_strategy="mixture",
        mask_token_row="enc",
        mask_noise=0.1,
        attention_layers=[2],
        attention_heads=[1],
    )
    assert task.policy == MaskPolicy(0.5, "mixture", "enc", 0.1, [2], [1])

"""Checkpoints that hold what trained, the backbone they belong to, random backbones, frozen parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from contextblip.checkpoints import load_backbone, read_adapted
from contextblip.errors import CheckpointError, ConfigurationError
from contextblip.models import PRESETS, BackboneConfig
from contextblip.tasks import FineTuning, InterContext, Pretraining, ZeroShot
from contextblip.types import CaptionBatch, RetrievalBatch

Captions = Callable[..., CaptionBatch]
ImageSets = Callable[..., RetrievalBatch]
Fit = Callable[..., Trainer]
Evaluate = Callable[..., dict[str, float]]
ADAPTER: dict[str, Any] = {"adapter_layers": [1, 3]}
DECODER: dict[str, Any] = {"decoder_layers": 1, "decoder_heads": 2, "warmup_steps": 0}


def pretrain(backbone: str, fit: Fit, captions: Captions, path: Path) -> Pretraining:
    task = Pretraining(backbone, **ADAPTER, **DECODER)
    fit(task, [captions()], max_steps=1).save_checkpoint(path)
    return task


@pytest.fixture
def pretrained(backbone: str, fit: Fit, captions: Captions, tmp_path: Path) -> str:
    path = tmp_path / "pretrained.ckpt"
    pretrain(backbone, fit, captions, path)
    return str(path)


@pytest.fixture
def stage_one(backbone: str, pretrained: str, fit: Fit, image_sets: ImageSets, tmp_path: Path) -> str:
    path = tmp_path / "stage-one.ckpt"
    task = FineTuning(backbone, init_from=pretrained, lr_backbone=1e-3, lr_head=1e-2, **ADAPTER)
    fit(task, [image_sets()], max_steps=1).save_checkpoint(path)
    return str(path)


def read(path: str | Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def parts(checkpoint: dict[str, Any]) -> set[str]:
    return {key.split(".")[1] for key in checkpoint["state_dict"]}


def test_checkpoint_of_pretraining_lacks_the_backbone_and_names_it(pretrained: str, backbone: str) -> None:
    checkpoint = read(pretrained)
    assert parts(checkpoint) == {"adapter", "mim_decoder"}
    loaded = load_backbone(backbone)
    assert checkpoint["contextblip"]["backbone_source"] == backbone
    assert checkpoint["contextblip"]["backbone_fingerprint"] == loaded.fingerprint
    assert checkpoint["hyper_parameters"]["mask_ratio"] == 0.25


def test_checkpoint_on_another_backbone_is_an_error_that_names_both(
    pretrained: str, make_backbone: Callable[[int], str], captions: Captions, fit: Fit
) -> None:
    other = make_backbone(1)
    with pytest.raises(CheckpointError, match="backbone-0.*backbone-1"):
        fit(Pretraining(other, **ADAPTER, **DECODER), [captions()], max_steps=2, ckpt_path=pretrained)
    with pytest.raises(CheckpointError, match="backbone-0.*backbone-1"):
        ZeroShot(other, init_from=pretrained, **ADAPTER).configure_model()


def test_round_trip_gives_the_same_outputs(
    backbone: str, fit: Fit, captions: Captions, tmp_path: Path
) -> None:
    path = tmp_path / "run.ckpt"
    trained = pretrain(backbone, fit, captions, path).eval()
    loaded = Pretraining.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
    batch = captions(seed=5)
    outputs = []
    for task in (trained, loaded):
        torch.manual_seed(0)
        outputs.append(task.run_step(batch))
    assert outputs[0].reconstruction is not None
    assert outputs[1].reconstruction is not None
    assert torch.equal(outputs[0].reconstruction, outputs[1].reconstruction)
    assert torch.equal(outputs[0].itm_logits, outputs[1].itm_logits)


def test_training_goes_on_from_a_checkpoint(
    backbone: str, pretrained: str, fit: Fit, captions: Captions
) -> None:
    task = Pretraining(backbone, **ADAPTER, **DECODER)
    trainer = fit(task, [captions()], max_steps=3, ckpt_path=pretrained)
    assert trainer.global_step == 3


def test_stage_one_brings_its_backbone_to_stage_two(
    stage_one: str, backbone: str, fit: Fit, image_sets: ImageSets, tmp_path: Path
) -> None:
    task = InterContext(backbone, init_from=stage_one, inter_context_heads=2, max_candidates=4, **ADAPTER)
    path = tmp_path / "stage-two.ckpt"
    fit(task, [image_sets()], max_steps=1).save_checkpoint(path)
    one, two = read(stage_one)["state_dict"], read(path)["state_dict"]
    assert "model.vision_encoder.cls_token" in one
    assert {key for key in one if not torch.equal(one[key], two[key])} == set()
    assert {key.split(".")[1] for key in two.keys() - one.keys()} == {"inter_context"}


def test_earlier_stage_as_ckpt_path_is_an_error_with_the_remedy(
    pretrained: str, backbone: str, evaluate: Evaluate, image_sets: ImageSets
) -> None:
    task = ZeroShot(backbone, **ADAPTER)
    with pytest.raises(CheckpointError, match=r"mim_decoder.*--model\.init_from"):
        evaluate(task, [image_sets()], ckpt_path=pretrained)


def test_missing_tensors_are_an_error(backbone: str) -> None:
    task = ZeroShot(backbone, **ADAPTER)
    task.configure_model()
    whole = task.state_dict()
    adapter = {key: value for key, value in whole.items() if "adapter" in key}
    assert task.load_state_dict(adapter, strict=False) == ([], [])
    with pytest.raises(CheckpointError, match=r"lacks: model\.adapter"):
        task.load_state_dict({key: whole[key] for key in whole if "adapter" not in key}, strict=False)
    with pytest.raises(CheckpointError, match="other sizes: size mismatch for model.adapter.up.weight"):
        task.load_state_dict({**adapter, "model.adapter.up.weight": torch.zeros(1, 1)}, strict=False)


def test_random_backbone_is_kept_in_the_run_folder(
    fit: Fit, captions: Captions, tmp_path: Path, config: BackboneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "miniature", config)
    path = tmp_path / "run.ckpt"
    pretrain("random:miniature", fit, captions, path)
    kept = tmp_path / "run" / "backbone"
    checkpoint = read(path)
    assert checkpoint["contextblip"]["backbone_source"] == str(kept)
    assert checkpoint["contextblip"]["backbone_fingerprint"] == load_backbone(str(kept)).fingerprint
    assert parts(checkpoint) == {"adapter", "mim_decoder"}
    Pretraining.load_from_checkpoint(path, weights_only=True)
    assert read_adapted(path).backbone_source == str(kept)


def test_dry_run_leaves_no_random_backbone(
    fit: Fit, captions: Captions, tmp_path: Path, config: BackboneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "miniature", config)
    fit(Pretraining("random:miniature", **ADAPTER, **DECODER), [captions()], fast_dev_run=True)
    assert not (tmp_path / "run" / "backbone").exists()


def test_untrained_parts_are_told_of(
    backbone: str,
    evaluate: Evaluate,
    image_sets: ImageSets,
    pretrained: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    evaluate(ZeroShot(backbone, init_from=pretrained, **ADAPTER), [image_sets()])
    assert "random weights" not in caplog.text
    evaluate(ZeroShot(backbone, **ADAPTER), [image_sets()])
    assert "random weights in: adapter" in caplog.text


def test_configure_model_is_done_once(backbone: str) -> None:
    task = ZeroShot(backbone, **ADAPTER)
    task.configure_model()
    model = task.model
    task.configure_model()
    assert task.model is model


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mask_ratio", 0.0),
        ("mask_ratio", 1.0),
        ("refine_steps", 0),
        ("decoder_heads", 3),
        ("decoder_layers", 0),
        ("adapter_layers", []),
        ("adapter_layers", [1, 4]),
        ("downsampling_rate", 3),
        ("attention_layers", [3]),
        ("attention_heads", []),
        ("negatives_temperature", 0.0),
        ("betas", [0.9, 1.0]),
        ("weight_decay", -1.0),
        ("lr", 0.0),
        ("warmup_lr", 1.0),
        ("dropout", 1.0),
        ("image_size", 0),
    ],
)
def test_unusable_value_names_the_key(backbone: str, key: str, value: object) -> None:
    keys: dict[str, Any] = {**ADAPTER, **DECODER, key: value}
    with pytest.raises(ConfigurationError, match=key):
        Pretraining(backbone, **keys).configure_model()


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr_head", 0.0), ("lr_backbone", -1.0), ("gamma", 0.0), ("dropout", 1.0), ("betas", [0.9])],
)
def test_unusable_value_of_stage_one(backbone: str, key: str, value: object) -> None:
    keys: dict[str, Any] = {**ADAPTER, key: value}
    with pytest.raises(ConfigurationError, match=key):
        FineTuning(backbone, **keys)


@pytest.mark.parametrize(
    ("key", "value"),
    [("score", "both"), ("max_candidates", 0), ("inter_context_heads", 3), ("position_std", -1.0)],
)
def test_unusable_value_of_stage_two(backbone: str, key: str, value: object) -> None:
    keys: dict[str, Any] = {**ADAPTER, key: value}
    with pytest.raises(ConfigurationError, match=key):
        InterContext(backbone, **keys).configure_model()

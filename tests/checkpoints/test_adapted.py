"""What a stage trained: read from a checkpoint and put into the next stage's model, or refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from contextblip.checkpoints import (
    Backbone,
    check_metadata,
    checkpoint_metadata,
    fingerprint,
    load_adapted,
    load_backbone,
    read_adapted,
    save_backbone,
)
from contextblip.errors import CheckpointError
from contextblip.models import BACKBONE_PARTS, BackboneConfig, ContextBLIP

Write = Callable[..., Path]
Option = Any  # whatever a key of ContextBLIP.build takes
KEYS = {"adapter_layers": [1, 3], "downsampling_rate": 2, "decoder_layers": 1, "image_size": None}


@pytest.fixture
def backbone(tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]) -> Backbone:
    return load_backbone(str(save_backbone(tmp_path / "backbone", config, state_dict, None)))


@pytest.fixture
def write(tmp_path: Path, adapted_model: ContextBLIP, backbone: Backbone) -> Write:
    """Return what writes a run's checkpoint with the parts of the model that are asked for."""

    def checkpoint(*parts: str, **changes: object) -> Path:
        state = {f"model.{n}": t for n, t in adapted_model.state_dict().items() if n.split(".")[0] in parts}
        content = {
            "epoch": 1,
            "pytorch-lightning_version": "2.6.0",
            "state_dict": state,
            "hyper_parameters": KEYS,
            "contextblip": checkpoint_metadata(backbone),
        }
        path = tmp_path / "last.ckpt"
        torch.save(content | changes, path)
        return path

    return checkpoint


def build(config: BackboneConfig, backbone: Backbone, **parts: Option) -> ContextBLIP:
    torch.manual_seed(9)
    model = ContextBLIP.build(config, **{"adapter_layers": [1, 3], **parts})
    model.load_state_dict(backbone.state_dict, strict=False)
    return model


def assert_part(model: ContextBLIP, other: ContextBLIP, part: str) -> None:
    expected = {n: t for n, t in other.state_dict().items() if n.startswith(f"{part}.")}
    assert expected
    assert [n for n, t in expected.items() if not torch.equal(model.state_dict()[n], t)] == []


def test_a_checkpoint_says_what_it_stands_on(write: Write, backbone: Backbone) -> None:
    adapted = read_adapted(write("adapter", "mim_decoder"))
    assert adapted.kind == "checkpoint"
    assert adapted.hyper_parameters == KEYS
    assert (adapted.backbone_source, adapted.backbone_fingerprint) == (backbone.source, backbone.fingerprint)
    assert adapted.config == backbone.config
    assert {name.split(".")[0] for name in adapted.state_dict} == {"adapter", "mim_decoder"}


def test_metadata_is_plain(tmp_path: Path, backbone: Backbone) -> None:
    torch.save(checkpoint_metadata(backbone), tmp_path / "plain.pt")
    assert torch.load(tmp_path / "plain.pt", weights_only=True) == checkpoint_metadata(backbone)
    check_metadata(checkpoint_metadata(backbone), backbone, "run.ckpt")


def test_zero_shot_takes_the_adapter_and_reports_the_decoder(
    write: Write, config: BackboneConfig, backbone: Backbone, adapted_model: ContextBLIP
) -> None:
    model = build(config, backbone)
    report = load_adapted(model, read_adapted(write("adapter", "mim_decoder")), backbone=backbone)
    assert_part(model, adapted_model, "adapter")
    assert fingerprint(model.state_dict()) == backbone.fingerprint
    assert report.matched == 3
    decoder = {n for n in adapted_model.state_dict() if n.startswith("mim_decoder")}
    assert set(report.ignored) == decoder
    assert report.lines()[1] == f"left out: mim_decoder ({len(decoder)})"


def test_new_parts_may_be_missing_and_no_others(
    write: Write, config: BackboneConfig, backbone: Backbone, adapted_model: ContextBLIP
) -> None:
    model = build(config, backbone, score_head=True)
    path = write("adapter")
    with pytest.raises(CheckpointError, match=r"2 tensors that this stage needs are missing: score_head"):
        load_adapted(model, read_adapted(path), backbone=backbone)
    before = model.get_parameter("score_head.weight").clone()
    report = load_adapted(model, read_adapted(path), backbone=backbone, may_be_missing=["score_head."])
    assert torch.equal(model.get_parameter("score_head.weight"), before)
    assert_part(model, adapted_model, "adapter")
    assert "starts new: score_head" in report.notes


def test_a_new_part_that_is_there_by_half_is_an_error(
    write: Write, config: BackboneConfig, backbone: Backbone, adapted_model: ContextBLIP
) -> None:
    state = {
        f"model.{n}": t for n, t in adapted_model.state_dict().items() if n.startswith(("adapter", "score"))
    }
    state.pop("model.score_head.bias")
    model = build(config, backbone, score_head=True)
    adapted = read_adapted(write(state_dict=state))
    with pytest.raises(CheckpointError, match=r"missing: score_head.bias"):
        load_adapted(model, adapted, backbone=backbone, may_be_missing=["score_head"])


def test_another_backbone_is_an_error_that_names_both(
    tmp_path: Path, write: Write, config: BackboneConfig, backbone: Backbone, state_dict: dict[str, Tensor]
) -> None:
    changed = {**state_dict, "itm_head.bias": state_dict["itm_head.bias"] + 1}
    other = load_backbone(str(save_backbone(tmp_path / "other", config, changed, None)))
    model = build(config, other)
    before = model.get_parameter("adapter.up.weight").clone()
    with pytest.raises(CheckpointError) as caught:
        load_adapted(model, read_adapted(write("adapter")), backbone=other)
    message = str(caught.value)
    assert "\n" not in message
    for one in (backbone, other):
        assert f"{one.source} ({one.fingerprint[:19]})" in message
    assert torch.equal(model.get_parameter("adapter.up.weight"), before)


def test_a_checkpoint_with_its_backbone_fits_any(
    tmp_path: Path, write: Write, config: BackboneConfig, backbone: Backbone, adapted_model: ContextBLIP
) -> None:
    changed = {name: tensor + 1 for name, tensor in backbone.state_dict.items()}
    other = load_backbone(str(save_backbone(tmp_path / "other", config, changed, None)))
    model = build(config, other, score_head=True)
    load_adapted(model, read_adapted(write(*BACKBONE_PARTS, "adapter", "score_head")), backbone=other)
    assert fingerprint(model.state_dict()) == fingerprint(adapted_model.state_dict())
    assert_part(model, adapted_model, "score_head")


def test_an_adapter_fits_its_backbone_at_another_image_size(
    write: Write, backbone: Backbone, adapted_model: ContextBLIP
) -> None:
    larger = load_backbone(backbone.source, 32)
    model = build(larger.config, larger)
    load_adapted(model, read_adapted(write("adapter")), backbone=larger)
    assert_part(model, adapted_model, "adapter")
    report = load_adapted(model, read_adapted(write(*BACKBONE_PARTS, "adapter")), backbone=larger)
    assert report.resized == ["vision_encoder.pos_embed (1, 17, 24) -> (1, 65, 24)"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"downsampling_rate": 4}, r"adapter.down.0.weight is \(12, 24\), this model has \(6, 24\)"),
        ({"adapter_layers": [3]}, r"1 tensors have no place in this model: adapter.down.1.weight"),
        (
            {"adapter_layers": [1, 2, 3]},
            r"1 tensors that this stage needs are missing: adapter.down.2.weight",
        ),
    ],
)
def test_another_adapter_is_named_with_the_keys_it_had(
    write: Write, config: BackboneConfig, backbone: Backbone, parts: dict[str, Any], message: str
) -> None:
    model = build(config, backbone, **parts)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_adapted(model, read_adapted(write("adapter")), backbone=backbone)
    assert "trained with adapter_layers=[1, 3], downsampling_rate=2" in str(caught.value)


def test_without_hyper_parameters_the_keys_are_named(
    write: Write, config: BackboneConfig, backbone: Backbone
) -> None:
    model = build(config, backbone, downsampling_rate=4)
    with pytest.raises(CheckpointError, match="do adapter_layers, downsampling_rate, .* differ"):
        load_adapted(model, read_adapted(write("adapter", hyper_parameters={})), backbone=backbone)


def test_unknown_tensors_are_an_error(write: Write, config: BackboneConfig, backbone: Backbone) -> None:
    with pytest.raises(CheckpointError, match="no place in the model: stranger.weight"):
        read_adapted(write(state_dict={"model.stranger.weight": torch.zeros(1)}))
    deeper = {"model.vision_encoder.blocks.9.norm1.bias": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"no place in this model: vision_encoder.blocks.9.norm1.bias"):
        load_adapted(build(config, backbone), read_adapted(write(state_dict=deeper)), backbone=backbone)


def test_a_checkpoint_that_names_no_backbone(
    write: Write, config: BackboneConfig, backbone: Backbone
) -> None:
    adapted = read_adapted(write("adapter", contextblip=None))
    with pytest.raises(CheckpointError, match="neither holds its backbone nor names it"):
        load_adapted(build(config, backbone), adapted, backbone=backbone)


def test_later_formats_are_refused(write: Write, backbone: Backbone) -> None:
    with pytest.raises(CheckpointError, match="format 2.*update contextblip"):
        read_adapted(write("adapter", contextblip={**checkpoint_metadata(backbone), "format_version": 2}))


def test_a_checkpoint_without_backbone_is_none(write: Write, backbone: Backbone) -> None:
    with pytest.raises(CheckpointError, match=f"trained on {backbone.source}.*--model.init_from"):
        load_backbone(str(write("adapter")))


@pytest.mark.parametrize("known", [True, False])
def test_a_checkpoint_with_backbone_is_one(
    write: Write, backbone: Backbone, adapted_model: ContextBLIP, known: bool
) -> None:
    metadata = checkpoint_metadata(backbone)
    if not known:  # the heads then come from the backbone that it names
        del metadata["backbone_config"]
    found = load_backbone(str(write(*BACKBONE_PARTS, "adapter", contextblip=metadata)))
    assert found.config == backbone.config
    assert found.fingerprint == fingerprint(adapted_model.state_dict())
    lost = metadata | {"backbone_source": "no/such/folder"}
    path = write(*BACKBONE_PARTS, contextblip=lost)
    if known:
        assert load_backbone(str(path)).config == backbone.config
    else:
        with pytest.raises(CheckpointError, match="shows no number of heads"):
            load_backbone(str(path))


def test_an_absent_checkpoint_names_its_neighbours(write: Write) -> None:
    path = write("adapter")
    with pytest.raises(CheckpointError, match=rf"did you mean {path}\?"):
        read_adapted(path.with_name("lst.ckpt"))


def test_sizes_of_another_backbone_are_refused(
    write: Write, config: BackboneConfig, backbone: Backbone
) -> None:
    model = ContextBLIP.build(replace(config, projection_width=4), adapter_layers=[1, 3])
    with pytest.raises(CheckpointError, match=r"vision_proj.weight is \(8, 24\), this model has \(4, 24\)"):
        load_adapted(model, read_adapted(write(*BACKBONE_PARTS, "adapter")), backbone=backbone)

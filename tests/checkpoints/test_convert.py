"""Conversion: every form into every other without losing a bit, and nothing overwritten."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from contextblip.checkpoints import (
    AdaptedWeights,
    Backbone,
    checkpoint_metadata,
    convert,
    fingerprint,
    load_adapted,
    load_backbone,
    read_adapted,
    save_backbone,
)
from contextblip.checkpoints.convert import Form
from contextblip.errors import CheckpointError, ConfigurationError
from contextblip.models import BACKBONE_PARTS, BackboneConfig, ContextBLIP

FORMS: tuple[Form, ...] = ("contextblip", "salesforce", "huggingface")


@pytest.fixture
def backbone(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor], vocabulary: Path
) -> Backbone:
    return load_backbone(str(save_backbone(tmp_path / "backbone", config, state_dict, vocabulary)))


def checkpoint(path: Path, model: ContextBLIP, backbone: Backbone, *parts: str) -> Path:
    content: dict[str, Any] = {
        "state_dict": {f"model.{n}": t for n, t in model.state_dict().items() if n.split(".")[0] in parts},
        "hyper_parameters": {"adapter_layers": [1, 3], "lr": 1e-4},
        "contextblip": checkpoint_metadata(backbone),
    }
    torch.save(content, path)
    return path


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])] == []


def where(folder: Path, form: Form) -> str:
    return str(folder / (f"{form}.pth" if form == "salesforce" else form))


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMS, FORMS)))
def test_round_trips_lose_no_bit(
    tmp_path: Path, backbone: Backbone, config: BackboneConfig, first: Form, second: Form
) -> None:
    one, two, back = (tmp_path / name for name in ("one", "two", "back"))
    convert(backbone.source, where(one, first), first)
    convert(where(one, first), where(two, second), second)
    report = convert(where(two, second), str(back), "contextblip")
    found = load_backbone(str(back))
    assert found.config == config
    assert_equal(found.state_dict, backbone.state_dict)
    assert report.matched == len(backbone.state_dict)
    if "salesforce" not in (first, second):
        assert found.vocabulary is not None
        assert found.vocabulary.read_text() == (Path(backbone.source) / "vocab.txt").read_text()


def test_an_adapted_checkpoint_becomes_a_folder_that_stands_alone(
    tmp_path: Path, backbone: Backbone, config: BackboneConfig, adapted_model: ContextBLIP
) -> None:
    src = checkpoint(tmp_path / "last.ckpt", adapted_model, backbone, "adapter", "mim_decoder")
    convert(str(src), str(tmp_path / "whole"), "contextblip")
    adapted: AdaptedWeights = read_adapted(tmp_path / "whole")
    assert adapted.kind == "folder"
    assert adapted.hyper_parameters == {"adapter_layers": [1, 3], "lr": 1e-4}
    assert adapted.backbone_fingerprint == backbone.fingerprint
    parts = {n: t for n, t in adapted_model.state_dict().items() if n.startswith(("adapter", "mim_decoder"))}
    assert_equal(adapted.state_dict, {**backbone.state_dict, **parts})
    read = load_backbone(str(tmp_path / "whole"))
    assert read.fingerprint == backbone.fingerprint
    assert set(read.report.ignored) == parts.keys()
    model = ContextBLIP.build(config, adapter_layers=[1, 3])
    load_adapted(model, adapted, backbone=read)
    assert torch.equal(model.get_parameter("adapter.up.weight"), parts["adapter.up.weight"])


@pytest.mark.parametrize("form", FORMS[1:])
def test_forms_without_a_place_for_the_adapter_say_so(
    tmp_path: Path, backbone: Backbone, adapted_model: ContextBLIP, form: Form
) -> None:
    src = checkpoint(
        tmp_path / "last.ckpt", adapted_model, backbone, *BACKBONE_PARTS, "adapter", "score_head"
    )
    report = convert(str(src), where(tmp_path, form), form)
    assert any("no place for adapter, score_head" in note for note in report.notes)
    assert {"adapter.up.weight", "score_head.bias"} <= set(report.ignored)
    # the stage trained the backbone: its values are written, not those it started from
    mark = load_backbone(where(tmp_path, form)).fingerprint
    assert mark == fingerprint(adapted_model.state_dict())
    assert mark != backbone.fingerprint


def test_a_trained_backbone_keeps_its_vocabulary(
    tmp_path: Path, backbone: Backbone, adapted_model: ContextBLIP
) -> None:
    src = checkpoint(tmp_path / "last.ckpt", adapted_model, backbone, *BACKBONE_PARTS, "temperature")
    convert(str(src), str(tmp_path / "trained"), "contextblip")
    found = load_backbone(str(tmp_path / "trained"))
    assert found.fingerprint == fingerprint(adapted_model.state_dict())
    assert found.vocabulary == tmp_path / "trained" / "vocab.txt"


def test_the_named_backbone_must_be_the_same(
    tmp_path: Path, backbone: Backbone, config: BackboneConfig, adapted_model: ContextBLIP
) -> None:
    src = checkpoint(tmp_path / "last.ckpt", adapted_model, backbone, "adapter")
    changed = {name: tensor + 1 for name, tensor in backbone.state_dict.items()}
    save_backbone(Path(backbone.source), config, changed, None)
    with pytest.raises(CheckpointError, match="trained on the backbone"):
        convert(str(src), str(tmp_path / "whole"), "contextblip")
    assert not (tmp_path / "whole").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_is_overwritten(tmp_path: Path, backbone: Backbone, form: Form, kind: str) -> None:
    target = tmp_path / "there"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
    with pytest.raises(CheckpointError, match="there: exists and is not overwritten"):
        convert(backbone.source, str(target), form)
    assert target.read_text() == "mine" if kind == "file" else list(target.iterdir()) == []


def test_a_failed_conversion_leaves_nothing(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("contextblip.checkpoints.salesforce.torch.save", full)
    with pytest.raises(OSError, match="no space"):
        convert(backbone.source, str(tmp_path / "out" / "blip.pth"), "salesforce")
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_forms_and_sources(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="choose from contextblip, salesforce, huggingface"):
        convert("random:miniature", str(tmp_path / "x"), "onnx")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(CheckpointError, match="no file or folder"):
        convert(str(tmp_path / "absent"), str(tmp_path / "x"), "contextblip")

"""The fingerprint: of the backbone's values alone, whatever the file format."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from contextblip.checkpoints import convert, fingerprint, load_backbone, save_backbone
from contextblip.models import BackboneConfig, ContextBLIP


def test_every_format_gives_the_same(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    ours = save_backbone(tmp_path / "ours", config, state_dict, None)
    convert(str(ours), str(tmp_path / "blip.pth"), "salesforce")
    convert(str(ours), str(tmp_path / "hf"), "huggingface")
    marks = {load_backbone(str(tmp_path / name)).fingerprint for name in ("ours", "blip.pth", "hf")}
    assert marks == {fingerprint(state_dict)}


def test_only_the_backbone_counts(adapted_model: ContextBLIP) -> None:
    state = dict(adapted_model.state_dict())
    bare = {
        name: t for name, t in state.items() if not name.startswith(("adapter", "mim_", "score_", "inter_"))
    }
    assert len(bare) < len(state)
    bare["temperature"] = torch.tensor(1.0)
    assert fingerprint(bare) == fingerprint(state)


@pytest.mark.parametrize("name", ["itm_head.bias", "vision_encoder.pos_embed"])
def test_every_value_counts(state_dict: dict[str, Tensor], name: str) -> None:
    before = fingerprint(state_dict)
    state_dict[name] = state_dict[name].clone()
    state_dict[name].view(-1)[-1] += 1e-3
    assert fingerprint(state_dict) != before


def test_names_and_shapes_count(state_dict: dict[str, Tensor]) -> None:
    reshaped = {**state_dict, "itm_head.weight": state_dict["itm_head.weight"].T.reshape(16, 2)}
    renamed = {name.replace("text_proj.bias", "text_proj.bios"): t for name, t in state_dict.items()}
    assert len({fingerprint(state) for state in (state_dict, reshaped, renamed)}) == 3


def test_memory_layout_and_half_precision_of_exact_values_do_not_count(state_dict: dict[str, Tensor]) -> None:
    exact = {name: tensor.half().float() for name, tensor in state_dict.items()}
    laid_out = {name: t.t().contiguous().t() if t.ndim == 2 else t for name, t in exact.items()}
    halves = {name: tensor.half() for name, tensor in exact.items()}
    assert fingerprint(exact) == fingerprint(laid_out) == fingerprint(halves)

"""A backbone of two small encoders of different widths, and the same with adapted parts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contextblip.models import BackboneConfig, ContextBLIP


@pytest.fixture
def config() -> BackboneConfig:
    return BackboneConfig(
        image_size=16,
        patch_size=4,
        vision_width=24,
        vision_layers=3,
        vision_heads=3,
        vision_mlp_width=40,
        text_width=16,
        text_layers=2,
        text_heads=2,
        text_mlp_width=36,
        vocab_size=20,
        max_positions=12,
        projection_width=8,
        enc_token_id=19,
    )


@pytest.fixture
def state_dict(config: BackboneConfig) -> dict[str, Tensor]:
    """Return a plain backbone under our names, with a temperature that is no default."""
    torch.manual_seed(0)
    tensors = dict(ContextBLIP.build(config, adapter_layers=[]).state_dict())
    # biases start at zero and norms at one: a mapping that swaps them would go unseen
    tensors = {name: torch.randn_like(tensor) for name, tensor in tensors.items()}
    tensors["temperature"] = torch.tensor(0.0432)
    return tensors


@pytest.fixture
def adapted_model(config: BackboneConfig) -> ContextBLIP:
    torch.manual_seed(1)
    return ContextBLIP.build(
        config,
        adapter_layers=[1, 3],
        mim_decoder=True,
        decoder_layers=1,
        decoder_heads=2,
        score_head=True,
        inter_context=True,
        inter_context_layers=1,
        inter_context_heads=2,
        max_candidates=4,
    )


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """Return a vocabulary file with 18 lines."""
    path = tmp_path / "words" / "list.txt"
    path.parent.mkdir()
    path.write_text("".join(f"word{i}\n" for i in range(18)))
    return path


def _both(*modules: str) -> list[str]:
    return [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]


def _text_layer(prefix: str, cross: bool) -> list[str]:
    attentions = ["attention", "crossattention"] if cross else ["attention"]
    parts = ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
    modules = [f"{prefix}.{attention}.{part}" for attention in attentions for part in parts]
    rest = ("intermediate.dense", "output.dense", "output.LayerNorm")
    return _both(*modules, *(f"{prefix}.{part}" for part in rest))


@pytest.fixture
def text_layer_names() -> Callable[[str, bool], list[str]]:
    """Return what names the tensors of one layer of Salesforce's BERT, with or without cross-attention."""
    return _text_layer


@pytest.fixture
def salesforce_names(config: BackboneConfig) -> set[str]:
    """Return the names in Salesforce's files, written out from its code and not from the reader's tables."""
    names = ["visual_encoder.cls_token", "visual_encoder.pos_embed"]
    names += _both("visual_encoder.patch_embed.proj", "visual_encoder.norm")
    for block in range(config.vision_layers):
        parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        names += _both(*(f"visual_encoder.blocks.{block}.{part}" for part in parts))
    embeddings = "text_encoder.embeddings"
    names += [f"{embeddings}.word_embeddings.weight", f"{embeddings}.position_embeddings.weight"]
    names += [f"{embeddings}.position_ids", *_both(f"{embeddings}.LayerNorm")]
    for layer in range(config.text_layers):
        names += _text_layer(f"text_encoder.encoder.layer.{layer}", True)
    return {*names, *_both("vision_proj", "text_proj", "itm_head"), "temp"}

"""Salesforce's BLIP checkpoints (Li et al., 2022): pre-training and retrieval kinds, read and written."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contextblip.checkpoints.files import write_file, write_safetensors
from contextblip.checkpoints.names import (
    TEMPERATURE,
    NameTable,
    Pair,
    is_backbone_name,
    prefixed,
    with_parameters,
)
from contextblip.checkpoints.structures import StateDict
from contextblip.errors import CheckpointError
from contextblip.models.config import BackboneConfig

DECODER_WORDS = "text_decoder.bert.embeddings.word_embeddings.weight"
WORDS = "text_encoder.embeddings.word_embeddings.weight"
POSITION_IDS = "text_encoder.embeddings.position_ids"
CONFIG_KEY = "contextblip_config"
IGNORED = re.compile(r"position_ids$|^\w+_m\.|_queue$|ptr|^text_decoder\.")

_SELF_ATTENTION: list[Pair] = [
    ("self_attention.query", "attention.self.query"),
    ("self_attention.key", "attention.self.key"),
    ("self_attention.value", "attention.self.value"),
    ("self_attention.output", "attention.output.dense"),
    ("self_attention.norm", "attention.output.LayerNorm"),
]
_CROSS_ATTENTION: list[Pair] = [
    (ours.replace("self_", "cross_"), f"cross{theirs}") for ours, theirs in _SELF_ATTENTION
]
_MLP: list[Pair] = [
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
    ("mlp.norm", "output.LayerNorm"),
]
# A layer of Salesforce's BERT; the published ContextBLIP code and transformers call its parts the same
TEXT_LAYER: list[Pair] = with_parameters(_SELF_ATTENTION + _CROSS_ATTENTION + _MLP)
TEXT_ENCODER: list[Pair] = [
    ("text_encoder.word_embeddings.weight", WORDS),
    ("text_encoder.position_embeddings.weight", "text_encoder.embeddings.position_embeddings.weight"),
    *with_parameters([("text_encoder.norm", "text_encoder.embeddings.LayerNorm")]),
    *prefixed("text_encoder.layers.{n}.", "text_encoder.encoder.layer.{n}.", TEXT_LAYER),
]
HEADS: list[Pair] = with_parameters([(name, name) for name in ("vision_proj", "text_proj", "itm_head")])
_BLOCK_PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_BLOCK: list[Pair] = [(name, name) for name in _BLOCK_PARTS]
PAIRS: list[Pair] = [
    ("vision_encoder.cls_token", "visual_encoder.cls_token"),
    ("vision_encoder.pos_embed", "visual_encoder.pos_embed"),
    *with_parameters(
        [
            ("vision_encoder.patch_embed", "visual_encoder.patch_embed.proj"),
            ("vision_encoder.norm", "visual_encoder.norm"),
        ]
    ),
    *prefixed("vision_encoder.blocks.{n}.", "visual_encoder.blocks.{n}.", with_parameters(_BLOCK)),
    *TEXT_ENCODER,
    *HEADS,
    (TEMPERATURE, "temp"),
]
TABLE = NameTable(PAIRS)


def to_ours(tensors: Mapping[str, Tensor], source: str) -> tuple[StateDict, list[str], list[str]]:
    """Translate a Salesforce state dict.

    As Salesforce's loader does for ContextBLIP, the text decoder's word embeddings replace the text encoder's
    where both are there. Momentum copies, queues and the text decoder are left out.

    Args:
        tensors: Tensors in Salesforce's names.
        source: The file, for the message.

    Returns:
        Tensors in our names, the names left out, and notes.

    Raises:
        CheckpointError: A tensor is neither the backbone's nor a known leftover.
    """
    ignored = [name for name in tensors if IGNORED.search(name)]
    state = TABLE.translate(tensors, ignored, source)
    if DECODER_WORDS not in tensors or WORDS not in tensors:
        return state, ignored, []
    state["text_encoder.word_embeddings.weight"] = tensors[DECODER_WORDS]
    ignored.remove(DECODER_WORDS)
    return state, ignored, [f"word embeddings taken from {DECODER_WORDS}, as Salesforce's loader does"]


def from_ours(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Translate our backbone tensors and ``temperature`` to Salesforce's names; other parts are left out."""
    translated: StateDict = {}
    for name, tensor in state_dict.items():
        if (theirs := TABLE.to_theirs(name)) is not None and (is_backbone_name(name) or name == TEMPERATURE):
            translated[theirs] = tensor.detach().cpu().contiguous()
    return translated


def stored_config(extras: Mapping[str, Any], source: str) -> BackboneConfig | None:
    """Return the sizes that `save_salesforce` stored beside the weights.

    Args:
        extras: What a file holds beside its tensors: other keys, or a safetensors header.
        source: The file, for the message.

    Returns:
        The sizes, ``None`` where Salesforce wrote the file.

    Raises:
        CheckpointError: The stored sizes are damaged.
    """
    values = extras.get(CONFIG_KEY)
    if values is None:
        return None
    try:
        return BackboneConfig.from_dict(json.loads(values) if isinstance(values, str) else values, source)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: {CONFIG_KEY} is damaged ({error})") from error


def save_salesforce(path: Path, config: BackboneConfig, state_dict: Mapping[str, Tensor]) -> Path:
    """Write a file that Salesforce's ``load_checkpoint`` reads.

    The sizes are stored beside the weights, since no tensor shows the heads; Salesforce's code ignores them.

    Args:
        path: ``.safetensors``, or any other name for a file of ``torch.save``.
        config: Sizes.
        state_dict: Tensors in our names.

    Returns:
        The file.

    Raises:
        CheckpointError: The file exists.
    """
    tensors = from_ours(state_dict)
    tensors[POSITION_IDS] = torch.arange(config.max_positions).expand(1, -1).clone()
    if path.suffix == ".safetensors":
        header = {CONFIG_KEY: json.dumps(config.to_dict())}
        return write_file(path, lambda fresh: write_safetensors(fresh, tensors, header))
    content = {"model": tensors, CONFIG_KEY: config.to_dict()}
    return write_file(path, lambda fresh: torch.save(content, fresh))

"""Hugging Face's `BlipForImageTextRetrieval`: folders and hub ids, read and written."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contextblip.checkpoints.files import read_json, read_tensors, write_folder, write_json, write_safetensors
from contextblip.checkpoints.names import (
    TEMPERATURE,
    NameTable,
    Pair,
    prefixed,
    with_parameters,
)
from contextblip.checkpoints.native import CONFIG_FILE, WEIGHTS_FILE, copy_vocabulary, find_vocabulary
from contextblip.checkpoints.salesforce import HEADS, TEXT_ENCODER
from contextblip.checkpoints.sizes import infer_config
from contextblip.checkpoints.structures import RawBackbone
from contextblip.errors import CheckpointError
from contextblip.models.config import BackboneConfig

ARCHITECTURE = "BlipForImageTextRetrieval"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHT_FILES = (WEIGHTS_FILE, "pytorch_model.bin")
_SMALL_FILES = ("*.json", "vocab.txt")
# What transformers takes where a config.json does not say
_TEXT_HEADS, _VISION_HEADS, _VISION_EPS, _TEXT_EPS, _ACTIVATION = 8, 12, 1e-5, 1e-12, "gelu"
_OUR_VISION_EPS, _OUR_TEXT_EPS = 1e-6, 1e-12

_BLOCK: list[Pair] = [
    ("norm1", "layer_norm1"),
    ("attn.qkv", "self_attn.qkv"),
    ("attn.proj", "self_attn.projection"),
    ("norm2", "layer_norm2"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
]
TABLE = NameTable(
    [
        ("vision_encoder.cls_token", "vision_model.embeddings.class_embedding"),
        ("vision_encoder.pos_embed", "vision_model.embeddings.position_embedding"),
        *with_parameters(
            [
                ("vision_encoder.patch_embed", "vision_model.embeddings.patch_embedding"),
                ("vision_encoder.norm", "vision_model.post_layernorm"),
            ]
        ),
        *prefixed("vision_encoder.blocks.{n}.", "vision_model.encoder.layers.{n}.", with_parameters(_BLOCK)),
        *TEXT_ENCODER,
        *HEADS,
    ]
)


def is_huggingface(values: Mapping[str, Any]) -> bool:
    """Tell whether a ``config.json`` is transformers' and not ours."""
    return "model_type" in values or "architectures" in values


def read_folder(folder: Path, values: Mapping[str, Any], *, shapes_only: bool = False) -> RawBackbone:
    """Read a folder that transformers wrote.

    Args:
        folder: The folder.
        values: Content of its ``config.json``.
        shapes_only: Leave the values on disk.

    Returns:
        The backbone as found.

    Raises:
        CheckpointError: The folder holds another model, no weights, or unknown tensors.
    """
    architectures = values.get("architectures") or [ARCHITECTURE]
    if values.get("model_type", "blip") != "blip" or ARCHITECTURE not in architectures:
        raise CheckpointError(
            f"{folder}: holds {', '.join(architectures)} ({values.get('model_type')}), but only "
            f"{ARCHITECTURE} has all parts of the backbone"
        )
    tensors, metadata = _read_weights(folder, shapes_only)
    ignored = [name for name in tensors if name.endswith("position_ids")]
    state = TABLE.translate(tensors, ignored, str(folder))
    text, vision = _part(values, "text_config"), _part(values, "vision_config")
    config = infer_config(
        state,
        vision.get("num_attention_heads", _VISION_HEADS),
        text.get("num_attention_heads", _TEXT_HEADS),
        str(folder),
    )
    notes = _check_activations(folder, text, vision)
    raw = RawBackbone(state, config, find_vocabulary(folder), ignored, notes)
    if TEMPERATURE in metadata:
        raw.state_dict[TEMPERATURE] = torch.tensor(float(metadata[TEMPERATURE]))
    return raw


def save_huggingface(
    folder: Path, config: BackboneConfig, state_dict: Mapping[str, Tensor], vocabulary: Path | None
) -> Path:
    """Write a folder that ``BlipForImageTextRetrieval.from_pretrained`` reads.

    Args:
        folder: Where to write.
        config: Sizes.
        state_dict: Tensors in our names; parts that the class lacks are left out, ``temperature`` goes to the
            header.
        vocabulary: Vocabulary file or folder to copy.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder exists.
    """
    tensors = {theirs: t for name, t in state_dict.items() if (theirs := TABLE.to_theirs(name)) is not None}
    temperature = state_dict.get(TEMPERATURE)
    header = {} if temperature is None else {TEMPERATURE: repr(float(temperature))}

    def write(fresh: Path) -> None:
        write_json(fresh / CONFIG_FILE, _config_json(config))
        write_safetensors(fresh / WEIGHTS_FILE, tensors, header)
        copy_vocabulary(vocabulary, fresh)

    return write_folder(folder, write)


def fetch(repo: str) -> Path:
    """Find a hub repository in the local cache or download it.

    Args:
        repo: ``org/name``.

    Returns:
        The folder it lies in.

    Raises:
        CheckpointError: It cannot be had.
    """
    from huggingface_hub import snapshot_download  # costs a second that other sources need not pay

    try:
        folder = Path(snapshot_download(repo, allow_patterns=[*_SMALL_FILES, "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(repo, allow_patterns=[*_SMALL_FILES, "*.bin"]))
    except Exception as error:  # the hub raises its own, the HTTP library's and the system's errors
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise CheckpointError(
            f"backbone {repo!r}: no such folder here, and the Hugging Face hub does not give it ({reason}); "
            f"copy the repository into a folder and name that, or unset HF_HUB_OFFLINE if it is set"
        ) from error
    return folder


def _read_weights(folder: Path, shapes_only: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Read one file of weights, or all that an index of shards names."""
    for name in _WEIGHT_FILES:
        if (folder / name).is_file():
            return read_tensors(folder / name, shapes_only=shapes_only)
        index = folder / f"{name}.index.json"
        if index.is_file():
            tensors: dict[str, Any] = {}
            for shard in _shards(index):
                tensors |= read_tensors(folder / shard, shapes_only=shapes_only)[0]
            return tensors, {}
    raise CheckpointError(f"{folder}: no weights; looked for {' and '.join(_WEIGHT_FILES)}, also in shards")


def _shards(index: Path) -> list[str]:
    """List the files that an index names, all of them beside it."""
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else [None]
    if odd := [
        name for name in names if not isinstance(name, str) or name == ".." or Path(name).name != name
    ]:
        raise CheckpointError(f"{index}: {odd[0]!r} is no name of a file beside it; download it again")
    return sorted(map(str, set(names)))


def _part(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    part = values.get(key) or {}
    if not isinstance(part, dict):
        raise CheckpointError(f"{CONFIG_FILE}: {key} is no object")
    return part


def _check_activations(folder: Path, text: Mapping[str, Any], vision: Mapping[str, Any]) -> list[str]:
    """Refuse another activation and note another epsilon, which changes outputs by rounding only."""
    for key, part in (("text_config", text), ("vision_config", vision)):
        if (activation := part.get("hidden_act", _ACTIVATION)) != _ACTIVATION:
            raise CheckpointError(f"{folder}: {key}.hidden_act is {activation!r}, BLIP has {_ACTIVATION!r}")
    found = (
        ("vision", vision.get("layer_norm_eps", _VISION_EPS), _OUR_VISION_EPS),
        ("text", text.get("layer_norm_eps", _TEXT_EPS), _OUR_TEXT_EPS),
    )
    return [
        f"{part} LayerNorm epsilon {theirs:g} in its config, {ours:g} here as in Salesforce's BLIP"
        for part, theirs, ours in found
        if theirs != ours
    ]


def _config_json(config: BackboneConfig) -> dict[str, Any]:
    """Return transformers' ``config.json`` for these sizes."""
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "blip",
        "image_text_hidden_size": config.projection_width,
        "projection_dim": config.projection_width,
        "text_config": {
            "model_type": "blip_text_model",
            "hidden_size": config.text_width,
            "encoder_hidden_size": config.vision_width,
            "intermediate_size": config.text_mlp_width,
            "num_hidden_layers": config.text_layers,
            "num_attention_heads": config.text_heads,
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.max_positions,
            "pad_token_id": config.pad_token_id,
            "bos_token_id": config.vocab_size - 2,
            "hidden_act": _ACTIVATION,
            "layer_norm_eps": _OUR_TEXT_EPS,
            "is_decoder": True,
        },
        "vision_config": {
            "model_type": "blip_vision_model",
            "hidden_size": config.vision_width,
            "intermediate_size": config.vision_mlp_width,
            "num_hidden_layers": config.vision_layers,
            "num_attention_heads": config.vision_heads,
            "image_size": config.image_size,
            "patch_size": config.patch_size,
            "hidden_act": _ACTIVATION,
            "layer_norm_eps": _OUR_VISION_EPS,
        },
    }

"""Sizes of a backbone read from its tensors, and position embeddings fitted to another image size."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from contextblip.checkpoints.fingerprint import fingerprint
from contextblip.checkpoints.names import TEMPERATURE, few, is_backbone_name
from contextblip.checkpoints.structures import Backbone, LoadReport, RawBackbone, StateDict
from contextblip.errors import CheckpointError, ConfigurationError
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import ContextBLIP

POSITIONS = "vision_encoder.pos_embed"
# BLIP learns its temperature from here; files without one (Hugging Face, published ContextBLIP) get it
DEFAULT_TEMPERATURE = 0.07
_HEAD_WIDTH = 64  # of every ViT and BERT that BLIP was published with


def infer_config(
    state_dict: Mapping[str, Tensor],
    vision_heads: int | None = None,
    text_heads: int | None = None,
    source: str = "state dict",
) -> BackboneConfig:
    """Read the sizes of a backbone from its tensors.

    Args:
        state_dict: Tensors in our names, ``meta`` ones too; adapted parts may be among them.
        vision_heads: Heads of a ViT block, which no tensor shows; ``None`` means width / 64.
        text_heads: Heads of a text layer; ``None`` means width / 64.
        source: Where the tensors come from, for the message.

    Returns:
        The sizes; [ENC] is the last row of the vocabulary, as BLIP's tokenizer adds it.

    Raises:
        CheckpointError: A tensor that shows a size is missing, or the sizes contradict each other.
    """
    try:
        width, _, patch_size, _ = state_dict["vision_encoder.patch_embed.weight"].shape
        positions = state_dict[POSITIONS].shape[1]
        vocab_size, text_width = state_dict["text_encoder.word_embeddings.weight"].shape
        vision_mlp = state_dict["vision_encoder.blocks.0.mlp.fc1.weight"].shape[0]
        text_mlp = state_dict["text_encoder.layers.0.mlp.fc1.weight"].shape[0]
        max_positions = state_dict["text_encoder.position_embeddings.weight"].shape[0]
        projection = state_dict["vision_proj.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(f"{source}: no BLIP backbone: {error.args[0]} is missing") from error
    grid = math.isqrt(positions - 1)
    if grid * grid != positions - 1:
        raise CheckpointError(f"{source}: {positions - 1} patch positions do not form a square image")
    return BackboneConfig(
        image_size=grid * patch_size,
        patch_size=patch_size,
        vision_width=width,
        vision_layers=_count_layers("vision_encoder.blocks", state_dict),
        vision_heads=_heads("vision_heads", vision_heads, width, source),
        vision_mlp_width=vision_mlp,
        text_width=text_width,
        text_layers=_count_layers("text_encoder.layers", state_dict),
        text_heads=_heads("text_heads", text_heads, text_width, source),
        text_mlp_width=text_mlp,
        vocab_size=vocab_size,
        max_positions=max_positions,
        projection_width=projection,
        enc_token_id=vocab_size - 1,
    )


def expected_shapes(config: BackboneConfig) -> dict[str, torch.Size]:
    """Return the shape of each tensor that a backbone of these sizes has, ``temperature`` apart."""
    with torch.device("meta"):
        model = ContextBLIP.build(config, adapter_layers=[])
    return {name: tensor.shape for name, tensor in model.state_dict().items() if is_backbone_name(name)}


def with_image_size(config: BackboneConfig, image_size: int | None) -> BackboneConfig:
    """Return the sizes at another image size.

    Args:
        config: Sizes of the backbone.
        image_size: Side in pixels; ``None`` keeps the backbone's own.

    Returns:
        The sizes with that side.

    Raises:
        ConfigurationError: The side is no multiple of the patch.
    """
    if image_size is None:
        return config
    if image_size < config.patch_size or image_size % config.patch_size:
        raise ConfigurationError(
            f"image_size is {image_size}, but must be a multiple of the patch size {config.patch_size}"
        )
    return dataclasses.replace(config, image_size=image_size)


def resize_positions(pos_embed: Tensor, grid_size: int) -> Tensor:
    """Fit the ViT's position embeddings to another number of patches.

    Bicubic with ``align_corners=False``, the [CLS] row kept, as Salesforce's loader does.

    Args:
        pos_embed: ``(1, 1 + P, D)``, P a square.
        grid_size: Patches along one side wanted.

    Returns:
        ``(1, 1 + grid_size², D)``.
    """
    cls_row, patches = pos_embed[:, :1], pos_embed[:, 1:]
    side = math.isqrt(patches.shape[1])
    grid = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(grid_size, grid_size), mode="bicubic", align_corners=False)
    return torch.cat([cls_row, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def check_shapes(tensors: Mapping[str, Tensor], config: BackboneConfig, source: str) -> None:
    """Check that a backbone is complete and has the sizes it should have.

    Args:
        tensors: Tensors in our names; ``temperature`` and adapted parts are not looked at.
        config: Sizes.
        source: Where the tensors come from, for the message.

    Raises:
        CheckpointError: Tensors are missing, unknown, or of another shape.
    """
    expected = expected_shapes(config)
    found = {name: tensor.shape for name, tensor in tensors.items() if is_backbone_name(name)}
    if missing := expected.keys() - found.keys():
        raise CheckpointError(f"{source}: {len(missing)} backbone tensors are missing: {few(missing)}")
    if unknown := found.keys() - expected.keys():
        raise CheckpointError(f"{source}: {len(unknown)} unknown tensors: {few(unknown)}")
    wrong = [name for name, shape in expected.items() if found[name] != shape]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{source}: {len(wrong)} tensors differ from the sizes in its config: {name} is "
            f"{tuple(found[name])}, expected {tuple(expected[name])}"
        )


def fit(raw: RawBackbone, source: str, image_size: int | None) -> Backbone:
    """Check what a reader found and bring it to fp32 and to the image size asked for.

    Args:
        raw: What the reader found.
        source: As the user named it.
        image_size: Side in pixels; ``None`` keeps the backbone's own.

    Returns:
        The backbone; its report lists what was resized.

    Raises:
        CheckpointError: The tensors do not form a backbone.
        ConfigurationError: The image size is no multiple of the patch.
    """
    config = with_image_size(raw.config, image_size)
    check_shapes(raw.state_dict, raw.config, source)
    state: StateDict = {name: t.float() for name, t in raw.state_dict.items() if is_backbone_name(name)}
    report = LoadReport(source, len(state), ignored=list(raw.ignored), notes=list(raw.notes))
    mark = fingerprint(state)
    if config.image_size != raw.config.image_size:
        before = state[POSITIONS]
        state[POSITIONS] = resize_positions(before, config.grid_size)
        report.resized.append(
            f"{POSITIONS} {tuple(before.shape)} -> {tuple(state[POSITIONS].shape)} "
            f"({raw.config.image_size} -> {config.image_size} px)"
        )
    temperature = raw.state_dict.get(TEMPERATURE, torch.tensor(DEFAULT_TEMPERATURE))
    state[TEMPERATURE] = temperature.float().reshape(())
    return Backbone(config, state, raw.vocabulary, source, mark, report)


def _count_layers(prefix: str, names: Iterable[str]) -> int:
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return 1 + max(int(match[1]) for name in names if (match := pattern.match(name)))


def _heads(key: str, given: int | None, width: int, source: str) -> int:
    if given is None and width % _HEAD_WIDTH:
        raise CheckpointError(
            f"{source}: no tensor shows the number of attention heads, and width {width} is no multiple of "
            f"{_HEAD_WIDTH} as in every published BLIP; use a form that has a config.json"
        )
    heads = width // _HEAD_WIDTH if given is None else given
    if heads < 1 or width % heads:
        raise CheckpointError(f"{source}: {key} {heads} does not divide the width {width}")
    return heads

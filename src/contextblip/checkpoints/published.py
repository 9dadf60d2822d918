"""Checkpoints of the published ContextBLIP code: pre-training, stage one and stage two."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from contextblip.checkpoints.names import NameTable, Pair, prefixed, with_parameters
from contextblip.checkpoints.salesforce import IGNORED, PAIRS, TEXT_LAYER
from contextblip.checkpoints.structures import AdaptedKind, StateDict
from contextblip.errors import CheckpointError

BLIP_PREFIX = "pretrained_blip."
# each later stage of the published code wraps the model of the one before as `blip`
_WRAPPER = re.compile(r"^(?:blip\.)*")
_KINDS: tuple[AdaptedKind, ...] = ("published-pretraining", "published-stage1", "published-stage2")

_ADAPTED: list[Pair] = [
    ("adapter.down.{n}.weight", "vision_adapter.down.{n}.fc.0.weight"),
    ("adapter.up.weight", "vision_adapter.up.fc.0.weight"),
    ("mim_decoder.mask_token", "mask_embed"),
    ("mim_decoder.position_embeddings.weight", "decoder_pos_embed.weight"),
    ("mim_decoder.text_adapter.down.weight", "text_adapter.fc.0.weight"),
    ("mim_decoder.text_adapter.up.weight", "text_adapter.fc.2.weight"),
    *prefixed("mim_decoder.layers.{n}.", "visual_decoder.encoder.layer.{n}.", TEXT_LAYER),
    ("inter_context.position_embeddings.weight", "positional_emb.weight"),
    *prefixed("inter_context.layers.{n}.", "transformer.{n}.", TEXT_LAYER),
    *with_parameters([("mim_decoder.head", "recon_head"), ("score_head", "prediction_layer")]),
]
TABLE = NameTable(prefixed("", BLIP_PREFIX, PAIRS) + _ADAPTED)


def is_published(names: Iterable[str]) -> bool:
    """Tell whether a state dict is the published code's."""
    return any(_WRAPPER.sub("", name).startswith(BLIP_PREFIX) for name in names)


def rename_published(tensors: Mapping[str, Tensor], source: str = "state dict") -> StateDict:
    """Give tensors of the published code our names, wrapped by any stage.

    Args:
        tensors: Tensors in its names: weights, or gradients of them.
        source: Where they come from, for the message.

    Returns:
        The same tensors in our names, known leftovers dropped.

    Raises:
        CheckpointError: A tensor belongs to no part of the model.
    """
    return to_ours(tensors, source)[0]


def to_ours(tensors: Mapping[str, Tensor], source: str) -> tuple[StateDict, list[str], AdaptedKind]:
    """Translate a state dict of the published code.

    Args:
        tensors: Tensors in its names, of any stage.
        source: The file, for the message.

    Returns:
        Tensors in our names with the backbone among them, the names left out, and the stage.

    Raises:
        CheckpointError: A tensor belongs to no part of the model.
    """
    depth = max((len(name) - len(_WRAPPER.sub("", name))) // len("blip.") for name in tensors)
    if depth >= len(_KINDS):
        raise CheckpointError(f"{source}: wraps {depth} models, but the published code has three stages")
    bare = {_WRAPPER.sub("", name): tensor for name, tensor in tensors.items()}
    ignored = [name for name in bare if IGNORED.search(name.removeprefix(BLIP_PREFIX))]
    return TABLE.translate(bare, ignored, source), ignored, _KINDS[depth]

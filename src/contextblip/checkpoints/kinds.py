"""Which code wrote a file of weights, and the tensors in it without their wrapping."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from contextblip.checkpoints.files import read_tensors
from contextblip.checkpoints.names import ADAPTED_PARTS, TEMPERATURE, is_backbone_name, part_of
from contextblip.checkpoints.published import is_published
from contextblip.errors import CheckpointError

Naming = Literal["checkpoint", "ours", "salesforce", "huggingface", "published"]
# Under this key a checkpoint of ours says which backbone it stands on
METADATA_KEY = "contextblip"
_WRAPPERS = ("model", "state_dict")
_DATA_PARALLEL = "module."
_TASK = "model."


@dataclass
class WeightsFile:
    """A file of weights, opened.

    Attributes:
        naming: Whose names its tensors have; ``checkpoint`` is a run's of ours.
        tensors: Its tensors, wrapping prefixes removed.
        extras: What else it holds: other keys, or a safetensors header.
    """

    naming: Naming
    tensors: dict[str, Tensor]
    extras: dict[str, Any]


def open_weights(path: Path, *, shapes_only: bool = False) -> WeightsFile:
    """Open a file and find out whose it is.

    Args:
        path: The file.
        shapes_only: Leave the values on disk.

    Returns:
        Its tensors and whose names they have.

    Raises:
        CheckpointError: It cannot be read, holds no state dict, or the names are nobody's.
    """
    content, header = read_tensors(path, shapes_only=shapes_only)
    tensors: Mapping[str, Any] = content
    extras: dict[str, Any] = dict(header)
    for key in _WRAPPERS:
        if isinstance(content.get(key), dict):
            tensors = content[key]
            extras |= {name: value for name, value in content.items() if name != key}
            break
    if not tensors or any(not isinstance(n, str) or not isinstance(t, Tensor) for n, t in tensors.items()):
        raise CheckpointError(f"{path}: no state dict at the top, nor under 'model' or 'state_dict'")
    if all(name.startswith(_DATA_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(_DATA_PARALLEL): tensor for name, tensor in tensors.items()}
    if all(name.startswith(_TASK) for name in tensors):
        inner = {name.removeprefix(_TASK): tensor for name, tensor in tensors.items()}
        return WeightsFile("checkpoint", inner, extras)
    return WeightsFile(_naming(tensors, path), dict(tensors), extras)


def _naming(tensors: Mapping[str, Any], path: Path) -> Naming:
    """Tell whose names these are from the vision encoder's or any adapted part's."""
    if is_published(tensors):
        return "published"
    parts = {part_of(name) for name in tensors}
    if "visual_encoder" in parts:
        return "salesforce"
    if "vision_model" in parts:
        return "huggingface"
    ours = {*ADAPTED_PARTS, TEMPERATURE}
    if all(is_backbone_name(name) or part_of(name) in ours for name in tensors):
        return "ours"
    raise CheckpointError(
        f"{path}: weights of an unknown model; its tensors begin with {', '.join(sorted(parts)[:5])}, but "
        "BLIP's begin with visual_encoder, vision_model or vision_encoder"
    )

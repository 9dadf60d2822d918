"""Weights that a stage trained: read from a run's checkpoint, our folder or the published code's files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contextblip.checkpoints import published
from contextblip.checkpoints.files import missing_path, read_json
from contextblip.checkpoints.huggingface import is_huggingface
from contextblip.checkpoints.kinds import METADATA_KEY, WeightsFile, open_weights
from contextblip.checkpoints.names import ADAPTED_PARTS, TEMPERATURE, few, is_backbone_name, part_of
from contextblip.checkpoints.native import (
    CONFIG_FILE,
    FORMAT_VERSION,
    check_version,
    read_config,
    read_folder,
)
from contextblip.checkpoints.structures import AdaptedWeights, Backbone
from contextblip.errors import CheckpointError
from contextblip.models.config import BackboneConfig

HYPER_PARAMETERS_KEY = "hyper_parameters"


def checkpoint_metadata(backbone: Backbone) -> dict[str, Any]:
    """Say in plain values which backbone a run stands on.

    Args:
        backbone: The run's backbone.

    Returns:
        What a checkpoint keeps under the key ``contextblip``.
    """
    return {
        "format_version": FORMAT_VERSION,
        "backbone_source": backbone.source,
        "backbone_fingerprint": backbone.fingerprint,
        "backbone_config": backbone.config.to_dict(),
    }


def check_metadata(metadata: Mapping[str, Any], backbone: Backbone, source: str) -> None:
    """Check that weights without their backbone are put on the one they were trained on.

    Args:
        metadata: As `checkpoint_metadata` gives it.
        backbone: The backbone at hand.
        source: The checkpoint, for the message.

    Raises:
        CheckpointError: The fingerprints differ, the checkpoint names none, or a later release wrote it.
    """
    check_version(int(metadata.get("format_version", FORMAT_VERSION)), source)
    wanted = metadata.get("backbone_fingerprint")
    if wanted is None:
        raise CheckpointError(f"{source}: neither holds its backbone nor names it")
    if wanted != backbone.fingerprint:
        raise CheckpointError(
            f"{source}: trained on the backbone {metadata.get('backbone_source')} ({wanted[:19]}), but "
            f"--model.backbone is {backbone.source} ({backbone.fingerprint[:19]})"
        )


def read_adapted(path: str | Path) -> AdaptedWeights:
    """Read what a stage trained.

    Args:
        path: A run's ``.ckpt``, a folder that `convert` wrote, or a state dict of the published code
            (``.pt``, ``.pth``, ``.safetensors``).

    Returns:
        Tensors in our names, the backbone's among them where the file holds it.

    Raises:
        CheckpointError: The file is missing, unreadable, of no known kind, or holds unknown tensors.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if not path.exists():
        raise CheckpointError(f"{missing_path(path)}; name a run's .ckpt or a published ContextBLIP file")
    file = open_weights(path)
    if file.naming == "published":
        state, _, kind = published.to_ours(file.tensors, str(path))
        return AdaptedWeights(state, str(path), kind)
    if file.naming in ("checkpoint", "ours"):
        return from_checkpoint(file, str(path))
    raise CheckpointError(
        f"{path}: holds plain BLIP ({file.naming}), nothing that a stage of ContextBLIP trained; "
        "name it as --model.backbone"
    )


def from_checkpoint(file: WeightsFile, source: str) -> AdaptedWeights:
    """Read a run's checkpoint that has been opened already; see `read_adapted`."""
    known = {TEMPERATURE, *ADAPTED_PARTS}
    unknown = [name for name in file.tensors if not is_backbone_name(name) and part_of(name) not in known]
    if unknown:
        raise CheckpointError(f"{source}: {len(unknown)} tensors have no place in the model: {few(unknown)}")
    metadata = file.extras.get(METADATA_KEY)
    if not isinstance(metadata, Mapping):
        metadata = {}
    check_version(int(metadata.get("format_version", FORMAT_VERSION)), source)
    sizes = metadata.get("backbone_config")
    return AdaptedWeights(
        file.tensors,
        source,
        "checkpoint",
        backbone_fingerprint=metadata.get("backbone_fingerprint"),
        backbone_source=metadata.get("backbone_source"),
        hyper_parameters=dict(file.extras.get(HYPER_PARAMETERS_KEY) or {}),
        config=None if sizes is None else BackboneConfig.from_dict(sizes, source),
    )


def _from_folder(folder: Path) -> AdaptedWeights:
    values = read_json(folder / CONFIG_FILE)
    if is_huggingface(values):
        raise CheckpointError(
            f"{folder}: holds plain BLIP (huggingface), nothing that a stage of ContextBLIP trained; "
            "name it as --model.backbone"
        )
    raw = read_folder(folder, values)
    _, metadata = read_config(folder, values)
    return AdaptedWeights(
        raw.state_dict,
        str(folder),
        "folder",
        backbone_fingerprint=metadata.get("fingerprint"),
        backbone_source=str(folder),
        hyper_parameters=json.loads(metadata.get(HYPER_PARAMETERS_KEY, "{}")),
        config=raw.config,
    )

"""Our own form of a backbone: a folder with ``config.json``, ``model.safetensors`` and the vocabulary."""

import dataclasses
import difflib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contextblip.checkpoints.files import (
    read_tensors,
    write_folder,
    write_json,
    write_safetensors,
)
from contextblip.checkpoints.fingerprint import fingerprint
from contextblip.checkpoints.names import ADAPTED_PARTS, TEMPERATURE, few, is_backbone_name, part_of
from contextblip.checkpoints.sizes import check_shapes
from contextblip.checkpoints.structures import RawBackbone
from contextblip.errors import CheckpointError
from contextblip.models.config import PRESETS, BackboneConfig
from contextblip.models.contextblip import ContextBLIP

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
VOCABULARY_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
FORMAT_VERSION = 1
RANDOM_PREFIX = "random:"
_OURS = frozenset({CONFIG_FILE, WEIGHTS_FILE, *VOCABULARY_FILES})


def save_backbone(
    folder: Path,
    config: BackboneConfig,
    state_dict: Mapping[str, Tensor],
    vocabulary: Path | None,
    dtype: torch.dtype | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a backbone as a folder that `load_backbone` reads.

    The folder appears complete or not at all; one that holds only such files is replaced.

    Args:
        folder: Where to write.
        config: Sizes.
        state_dict: Tensors in our names; adapted parts are left out.
        vocabulary: Vocabulary file or folder to copy.
        dtype: Type on disk, for example ``torch.float16``; ``None`` keeps each tensor's.
        metadata: Notes for the header of ``model.safetensors`` and ``config.json``.

    Returns:
        The folder.

    Raises:
        CheckpointError: The folder holds other files, or the tensors do not form a backbone.
    """
    kept = {name: t for name, t in state_dict.items() if is_backbone_name(name) or name == TEMPERATURE}
    return save_folder(folder, config, kept, vocabulary, dtype, metadata)


def save_folder(
    folder: Path,
    config: BackboneConfig,
    state_dict: Mapping[str, Tensor],
    vocabulary: Path | None,
    dtype: torch.dtype | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a backbone and any adapted parts beside it; see `save_backbone`."""
    folder = Path(folder)
    check_shapes(state_dict, config, str(folder))
    tensors = {
        name: t if dtype is None or name == TEMPERATURE else t.to(dtype) for name, t in state_dict.items()
    }
    header = {"format_version": str(FORMAT_VERSION), "fingerprint": fingerprint(tensors), **(metadata or {})}

    def write(fresh: Path) -> None:
        write_json(fresh / CONFIG_FILE, {**config.to_dict(), "metadata": header})
        write_safetensors(fresh / WEIGHTS_FILE, tensors, header)
        copy_vocabulary(vocabulary, fresh)

    return write_folder(folder, write, replaces=_OURS)


def read_folder(folder: Path, values: Mapping[str, Any], *, shapes_only: bool = False) -> RawBackbone:
    """Read our folder.

    Args:
        folder: The folder.
        values: Content of its ``config.json``.
        shapes_only: Leave the values on disk.

    Returns:
        All its tensors, adapted parts too.

    Raises:
        CheckpointError: A file is missing or broken, or the weights hold unknown tensors.
    """
    config, _ = read_config(folder, values)
    tensors, _ = read_tensors(folder / WEIGHTS_FILE, shapes_only=shapes_only)
    known = {TEMPERATURE, *ADAPTED_PARTS}
    unknown = [name for name in tensors if not is_backbone_name(name) and part_of(name) not in known]
    if unknown:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: {len(unknown)} unknown tensors: {few(unknown)}")
    return RawBackbone(tensors, config, find_vocabulary(folder))


def read_config(folder: Path, values: Mapping[str, Any]) -> tuple[BackboneConfig, dict[str, str]]:
    """Split our ``config.json`` into sizes and metadata."""
    sizes = dict(values)
    metadata = sizes.pop("metadata", {})
    version = int(metadata.get("format_version", FORMAT_VERSION))
    check_version(version, str(folder))
    return BackboneConfig.from_dict(sizes, str(folder / CONFIG_FILE)), metadata


def check_version(version: int, source: str) -> None:
    """Refuse a file that a later release wrote."""
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{source}: written by a later release (format {version}, this one reads {FORMAT_VERSION}); "
            "update contextblip"
        )


def random_config(source: str) -> BackboneConfig:
    """Return the sizes that ``random:NAME`` stands for.

    Args:
        source: ``random:`` and the name of a preset.

    Returns:
        The preset.

    Raises:
        CheckpointError: There is no such preset.
    """
    name = source.removeprefix(RANDOM_PREFIX)
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"; did you mean {RANDOM_PREFIX}{near[0]}?" if near else ""
        presets = ", ".join(RANDOM_PREFIX + preset for preset in PRESETS)
        raise CheckpointError(f"backbone {source!r} is no known size, choose from {presets}{hint}")
    return PRESETS[name]


def random_backbone(config: BackboneConfig, *, shapes_only: bool = False) -> RawBackbone:
    """Draw weights from torch's current random state.

    Args:
        config: Sizes.
        shapes_only: Draw nothing and return ``meta`` tensors.

    Returns:
        A backbone without vocabulary.
    """
    with torch.device("meta" if shapes_only else "cpu"):
        model = ContextBLIP.build(config, adapter_layers=[])
    return RawBackbone(dict(model.state_dict()), config, notes=["random weights, nothing was loaded"])


def find_vocabulary(folder: Path) -> Path | None:
    """Return the folder's ``vocab.txt``, else the folder if it holds a tokenizer, else ``None``."""
    vocab = folder / "vocab.txt"
    if vocab.is_file():
        return vocab
    return folder if (folder / "tokenizer.json").is_file() else None


def copy_vocabulary(vocabulary: Path | None, folder: Path) -> None:
    """Copy a vocabulary file, or the tokenizer files of a folder, into a folder.

    Args:
        vocabulary: File or folder; ``None`` copies nothing.
        folder: Where to.

    Raises:
        CheckpointError: There is no such vocabulary.
    """
    if vocabulary is None:
        return
    vocabulary = Path(vocabulary)
    if vocabulary.is_file():
        shutil.copyfile(vocabulary, folder / "vocab.txt")
        return
    found = [vocabulary / name for name in VOCABULARY_FILES if (vocabulary / name).is_file()]
    if not found:
        raise CheckpointError(
            f"vocabulary {vocabulary}: no such file, nor a folder with {VOCABULARY_FILES[0]}"
        )
    for file in found:
        shutil.copyfile(file, folder / file.name)


def with_heads(config: BackboneConfig, vision_heads: int | None, text_heads: int | None) -> BackboneConfig:
    """Return the sizes with heads that the caller knows better."""
    return dataclasses.replace(
        config, vision_heads=vision_heads or config.vision_heads, text_heads=text_heads or config.text_heads
    )

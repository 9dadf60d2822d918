"""Reading and writing files of tensors: safely, and each failure as one line."""

import difflib
import json
import os
import pickle
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from contextblip.errors import CheckpointError

WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".ckpt")
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_tensors(path: Path, *, shapes_only: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a file of tensors without running anything stored in it.

    Args:
        path: ``.safetensors``, or any name for a file written by ``torch.save``.
        shapes_only: Leave the values on disk and return tensors on the ``meta`` device.

    Returns:
        The file's dictionary and, from a safetensors header, its metadata.

    Raises:
        CheckpointError: The file is absent, cut short, of another kind, or holds more than tensors and
            plain values.
    """
    if not path.is_file():
        raise CheckpointError(missing_path(path))
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path, shapes_only)
        return _read_torch(path, shapes_only), {}
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused: the file holds more than tensors and plain values, or is cut short "
            f"({_first_line(error)})"
        ) from error
    except Exception as error:  # damaged bytes make the unpickler fail in any way, from struct to IndexError
        raise CheckpointError(
            f"{path}: cannot be read; it may be cut short or hold no weights ({_first_line(error)})"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.

    Returns:
        Its keys and values.

    Raises:
        CheckpointError: The file is absent, no JSON, or no object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: no valid JSON ({_first_line(error)})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds {type(values).__name__}, expected an object")
    return values


def missing_path(path: Path) -> str:
    """Say that a path is absent, with the nearest names where it was looked for."""
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    wanted = path.relative_to(parent).parts[0]
    near = difflib.get_close_matches(wanted, sorted(entry.name for entry in parent.iterdir()), n=3)
    hint = f"; did you mean {' or '.join(str(parent / name) for name in near)}?" if near else ""
    return f"no file or folder {path} (looked in {parent.resolve()}){hint}"


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors with a header; ``format`` is what transformers asks for."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={"format": "pt", **metadata})
    # safetensors makes files for their owner alone; other files of a run follow the umask
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object for people, one key a line."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_folder(folder: Path, write: Callable[[Path], None], replaces: frozenset[str] = frozenset()) -> Path:
    """Write a folder so that it is there complete or not at all.

    Args:
        folder: Where the files shall lie.
        write: Writes them into the folder it is given.
        replaces: An existing folder is replaced if it holds nothing but files of these names.

    Returns:
        The folder.

    Raises:
        CheckpointError: It exists and holds anything else.
    """
    if folder.exists() and not (folder.is_dir() and replaces.issuperset(p.name for p in folder.iterdir())):
        raise CheckpointError(f"{folder}: exists and is not overwritten; remove it or choose another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    try:
        fresh.mkdir()
        write(fresh)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def write_file(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a file so that it is there complete or not at all.

    Args:
        path: Where the file shall lie.
        write: Writes the file it is given.

    Returns:
        The file.

    Raises:
        CheckpointError: It exists.
    """
    if path.exists():
        raise CheckpointError(f"{path}: exists and is not overwritten; remove it or choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        write(fresh)
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def _read_safetensors(path: Path, shapes_only: bool) -> tuple[dict[str, Any], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        if not shapes_only:
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
        tensors = {}
        for name in file.keys():  # noqa: SIM118 - not a dictionary
            part = file.get_slice(name)
            dtype = _DTYPES.get(part.get_dtype(), torch.int64)
            tensors[name] = torch.empty(part.get_shape(), dtype=dtype, device="meta")
        return tensors, metadata


def _read_torch(path: Path, shapes_only: bool) -> dict[str, Any]:
    # files in the format before torch 1.6 are no zip archives and cannot be mapped
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about pickle protocols, no help to a user
        content = torch.load(
            path,
            map_location="meta" if shapes_only else "cpu",
            weights_only=True,
            mmap=zipfile.is_zipfile(path),
        )
    if not isinstance(content, dict):
        raise ValueError(f"holds {type(content).__name__}, expected a dictionary of tensors")
    return content


def _first_line(error: BaseException) -> str:
    """Return the first sentence of a library's message, without its advice over many lines."""
    text = str(error).strip() or type(error).__name__
    return re.split(r"\n|(?<=[a-z])\. ", text)[0][:200]

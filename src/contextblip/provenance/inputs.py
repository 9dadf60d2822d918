"""Fingerprints of what a run reads: annotation files and weights by content, images by name and size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from contextblip.checkpoints.files import WEIGHT_SUFFIXES
from contextblip.sweeps.inputs import counted_files, fingerprint_file, parts_of_root
from contextblip.worlds import asked_miniature

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def describe_data(data_class: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fingerprint the data of a run.

    Args:
        data_class: Class of the data module, which decides what of the root it reads.
        values: Its keys.

    Returns:
        ``root`` as given, ``annotations`` (sha256 by path), and ``images``: their number, bytes, and one
        sha256 over sorted names and sizes. No image is opened.
    """
    root = values.get("root")
    folders = _folders(str(root), values.get("datasets") or [data_class.rpartition(".")[2]]) if root else []
    files = {str(Path(name)): Path(name).expanduser() for name in values.get("annotation_files") or []}
    for folder, depth in folders:
        for file in counted_files(folder, depth) if depth else counted_files(folder):
            if not file.name.endswith(WEIGHT_SUFFIXES):
                files.setdefault(file.relative_to(folders[0][0]).as_posix(), file)
    found = {name: sha256_of(file) for name, file in sorted(files.items()) if file.is_file()}
    places = values.get("image_root") or [folder for folder, depth in folders if not depth]
    if isinstance(places, str):
        places = [places]
    elif isinstance(places, Mapping):
        places = [str(place) for place in places.values()]
    images = survey_images(tuple(Path(place).expanduser().absolute() for place in places))
    return {"root": root, "annotations": found, "images": images}


def _folders(root: str, readers: list[str]) -> list[tuple[Path, int]]:
    """List the folders that a run reads, the root first; 0 stands for all levels that count."""
    asked = asked_miniature(root)
    folder = Path(root).expanduser() if asked is None else asked.folder
    if not folder.is_dir():
        return []
    parts = parts_of_root(folder, readers)
    # data modules look into the root itself first, but of its folders only into their own
    return [(folder, 1), *((part, 0) for part in parts)] if parts else [(folder, 0)]


def sha256_of(file: Path) -> str:
    """Hash a file, once for each process.

    Args:
        file: The file.

    Returns:
        64 hexadecimal digits, as ``sha256sum`` prints them.
    """
    return fingerprint_file(file.resolve()).removeprefix("sha256:")


@lru_cache(maxsize=16)  # a test after training asks again
def survey_images(folders: tuple[Path, ...]) -> dict[str, int | str]:
    """Fingerprint images without opening them.

    Args:
        folders: Where they lie.

    Returns:
        ``files``, ``bytes`` and ``sha256`` over the sorted names, relative to their folder, and sizes.
    """
    sizes = [pair for folder in folders if folder.is_dir() for pair in _image_sizes(folder)]
    text = "\n".join(f"{name} {size}" for name, size in sorted(sizes))
    return {
        "files": len(sizes),
        "bytes": sum(size for _, size in sizes),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _image_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Give names and sizes; links are followed, hidden folders are not."""
    waiting, seen = [(str(folder), "")], set()
    while waiting:
        place, prefix = waiting.pop()
        if (real := os.path.realpath(place)) in seen:  # links may go round in circles
            continue
        seen.add(real)
        with os.scandir(place) as entries:
            there = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
        for entry in there:
            if entry.name.lower().endswith(_IMAGE_SUFFIXES) and entry.is_file():
                yield prefix + entry.name, entry.stat().st_size
            elif entry.is_dir():
                waiting.append((entry.path, f"{prefix}{entry.name}/"))


def describe_weights(source: str, seed: object) -> dict[str, Any]:
    """Fingerprint weights.

    Args:
        source: A file, a folder, a hub id, or ``random:`` and a preset.
        seed: The run's, from which random weights are drawn.

    Returns:
        ``source`` with ``sha256`` of the file (of several: over their names and hashes; ``None`` for one that
        is not there), or with ``drawn_with_seed``.
    """
    if source.startswith("random:"):
        return {"source": source, "drawn_with_seed": seed}
    files = _weight_files(source)
    if len(files) < 2:
        return {"source": source, "sha256": sha256_of(files[0]) if files else None}
    text = "\n".join(f"{file.name} {sha256_of(file)}" for file in files)
    return {"source": source, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _weight_files(source: str) -> list[Path]:
    """Find the files that a source is loaded from."""
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        return _hub_files(source)
    chosen = next((path / name for name in _HUB_FILES if (path / name).is_file()), None)
    return [chosen] if chosen else sorted(file for file in path.iterdir() if file.suffix in WEIGHT_SUFFIXES)


def _hub_files(source: str) -> list[Path]:
    """Find a hub repository's weights in the local cache, where reading its sizes has put them."""
    from huggingface_hub import try_to_load_from_cache  # costs a second that other sources need not pay
    from huggingface_hub.errors import HFValidationError

    try:
        found = (try_to_load_from_cache(source, name) for name in _HUB_FILES)
        return [Path(path) for path in found if isinstance(path, str)][:1]
    except HFValidationError:  # no id, but a path that is not there
        return []

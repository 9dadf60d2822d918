"""Fingerprints of what a run reads, the same wherever the files lie and whenever they were copied."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from functools import lru_cache
from importlib import import_module
from itertools import islice
from pathlib import Path

# Annotations, vocabularies and weights count; images are named by annotations and too many to read.
_SUFFIXES = (
    ".json", ".jsonl", ".yaml", ".yml", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".pth", ".pt", ".ckpt",
    ".bin", ".safetensors",
)  # fmt: skip
_DEEPEST = 3
_MOST_ENTRIES = 500  # a folder with more holds images
_MINIATURE_RECORD = "miniature.json"
_MINIATURE_PREFIXES = ("miniature:", "miniature-backbone:")
# Folders of a data root that a data module reads; without an entry, or where none is there, all count.
_PARTS: dict[str, tuple[str, ...]] = {
    "ImageCoDeDataModule": ("imagecode",),
    "MMVPVLMDataModule": ("mmvp_vlm",),
    "CocoRetrievalDataModule": ("coco",),
}


def fingerprint_file(path: Path) -> str:
    """Hash a file's content.

    Args:
        path: The file.

    Returns:
        ``sha256:`` and 64 hexadecimal digits; read once for each size and time of change.
    """
    status = path.stat()
    return _hash_file(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash_file(path: str, size: int, changed: int) -> str:  # noqa: ARG001  # part of the cache's key
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def fingerprint_folder(folder: Path) -> str:
    """Hash names and contents of a folder's annotation and weight files, up to three levels deep.

    Args:
        folder: The folder.

    Returns:
        ``sha256:`` and 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in sorted(_files(folder, _DEEPEST)):
        digest.update(f"{file.relative_to(folder).as_posix()} {fingerprint_file(file)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _files(folder: Path, depth: int) -> list[Path]:
    """List the files that count; hidden ones are caches and reports."""
    with os.scandir(folder) as entries:
        found = list(islice(entries, _MOST_ENTRIES + 1))
    if len(found) > _MOST_ENTRIES:
        return []
    seen = [entry for entry in found if not entry.name.startswith(".")]
    files = [Path(entry.path) for entry in seen if entry.is_file() and entry.name.endswith(_SUFFIXES)]
    for entry in seen:
        if depth > 1 and entry.is_dir():
            files += _files(Path(entry.path), depth - 1)
    return files


def fingerprint_path(text: str) -> str:
    """Fingerprint what a value names.

    Args:
        text: A file, a folder, or something else such as a hub id or ``random:base``.

    Returns:
        Of a file or folder its fingerprint; else the text.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return fingerprint_file(path)
    return fingerprint_folder(path) if path.is_dir() else text


def fingerprint_root(root: str, data_class: str, datasets: list[str] | None = None) -> str:
    """Fingerprint a data root, whether or not a miniature world has been drawn there yet.

    Args:
        root: Value of ``data.root``.
        data_class: Class of the data module, which decides what of the root it reads.
        datasets: The data sets that it was told to read.

    Returns:
        A fingerprint of the world's recipe, of the annotation files, or the text where nothing lies there.
    """
    record = miniature_record(root)
    if record is not None and not record.is_file():
        return _recipe_to_draw(root)
    folder = record.parent if record is not None else Path(root).expanduser()
    if (folder / _MINIATURE_RECORD).is_file():
        return _canonical(json.loads((folder / _MINIATURE_RECORD).read_text(encoding="utf-8")))
    parts = datasets or _PARTS.get(data_class.rpartition(".")[2], ())
    there = [folder / part for part in parts if (folder / part).is_dir()]
    return " ".join(fingerprint_folder(part) for part in there) if there else fingerprint_path(root)


def miniature_record(root: str) -> Path | None:
    """Find where a miniature world says how it was drawn.

    Args:
        root: Value of ``data.root``.

    Returns:
        The file, there or not; ``None`` where the root asks for no miniature world.
    """
    prefix = next((prefix for prefix in _MINIATURE_PREFIXES if root.startswith(prefix)), None)
    return None if prefix is None else Path(root.removeprefix(prefix)).expanduser() / _MINIATURE_RECORD


def _recipe_to_draw(root: str) -> str:
    """Say what record the world will have once its first run has drawn it."""
    module = import_module("data_modules.miniature")  # by name: contextblip never imports its users
    small = root.startswith(_MINIATURE_PREFIXES[0])
    size = module.MiniatureSize() if small else module.BACKBONE_SIZE
    return _canonical({"generator": module.GENERATOR_VERSION, "seed": 0, **asdict(size)})


def _canonical(record: dict[str, object]) -> str:
    return f"miniature:{json.dumps(record, sort_keys=True)}"

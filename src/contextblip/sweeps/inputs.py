"""Fingerprints of what a run reads, the same wherever the files lie and whenever they were copied."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from contextblip.worlds import RECORD, AskedWorld, asked_miniature

# Annotations, vocabularies and weights count; images are named by annotations and too many to read.
_SUFFIXES = (
    ".json", ".jsonl", ".yaml", ".yml", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".pth", ".pt", ".ckpt",
    ".bin", ".safetensors",
)  # fmt: skip
_DEEPEST = 3
_MOST_ENTRIES = 500  # a folder with more holds images: its own files count, its folders do not
# Modules whose FOLDERS a data module, or a data set that one was told to read, may lie in below the root
_READERS = {
    "ImageCoDeDataModule": "data_modules.imagecode_files",
    "MMVPVLMDataModule": "data_modules.mmvp_vlm",
    "CocoRetrievalDataModule": "data_modules.caption_data.coco",
    "coco": "data_modules.caption_data.coco",
    "visual_genome": "data_modules.caption_data.visual_genome",
}
_READ_IMAGES = 32  # about so many of a folder are read
_ANNOTATIONS = "annotations"  # a folder that some look into as well, also beside images


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


def fingerprint_folder(folder: Path, depth: int = _DEEPEST) -> str:
    """Hash names and contents of a folder's annotation and weight files.

    Args:
        folder: The folder.
        depth: How many levels count.

    Returns:
        ``sha256:`` and 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in sorted(counted_files(folder, depth)):
        digest.update(f"{file.relative_to(folder).as_posix()} {fingerprint_file(file)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def counted_files(folder: Path, depth: int = _DEEPEST) -> list[Path]:
    """List the annotation and weight files of a folder; hidden ones are caches and reports.

    Args:
        folder: The folder.
        depth: How many levels count.

    Returns:
        Their paths, in no order.
    """
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
    files = [Path(entry.path) for entry in seen if entry.name.endswith(_SUFFIXES) and entry.is_file()]
    for entry in seen if depth > 1 else ():
        if (len(seen) <= _MOST_ENTRIES or entry.name == _ANNOTATIONS) and entry.is_dir():
            files += counted_files(Path(entry.path), depth - 1)
    return files


def fingerprint_images(text: str) -> str:
    """Fingerprint a folder of images by all names and sizes and some contents: they are too many to read.

    Args:
        text: Value of ``data.image_root``.

    Returns:
        ``images:`` and 64 hexadecimal digits; the text where there is no such folder or nothing in it.
    """
    folder = Path(text).expanduser()
    return (_hash_images(folder.absolute()) or text) if folder.is_dir() else text


@lru_cache(maxsize=64)  # every run of a plan asks for the same ones
def _hash_images(folder: Path) -> str | None:
    files, digest = _all_files(folder), hashlib.sha256()
    step = max(1, len(files) // _READ_IMAGES)
    for number, file in enumerate(files):
        shown = fingerprint_file(file) if number % step == 0 else file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {shown}\n".encode())
    return f"images:{digest.hexdigest()}" if files else None


def _all_files(folder: Path) -> list[Path]:
    """List what is not hidden, links followed, in an order that is the same everywhere."""
    found, listed = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in listed:  # links may go round in circles
            folders.clear()
            continue
        listed.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        found += [file for file in files if file.is_file()]
    return found


def fingerprint_path(text: str) -> str:
    """Fingerprint what a value names.

    Args:
        text: A file, a folder, or something else such as a hub id or ``random:base``.

    Returns:
        Of a file or folder its fingerprint, that of images where a folder has no file of a known kind;
        else the text.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return fingerprint_file(path)
    if not path.is_dir():
        return text
    return fingerprint_folder(path) if counted_files(path, _DEEPEST) else fingerprint_images(text)


def fingerprint_root(root: str, data_class: str, datasets: list[str] | None = None) -> str:
    """Fingerprint a data root, whether or not a miniature world has been drawn there yet.

    Args:
        root: Value of ``data.root``.
        data_class: Class of the data module, which decides what of the root it reads.
        datasets: The data sets that it was told to read.

    Returns:
        A fingerprint of the world's recipe, of the annotation files, or the text where nothing lies there.
    """
    asked = asked_miniature(root)
    folder = Path(root).expanduser() if asked is None else asked.folder
    if asked is not None and not (folder / RECORD).is_file():
        return _recipe_to_draw(asked)
    if (folder / RECORD).is_file():
        return _canonical(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    parts = parts_of_root(folder, datasets or [data_class.rpartition(".")[2]])
    if not parts:
        return fingerprint_path(root)
    found = [fingerprint_folder(part) for part in parts]
    if counted_files(folder, 1):  # data modules look into the root itself first
        found.insert(0, fingerprint_folder(folder, 1))
    return " ".join(found)


def parts_of_root(folder: Path, readers: list[str]) -> list[Path]:
    """List the folders of a root that its readers look into.

    Args:
        folder: The root.
        readers: Data modules by class name, or the data sets that one was told to read.

    Returns:
        Folders below the root; none where one of the readers is not known or finds all in the root itself.
    """
    if not folder.is_dir() or not set(readers) <= set(_READERS):
        return []
    names = [name for reader in readers for name in import_module(_READERS[reader]).FOLDERS]
    there = {entry.name for entry in folder.iterdir() if entry.is_dir()}  # as spelt, on any file system
    parts = [folder / name for name in dict.fromkeys(names) if name in there]
    return [*parts, folder / _ANNOTATIONS] if parts and _ANNOTATIONS in there else parts


def miniature_record(root: str) -> Path | None:
    """Find where a miniature world says how it was drawn.

    Args:
        root: Value of ``data.root``.

    Returns:
        The file, there or not; ``None`` where the root asks for no miniature world.
    """
    asked = asked_miniature(root)
    return None if asked is None else asked.folder / RECORD


def _recipe_to_draw(asked: AskedWorld) -> str:
    """Say what record the world will have once its first run has drawn it."""
    module = import_module("data_modules.miniature")  # by name: contextblip never imports its users
    seed, size = module.PRESETS[asked.preset]
    return _canonical({"generator": module.GENERATOR_VERSION, "seed": seed, **asdict(size)})


def _canonical(record: dict[str, object]) -> str:
    return f"miniature:{json.dumps(record, sort_keys=True)}"

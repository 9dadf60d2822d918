"""Published files brought under a folder: from several mirrors, verified, and never fetched twice."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from contextblip.downloads.extraction import extract, is_extracted
from contextblip.downloads.hash_record import STATE_FOLDER, HashRecord
from contextblip.downloads.hub_files import fetch_from_hub
from contextblip.downloads.meters import DownloadError, check_space, progress, size_words
from contextblip.downloads.remote_files import RemoteFile, copy_list, is_offline, readable_url, sources
from contextblip.downloads.transfers import fetch, note_path

_SCHEMES = ("https", "http", "file", "hf")


def part_path(target: Path) -> Path:
    """Return where a file lies until it is complete."""
    return target.with_name(f"{target.name}.part")


def missing_files(files: Sequence[RemoteFile], root: Path) -> list[RemoteFile]:
    """List the files that do not lie below a root yet, extracted archives aside; none is read."""
    return [file for file in files if not (root / file.path).is_file() and not _is_extracted(file, root)]


def download_all(files: Sequence[RemoteFile], root: Path, *, mirror: str | None = None) -> list[Path]:
    """Bring files under a root, each as `download` does, and extract the archives that are read extracted.

    Where the network is missing or forbidden, what to copy where is printed first.

    Args:
        files: The files.
        root: The folder.
        mirror: Folder or URL to take them from instead, by relative path or by name.

    Returns:
        Their paths; an archive that was extracted and deleted since is not fetched again.

    Raises:
        DownloadError: One cannot be had, or there is no room for all.
        DatasetError: An archive is damaged or not safe to extract.
    """
    missing = missing_files(files, root)
    root.mkdir(parents=True, exist_ok=True)
    if missing and mirror is None and is_offline() and not all(map(_has_local_source, missing)):
        _print_copy_list(missing, root)
        raise DownloadError(
            f"HF_HUB_OFFLINE is set and {len(missing)} of {len(files)} files are missing: copy them as "
            "listed above, name a copy with --mirror FOLDER, or unset HF_HUB_OFFLINE"
        )
    begun = [part for file in missing if (part := part_path(root / file.path)).is_file()]
    needed = sum(file.likely_size or 0 for file in missing) - sum(part.stat().st_size for part in begun)
    check_space(root, needed, f"{len(missing)} files for {root}")
    for number, file in enumerate(files, 1):
        try:
            if not _is_extracted(file, root):
                _download(file, root, mirror, f"[{number}/{len(files)}] " if len(files) > 1 else "")
        except DownloadError as error:
            if error.unreachable:
                _print_copy_list(missing_files(files, root), root)
            raise
        if file.extract_to is not None:
            extract(root / file.path, root / file.extract_to)
    shutil.rmtree(root / STATE_FOLDER / "hub", ignore_errors=True)
    return [root / file.path for file in files]


def download(file: RemoteFile, root: Path, *, mirror: str | None = None) -> Path:
    """Bring a file under a root, resuming where an earlier call stopped.

    A file that lies there already is checked, not fetched: its size, its published hash, else the hash
    recorded when it was first seen. One that is untouched since then is not read again.

    Args:
        file: The file.
        root: The folder.
        mirror: Folder or URL to take it from instead, by its relative path or by its name.

    Returns:
        Its path.

    Raises:
        DownloadError: It cannot be had, or it is not the published one.
    """
    return _download(file, root, mirror, "")


def _download(file: RemoteFile, root: Path, mirror: str | None, count: str) -> Path:
    """Do what `download` says; ``count`` stands before the line that names the file."""
    target, record = root / file.path, HashRecord(root)
    if target.is_file():
        record.check(file)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(target)
    reasons, unreachable = [], False
    for url in sources(file, mirror):
        sys.stdout.write(f"{count}{file.path} ({size_words(file.likely_size)}) from {readable_url(url)}\n")
        sys.stdout.flush()
        try:
            _fetch(url, part, file, root)
            sha256 = _check_part(file, part, record)
        except DownloadError as error:
            reasons.append(f"{readable_url(url)} ({error})")
            unreachable = unreachable or error.unreachable
            continue
        part.replace(target)
        note_path(part).unlink(missing_ok=True)
        record.write(file.path, sha256)
        return target
    raise DownloadError(
        f"{file.path} could not be had: {'; '.join(reasons)}; put a copy at {target} or name one with "
        "--mirror",
        unreachable=unreachable,
    )


def _fetch(url: str, part: Path, file: RemoteFile, root: Path) -> None:
    """Bring a URL of any kind into the partial file."""
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        raise DownloadError(f"a URL begins with one of {', '.join(_SCHEMES)}")
    if scheme != "file" and is_offline():
        raise DownloadError("HF_HUB_OFFLINE is set", unreachable=True)
    if scheme == "hf":
        fetch_from_hub(url, part, root / STATE_FOLDER / "hub")
        return
    with progress(PurePosixPath(file.path).name) as meter:
        fetch(url, part, meter, size=file.size, hashed=bool(file.sha256 or file.md5))


def _check_part(file: RemoteFile, part: Path, record: HashRecord) -> str:
    """Check a file that came; a wrong one is deleted, for nothing can be gone on with from it."""
    try:
        return record.check(file, path=part, remedy="it was not kept")
    except DownloadError:
        part.unlink()
        note_path(part).unlink(missing_ok=True)
        raise


def _is_extracted(file: RemoteFile, root: Path) -> bool:
    return file.extract_to is not None and is_extracted(root / file.path, root / file.extract_to)


def _has_local_source(file: RemoteFile) -> bool:
    return any(urlsplit(url).scheme == "file" for url in file.urls)


def _print_copy_list(files: Sequence[RemoteFile], root: Path) -> None:
    sys.stdout.write(f"What is missing, and where it belongs:\n{copy_list(files, root)}\n")
    sys.stdout.flush()

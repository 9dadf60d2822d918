"""Hashes of downloaded files, recorded when each was first seen and compared ever after."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from contextblip.downloads.file_forms import form_fault
from contextblip.downloads.meters import DownloadError, progress, size_words
from contextblip.downloads.remote_files import RemoteFile
from contextblip.replacing import replacing

STATE_FOLDER = ".contextblip"
RECORD_FILE = "sha256.json"
_CHUNK = 1 << 22


class HashRecord:
    """Hashes of the files below a root.

    Args:
        root: The folder; the record lies in its ``.contextblip/sha256.json``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / STATE_FOLDER / RECORD_FILE

    def read(self) -> dict[str, dict[str, Any]]:
        """Return ``sha256``, ``size``, ``mtime_ns`` and perhaps ``unproven`` by relative path.

        Raises:
            DownloadError: The record was damaged.
        """
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DownloadError(f"{self.path}: no valid JSON ({error}); delete it") from error
        return content if isinstance(content, dict) else {}

    def write(self, name: str, sha256: str, *, proven: bool = True) -> None:
        """Record the hash of the file that lies below the root under a relative path.

        Args:
            name: The relative path.
            sha256: The hash.
            proven: Whether the file is known to be whole; else its hash is kept but refuses no other file.
        """
        state = (self.root / name).stat()
        content = self.read()
        content[name] = {"sha256": sha256, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
        if not proven:
            content[name]["unproven"] = True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as draft:
            draft.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")

    def trusted(self, name: str) -> str | None:
        """Return the hash that was recorded of a file known to be whole."""
        entry = self.read().get(name, {})
        return None if entry.get("unproven") else entry.get("sha256")

    def check(self, file: RemoteFile) -> str:
        """Compare a file in its place with what was published, else recorded; record it if it is new.

        Args:
            file: As published.

        Returns:
            Its sha256.

        Raises:
            DownloadError: It differs, or without a hash to compare with its form is wrong.
        """
        place = self.root / file.path
        remedy = f"delete {place} and download it again"
        untouched, trusted = self._untouched(file.path), self.trusted(file.path)
        sha256 = check_published(file, place, remedy, sha256=untouched)
        if untouched is None:
            if not file.is_hashed and trusted is None:
                check_form(file, place, remedy)
            elif not file.is_hashed and trusted != sha256:
                raise DownloadError(
                    f"{place} has sha256 {sha256}, but {trusted} was recorded when it was first seen; "
                    f"{remedy}, or remove its entry from {self.path} if this is the right one"
                )
            self.write(file.path, sha256)
        return sha256

    def _untouched(self, name: str) -> str | None:
        """Return the recorded hash if the file's size and time are those that were recorded with it."""
        entry, state = self.read().get(name, {}), (self.root / name).stat()
        same = (entry.get("size"), entry.get("mtime_ns")) == (state.st_size, state.st_mtime_ns)
        return str(entry["sha256"]) if same else None


def check_published(file: RemoteFile, path: Path, remedy: str, *, sha256: str | None = None) -> str:
    """Compare a file with the published size and hash, as far as there are any.

    Args:
        file: As published.
        path: Where it lies now.
        remedy: What to do if it differs.
        sha256: Its hash if that is known; it is not read then.

    Returns:
        Its sha256.

    Raises:
        DownloadError: It differs.
    """
    size = path.stat().st_size
    if file.size not in (None, size):
        raise DownloadError(f"{path} has {size:,} bytes, but {file.size:,} were published; {remedy}")
    sha256, md5 = (sha256, file.md5) if sha256 else hash_file(path)
    if file.sha256 not in (None, sha256):
        raise DownloadError(f"{path} has sha256 {sha256}, but {file.sha256} was published; {remedy}")
    if file.md5 not in (None, md5):
        raise DownloadError(f"{path} has md5 {md5}, but {file.md5} was published; {remedy}")
    return sha256


def check_form(file: RemoteFile, path: Path, remedy: str, *, parse: bool = False) -> None:
    """Check a file of which no hash was published: its form by its name, and roughly its size.

    Args:
        file: As published.
        path: Where it lies now.
        remedy: What to do if it is wrong.
        parse: As for `contextblip.downloads.file_forms.form_fault`.

    Raises:
        DownloadError: It cannot be what was published.
    """
    if fault := form_fault(path, file.path, parse=parse):
        raise DownloadError(f"{path} {fault}; {remedy}")
    size = path.stat().st_size
    if file.size is None and file.about is not None and not file.about / 2 <= size <= file.about * 2:
        expected = size_words(file.about)
        raise DownloadError(f"{path} has {size_words(size)}, but about {expected} were expected; {remedy}")


def hash_file(path: Path) -> tuple[str, str]:
    """Read a file once.

    Args:
        path: The file.

    Returns:
        Its sha256 and md5, hexadecimal.
    """
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, progress(f"checking {path.name.removesuffix('.part')}") as meter:
        meter.start(path.stat().st_size)
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            meter.advance(len(chunk))
    return sha256.hexdigest(), md5.hexdigest()

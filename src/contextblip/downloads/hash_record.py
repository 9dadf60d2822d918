"""Hashes of downloaded files, recorded when each was first seen and compared ever after."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from contextblip.downloads.meters import DownloadError, progress
from contextblip.downloads.remote_files import RemoteFile

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
        """Return ``sha256``, ``size`` and ``mtime_ns`` by relative path.

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

    def write(self, name: str, sha256: str) -> None:
        """Record the hash of the file that lies below the root under a relative path."""
        state = (self.root / name).stat()
        content = self.read()
        content[name] = {"sha256": sha256, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        draft.replace(self.path)

    def untouched(self, name: str) -> str | None:
        """Return the recorded hash if the file's size and time are those that were recorded with it."""
        entry, state = self.read().get(name, {}), (self.root / name).stat()
        same = (entry.get("size"), entry.get("mtime_ns")) == (state.st_size, state.st_mtime_ns)
        return str(entry["sha256"]) if same else None

    def check(self, file: RemoteFile, *, path: Path | None = None, remedy: str = "") -> str:
        """Compare a file with what was published, else with what was recorded; record it if it is new.

        Args:
            file: As published.
            path: Where it lies now, if not yet in its place; nothing is recorded then.
            remedy: What to do if it differs.

        Returns:
            Its sha256.

        Raises:
            DownloadError: It differs.
        """
        place = self.root / file.path
        path = path or place
        size = path.stat().st_size
        remedy = remedy or f"delete {place} and download it again"
        if file.size not in (None, size):
            raise DownloadError(f"{path} has {size:,} bytes, but {file.size:,} were published; {remedy}")
        untouched = self.untouched(file.path) if path == place else None
        sha256, md5 = (untouched, file.md5) if untouched else hash_file(path)
        if file.sha256 not in (None, sha256):
            raise DownloadError(f"{path} has sha256 {sha256}, but {file.sha256} was published; {remedy}")
        if file.md5 not in (None, md5):
            raise DownloadError(f"{path} has md5 {md5}, but {file.md5} was published; {remedy}")
        recorded = self.read().get(file.path, {}).get("sha256")
        if recorded not in (None, sha256):
            raise DownloadError(
                f"{path} has sha256 {sha256}, but {recorded} was recorded when it was first seen; {remedy}, "
                f"or remove its entry from {self.path} if the publisher has changed it"
            )
        if path == place and untouched is None:
            self.write(file.path, sha256)
        return sha256


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

"""Published files: what they are called, where to get them, and what to copy where by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from contextblip.downloads.hub_files import HUB, HubFile
from contextblip.downloads.meters import DownloadError, size_words
from contextblip.downloads.transfers import is_local, local_path


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        path: Where it belongs, relative to the root; parts separated by ``/``.
        urls: Where to get it, best first: ``https``, ``http``, ``file``, or on the Hugging Face hub
            ``hf://ORG/NAME[@REVISION]/path`` and ``hf://datasets/ORG/NAME[@REVISION]/path``.
        size: Bytes, where the exact number was published.
        sha256: Where it was published.
        extract_to: Folder relative to the root, for archives that are read extracted.
        note: What a user should know about it.
        md5: Where that alone was published.
        about: Bytes as far as known, for the room on the disk and for tables; checked, where there is no
            hash, to a factor of two.
    """

    path: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    extract_to: str | None = None
    note: str = ""
    md5: str | None = None
    about: int | None = None

    @property
    def likely_size(self) -> int | None:
        """Bytes, exact or about."""
        return self.about if self.size is None else self.size

    @property
    def is_hashed(self) -> bool:
        """Whether a hash was published."""
        return self.sha256 is not None or self.md5 is not None


def is_offline() -> bool:
    """Tell whether the environment forbids the network, by the hub's own variable."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def sources(file: RemoteFile, mirror: str | None = None) -> tuple[str, ...]:
    """List the URLs to try.

    Args:
        file: The file.
        mirror: Folder or URL to take it from instead, by its relative path, by its name alone, or by the name
            it was published under.

    Returns:
        URLs, best first.

    Raises:
        DownloadError: The mirror is no folder and no URL.
    """
    if mirror is None:
        return file.urls
    published = (unquote(PurePosixPath(urlsplit(url).path).name) for url in file.urls)
    names = dict.fromkeys((file.path, PurePosixPath(file.path).name, *published))
    if mirror.startswith(("https://", "http://")):
        return tuple(f"{mirror.rstrip('/')}/{quote(name)}" for name in names)
    folder = local_path(mirror) if is_local(mirror) else Path(mirror).expanduser()
    if not folder.is_dir():
        raise DownloadError(
            f"--mirror {mirror}: no such folder; give a folder, or a URL that begins with https://"
        )
    return tuple((folder.absolute() / name).as_uri() for name in names)


def readable_url(url: str) -> str:
    """Return the address under which a browser gets a file."""
    return HubFile.parse(url).url if url.startswith(HUB) else url


def copy_list(files: Sequence[RemoteFile], root: Path, mirror: str | None = None) -> str:
    """Say what to copy where, by hand or before a download.

    Args:
        files: The files.
        root: The folder.
        mirror: As for `sources`.

    Returns:
        A line with URL and size, one for each further URL and one with the target for each file; the sum.
    """
    lines = []
    for file in files:
        first, *others = map(readable_url, sources(file, mirror))
        exact = f"{file.size:,} bytes" if file.size is not None else None
        lines.append(f"{first}  ({exact or size_words(file.about)})")
        lines += [f"  or {url}" for url in others if mirror is None]
        lines.append(f"  -> {root / file.path}")
    return "\n".join([*lines, sum_words(files)])


def sum_words(files: Sequence[RemoteFile]) -> str:
    """Say how many files there are and how large they are together, as far as known."""
    known = [file.likely_size for file in files if file.likely_size is not None]
    count = f"{len(files)} {'file' if len(files) == 1 else 'files'}"
    if not known:
        return f"{count}, size unknown"
    unknown = f" and {len(files) - len(known)} of unknown size" if len(known) < len(files) else ""
    return f"{count}, {size_words(sum(known))}{unknown}"

"""Read images straight from a zip archive: one compact table of its members, one reader a process."""

import logging
import multiprocessing
import os
import stat
import struct
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contextblip.errors import DatasetError

log = logging.getLogger(__name__)

MAX_MEMBER_BYTES = 256 * 1024**2
MAX_NAME_BYTES = 512
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
# the local header repeats the name and may carry other extra fields than the directory
_EXTRA_ROOM = 256
_ENCRYPTED = 0x1
_DAMAGED = (zipfile.BadZipFile, struct.error, EOFError)
_DIRECTORY_ERRORS = (*_DAMAGED, NotImplementedError, OSError, ValueError, OverflowError)
_TABLE = np.dtype(
    [
        ("offset", "<u8"),
        ("packed", "<u8"),
        ("size", "<u8"),
        ("crc", "<u4"),
        ("method", "<u2"),
        ("flags", "<u2"),
    ]
)


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """A member of an archive; costs no more than its name.

    Attributes:
        archive: Where it lies.
        name: Its path inside.
    """

    archive: "ImageArchive"
    name: str

    def read(self) -> bytes:
        """Return its bytes; see `ImageArchive.read`."""
        return self.archive.read(self.name)

    def __str__(self) -> str:
        return f"{self.name} in {self.archive.path}"


@dataclass(frozen=True, slots=True)
class ArchivedFolder:
    """A folder of an archive.

    Attributes:
        archive: Where it lies.
        name: Its path inside.
    """

    archive: "ImageArchive"
    name: str

    def joinpath(self, name: str) -> ArchivedImage:
        """Return the member of that name in this folder."""
        return ArchivedImage(self.archive, f"{self.name}/{name}" if self.name else name)

    def __str__(self) -> str:
        return f"{self.name} in {self.archive.path}"


class _Reader:
    """A file handle that knows which process opened it."""

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self.descriptor = os.open(path, os.O_RDONLY)
        # a forked child that drops the inherited reader closes its own copy of the handle only
        weakref.finalize(self, os.close, self.descriptor)


class ImageArchive:
    """A zip archive whose members are read without extracting it.

    The directory is read once into arrays, 100 bytes or so a member, which forked workers share. Every
    process opens the file for itself on its first read. A pickle holds the path alone; the process that loads
    it builds the table once. Members with an absolute path, with ``..``, that are links, and those of
    ``__MACOSX`` are left out.

    Args:
        path: A ``.zip`` file with stored or deflated members, of any size (zip64).
        dataset: Name of the data set, for messages.

    Attributes:
        names: Paths of the members, sorted, ``(M,)`` of UTF-8 bytes.
        ignored: Number of members with an unsafe name or type, those of ``__MACOSX`` aside.

    Raises:
        DatasetError: It cannot be opened, or is truncated or no zip file.
    """

    def __init__(self, path: Path, dataset: str) -> None:
        self.path = path
        self.dataset = dataset
        self._reader: _Reader | None = None
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
                if any(info.header_offset < 0 for info in members):
                    raise zipfile.BadZipFile("its directory places members before its start")
        except _DIRECTORY_ERRORS as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise DatasetError(
                f"{dataset}: {path} is no complete zip archive ({reason or type(error).__name__}); "
                "download it again"
            ) from error
        # of members with the same name the last counts, as everywhere
        members = [info for info in members if not (info.is_dir() or "__MACOSX" in info.filename.split("/"))]
        named = {name: _entry(info) for info in members if (name := _safe_name(info)) is not None}
        self.ignored = sum(_safe_name(info) is None for info in members)
        names = np.array(list(named), dtype=np.bytes_)
        table = np.array(list(named.values()), dtype=_TABLE)
        order = np.argsort(names, kind="stable")
        self.names: npt.NDArray[np.bytes_] = names[order]
        self._table = table[order]

    @staticmethod
    def open(path: Path, dataset: str) -> "ImageArchive":
        """Return the archive of a file; the same object as long as the file stays the same.

        Args:
            path: The file.
            dataset: Name of the data set, for messages.

        Returns:
            The archive.

        Raises:
            DatasetError: It cannot be opened, or is truncated or no zip file.
        """
        path = path.absolute()
        try:
            state = path.stat()
        except OSError as error:
            raise DatasetError(f"{dataset}: {path} cannot be opened ({error.strerror})") from error
        return _open(path, dataset, state.st_size, state.st_mtime_ns)

    def __reduce__(self) -> tuple[Callable[[Path, str], "ImageArchive"], tuple[Path, str]]:
        return ImageArchive.open, (self.path, self.dataset)

    def __len__(self) -> int:
        return len(self.names)

    def folders(self) -> Iterator[tuple[str, list[str]]]:
        """Walk the folders that hold files.

        Yields:
            Path of a folder ("" is the archive itself) and the names of the files right in it, both sorted.
        """
        folder: str | None = None
        files: list[str] = []
        for path in self._paths():
            parent, _, name = path.rpartition("/")
            if folder is not None and parent != folder:
                yield folder, files
                files = []
            folder = parent
            files.append(name)
        if folder is not None:
            yield folder, files

    def read(self, name: str) -> bytes:
        """Read a member.

        Args:
            name: Its path inside.

        Returns:
            Its bytes, checked against the CRC.

        Raises:
            FileNotFoundError: There is no such member.
            OSError: It is damaged, larger than ``MAX_MEMBER_BYTES``, or packed in a way that is not read.
        """
        key = _encode(name)
        row = int(np.searchsorted(self.names, key))
        if row == len(self.names) or self.names[row] != key:
            raise FileNotFoundError(f"{self.path} has no member {name}")
        entry = self._table[row]
        offset, packed, size = int(entry["offset"]), int(entry["packed"]), int(entry["size"])
        if max(packed, size) > MAX_MEMBER_BYTES:
            raise OSError(f"it has {size:,} bytes, more than the limit of {MAX_MEMBER_BYTES:,}")
        if entry["flags"] & _ENCRYPTED:
            raise OSError("it is encrypted")
        data = _unpack(self._stored_bytes(offset, packed, len(key)), int(entry["method"]), size)
        if len(data) != size or zlib.crc32(data) != int(entry["crc"]):
            raise OSError("it is damaged: its length or checksum is not the archive's")
        return data

    def _paths(self) -> Iterator[str]:
        # sorting whole paths puts a folder's files and its subfolders' files among each other
        keys = sorted(name.rpartition(b"/")[::2] for name in self.names.tolist())
        return (_decode(b"/".join(key) if key[0] else key[1]) for key in keys)

    def _stored_bytes(self, offset: int, packed: int, name_length: int) -> bytes:
        """Read a member as it is stored, in one call where the local header is no longer than usual."""
        head = _LOCAL_HEADER.size + name_length + _EXTRA_ROOM
        block = self._read_at(offset, head + packed)
        if len(block) < _LOCAL_HEADER.size:
            raise OSError("the archive ends before it; it was cut or replaced")
        signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(block)
        if signature != _LOCAL_SIGNATURE:
            raise OSError("the archive has no member where its directory says so; it was changed")
        start = _LOCAL_HEADER.size + name_bytes + extra_bytes
        if start > head:
            return self._read_at(offset + start, packed)
        return block[start : start + packed]

    def _read_at(self, offset: int, length: int) -> bytes:
        """Read a stretch of the file without moving any position, so that threads do not meet."""
        reader = self._reader
        if reader is None or reader.pid != os.getpid():
            reader = self._reader = _Reader(self.path)
        parts: list[bytes] = []
        while length and (part := os.pread(reader.descriptor, length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)


@cache
def _open(path: Path, dataset: str, size: int, modified: int) -> ImageArchive:
    del size, modified  # part of the key: a file that changed is read anew
    archive = ImageArchive(path, dataset)
    if archive.ignored and multiprocessing.parent_process() is None:  # workers open it too
        _warn_of_ignored(path, archive.ignored)
    return archive


@cache  # says it once
def _warn_of_ignored(path: Path, number: int) -> None:
    reason = "they are links or their names are unsafe; download it again if images are missing"
    log.warning("%s members of %s are left out: %s", f"{number:,}", path, reason)


def _entry(info: zipfile.ZipInfo) -> tuple[int, ...]:
    return (
        info.header_offset,
        info.compress_size,
        info.file_size,
        info.CRC,
        info.compress_type,
        info.flag_bits,
    )


def _safe_name(info: zipfile.ZipInfo) -> bytes | None:
    """Return a file's path inside, or ``None`` where it would escape a folder or is no plain file."""
    path = info.filename.replace("\\", "/")
    parts = path.split("/")
    is_plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
    if not is_plain or not set(parts).isdisjoint(("", ".", "..")):
        return None
    name = _encode(path) if "\0" not in path and ":" not in parts[0] else b""
    return name if 0 < len(name) <= MAX_NAME_BYTES else None


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _unpack(stored: bytes, method: int, size: int) -> bytes:
    if method == zipfile.ZIP_STORED:
        return stored
    if method == zipfile.ZIP_DEFLATED:
        try:
            # a byte more than announced is enough to see that the announcement is wrong
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, size + 1)
        except zlib.error as error:
            raise OSError(f"it is damaged: {error}") from error
    raise OSError(
        f"it is packed by method {method}, only stored and deflated ones are read; extract the archive"
    )

"""Zip and tar archives extracted without trusting them: nothing is written outside the folder, no links."""

from __future__ import annotations

import json
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, cast

from contextblip.downloads.extracted_record import ExtractedRecord
from contextblip.downloads.meters import Meter, check_space, progress
from contextblip.errors import DatasetError

MAX_MEMBERS = 2_000_000
# Deflate reaches a thousand; real annotation files stay below twenty
MAX_RATIO = 100
_SLACK = 1 << 20  # tiny archives of repetitive text may well be squeezed further
_CHUNK = 1 << 20
_STATE = ".archive.json"
# What the readers raise at damaged bytes, and the file system at a file where a folder should be
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    NotADirectoryError,
    IsADirectoryError,
    FileExistsError,
)


@dataclass(frozen=True)
class _Member:
    """A file or folder of an archive: its name as stored, its declared size and how to read it."""

    name: str
    size: int
    is_folder: bool
    handle: Any


class _Archive:
    """What zip and tar have in common.

    Args:
        path: The archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def members(self) -> Iterator[_Member]:
        """List files and folders, or refuse what is neither."""
        raise NotImplementedError

    def open(self, member: _Member) -> IO[bytes]:
        """Open a file of the archive."""
        raise NotImplementedError


class _Zip(_Archive):
    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._file = file

    def members(self) -> Iterator[_Member]:
        for info in self._file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(self.path, info.filename, "is a link or a device")
            if info.flag_bits & 1:
                raise _refused(self.path, info.filename, "is encrypted")
            yield _Member(info.orig_filename, info.file_size, info.is_dir(), info)

    def open(self, member: _Member) -> IO[bytes]:
        return self._file.open(member.handle)


class _BoundedTarInfo(tarfile.TarInfo):
    def _proc_member(self, file: tarfile.TarFile) -> tarfile.TarInfo:  # which reads long names whole
        if self.type in b"LKxgX" and self.size > _CHUNK:
            raise DatasetError(f"{cast(str, file.name)}: refused: a header has {self.size:,} bytes")
        return super()._proc_member(file)  # type: ignore[misc,no-any-return]  # not in typeshed


class _Tar(_Archive):
    def __init__(self, path: Path, file: tarfile.TarFile) -> None:
        super().__init__(path)
        self._file = file

    def members(self) -> Iterator[_Member]:
        for info in self._file:
            if not (info.isreg() or info.isdir()):
                raise _refused(self.path, info.name, "is a link or a device")
            try:
                tarfile.data_filter(info, str(self.path.parent))
            except tarfile.FilterError as error:
                raise _refused(self.path, info.name, f"is not plain data ({error})") from error
            yield _Member(info.name, info.size, info.isdir(), info)

    def open(self, member: _Member) -> IO[bytes]:
        stream = self._file.extractfile(member.handle)
        if stream is None:
            raise _refused(self.path, member.name, "is no file")
        return stream


def extract(archive: Path, folder: Path) -> Path:
    """Extract an archive into a folder, beside what lies there.

    Everything goes to a hidden folder first and is moved when complete; interrupted, the next call goes
    on from there. What lies in the folder with its name and size, from an earlier call or by hand, is not
    written again; where all does, the archive may be gone.

    Args:
        archive: A zip, tar, or compressed tar.
        folder: Where its members go.

    Returns:
        The folder.

    Raises:
        DatasetError: The archive is missing, damaged, larger than it should be, or holds absolute paths,
            paths that lead out of the folder, links, devices or encrypted files.
        DownloadError: There is no room.
    """
    if is_extracted(archive, folder):
        return folder
    if not archive.is_file():
        raise DatasetError(f"{archive}: no such archive; download it again")
    record, size = ExtractedRecord.read(archive, folder), archive.stat().st_size
    # Another edition of the archive may hold other content of the same size
    there = folder if record is None or record.archive_size == size else None
    draft = folder / f".extracting-{archive.name}"
    _begin(draft, archive)
    try:
        with _opened(archive) as opened, progress(f"extracting {archive.name}") as meter:
            sizes = _extract_members(opened, draft, there, size * MAX_RATIO + _SLACK, meter)
    except DatasetError:
        shutil.rmtree(draft)  # nothing of a refused archive stays
        raise
    except _DAMAGE as error:
        raise DatasetError(f"{archive}: damaged ({error}); delete it and download it again") from error
    (draft / _STATE).unlink()
    _merge(draft, folder)
    ExtractedRecord.of(archive, sizes).write(archive, folder)
    return folder


def is_extracted(archive: Path, folder: Path) -> bool:
    """Tell whether an archive was extracted into a folder before.

    Args:
        archive: It may have been deleted since.
        folder: Where it was extracted to.

    Returns:
        Whether it was, the archive is the same if it is there, and all its files have their size.
    """
    return lacking_files(archive, folder) == []


def lacking_files(archive: Path, folder: Path) -> list[str] | None:
    """List what was extracted before and is now missing or of another size.

    Args:
        archive: It may have been deleted since.
        folder: Where it was extracted to.

    Returns:
        Paths inside the archive; ``None`` if it never was extracted, or is another one now.
    """
    record = ExtractedRecord.read(archive, folder)
    if record is None or (archive.is_file() and archive.stat().st_size != record.archive_size):
        return None
    return record.lacking(folder)


def _begin(draft: Path, archive: Path) -> None:
    """Make the hidden folder; what another archive left in it is removed."""
    state = archive.stat()
    mine = json.dumps({"size": state.st_size, "mtime_ns": state.st_mtime_ns})
    if draft.is_dir() and (not (draft / _STATE).is_file() or (draft / _STATE).read_text() != mine):
        shutil.rmtree(draft)
    draft.mkdir(parents=True, exist_ok=True)
    (draft / _STATE).write_text(mine, encoding="utf-8")


@contextmanager
def _opened(path: Path) -> Iterator[_Archive]:
    """Open an archive by its content, not by its name."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            yield _Zip(path, file)
        return
    try:
        tar = tarfile.open(path, tarinfo=_BoundedTarInfo)  # noqa: SIM115  # closed below
    except tarfile.TarError as error:
        problem = f"{path}: no zip and no tar, or cut short; delete it and download it again"
        raise DatasetError(problem) from error
    with tar:
        yield _Tar(path, tar)


def _extract_members(
    archive: _Archive, draft: Path, there: Path | None, limit: int, meter: Meter
) -> dict[str, int]:
    """Check all members, write those that lie neither in the draft nor there, and return all sizes."""
    members: Iterable[_Member] = _checked(archive, archive.members(), limit)
    folders = [draft] if there is None else [draft, there]
    sizes: dict[str, int] = {}
    if isinstance(archive, _Zip):  # its directory tells all before the first byte is written
        members = list(members)
        needed = sum(member.size for member in members if not _lies_in(folders, member))
        check_space(draft, needed, str(archive.path))
        meter.start(sum(member.size for member in members))
    else:
        meter.start(None)
    for member in members:
        target = draft / member.name
        if member.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        sizes[member.name] = member.size
        if not _lies_in(folders, member):
            if not isinstance(archive, _Zip):
                check_space(draft, member.size, str(archive.path))
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(archive, member, target)
        meter.advance(member.size)
    return sizes


def _lies_in(folders: Iterable[Path], member: _Member) -> bool:
    paths = (folder / member.name for folder in folders)
    return any(path.is_file() and path.stat().st_size == member.size for path in paths)


def _checked(archive: _Archive, members: Iterable[_Member], limit: int) -> Iterator[_Member]:
    """Let members through whose names stay inside, none twice, up to the limits."""
    seen: set[str] = set()
    total = 0
    for member in members:
        path = PurePosixPath(member.name)
        outside = path.is_absolute() or PureWindowsPath(member.name).drive or ".." in path.parts
        if outside or "\\" in member.name or "\0" in member.name:
            raise _refused(archive.path, member.name, "leads out of the folder")
        if str(path) in seen and not member.is_folder:
            raise _refused(archive.path, member.name, "occurs twice")
        if path.parts and path.parts[0] == _STATE:
            raise _refused(archive.path, member.name, "has a reserved name")
        seen.add(str(path))
        total += member.size
        if total > limit or len(seen) > MAX_MEMBERS:
            raise DatasetError(
                f"{archive.path}: would extract to more than {limit:,} bytes or {MAX_MEMBERS:,} files; it is "
                "not the published archive"
            )
        yield member


def _write(archive: _Archive, member: _Member, target: Path) -> None:
    """Write a file, no more than its declared size."""
    left = member.size
    with archive.open(member) as stream, target.open("wb") as file:
        while chunk := stream.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise _refused(archive.path, member.name, "is longer than declared")
            file.write(chunk)
    if left:
        raise DatasetError(
            f"{archive.path}: {member.name} is cut short; delete the archive and download it again"
        )


def _merge(draft: Path, folder: Path) -> None:
    """Move everything of one folder into another on the same disk, over what is there."""
    for entry in draft.iterdir():
        place = folder / entry.name
        if entry.is_dir() and place.is_dir():
            _merge(entry, place)
        else:
            entry.replace(place)
    draft.rmdir()


def _refused(archive: Path, name: str, reason: str) -> DatasetError:
    return DatasetError(f"{archive}: refused: {name!r} {reason}; nothing was extracted")

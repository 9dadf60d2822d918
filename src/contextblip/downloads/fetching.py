"""Published files brought under a folder: from several mirrors, verified, and never fetched twice."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from contextblip.downloads.extraction import extract, lacking_files
from contextblip.downloads.file_forms import shows_its_end
from contextblip.downloads.hash_record import STATE_FOLDER, HashRecord, check_form, check_published
from contextblip.downloads.hub_files import fetch_from_hub
from contextblip.downloads.meters import DownloadError, check_space, progress, size_words
from contextblip.downloads.remote_files import (
    RemoteFile,
    copy_list,
    is_offline,
    readable_url,
    sources,
    sum_words,
)
from contextblip.downloads.transfers import fetch, note_path

_SCHEMES = ("https", "http", "file", "hf")
_NOT_KEPT = "it was not kept"


def part_path(target: Path) -> Path:
    """Return where a file lies until it is complete."""
    return target.with_name(f"{target.name}.part")


def missing_files(files: Sequence[RemoteFile], root: Path) -> list[RemoteFile]:
    """List the files that do not lie below a root yet, extracted archives aside; none is read."""
    return [file for file in files if not (root / file.path).is_file() and _lacking(file, root) != []]


def download_all(files: Sequence[RemoteFile], root: Path, *, mirror: str | None = None) -> list[Path]:
    """Bring files under a root, each as `download` does, and extract the archives that are read extracted.

    How much will be fetched is printed first; where the network is missing or forbidden, what to copy where.

    Args:
        files: The files.
        root: The folder.
        mirror: Folder or URL to take them from instead, by relative path or by name.

    Returns:
        Their paths; an archive that was extracted and deleted since is fetched again only if something
        that came out of it is missing or of another size.

    Raises:
        DownloadError: One cannot be had, or there is no room for all.
        DatasetError: An archive is damaged or not safe to extract.
    """
    lacking = {file.path: _lacking(file, root) for file in files}
    missing = [file for file in files if lacking[file.path] != [] and not (root / file.path).is_file()]
    root.mkdir(parents=True, exist_ok=True)
    _say_what_lacks(files, missing, lacking)
    if missing and mirror is None and is_offline() and not all(map(_has_local_source, missing)):
        _print_copy_list(missing, root)
        raise DownloadError(
            f"HF_HUB_OFFLINE is set and {len(missing)} of {len(files)} files are missing: copy them as "
            "listed above, name a copy with --mirror FOLDER, or unset HF_HUB_OFFLINE"
        )
    if missing:
        _say(f"to fetch: {sum_words(missing)}; {len(files) - len(missing)} of {len(files)} are there already")
    begun = [part for file in missing if (part := part_path(root / file.path)).is_file()]
    needed = sum(file.likely_size or 0 for file in missing) - sum(part.stat().st_size for part in begun)
    check_space(root, needed, f"{len(missing)} files for {root}")
    for number, file in enumerate(files, 1):
        if lacking[file.path] == []:
            continue
        try:
            count = f"[{number}/{len(files)}] " if len(files) > 1 else ""
            download(file, root, mirror=mirror, count=count)
        except DownloadError as error:
            if error.unreachable:
                _print_copy_list(missing_files(files, root), root)
            raise
        if file.extract_to is not None:
            extract(root / file.path, root / file.extract_to)
    shutil.rmtree(root / STATE_FOLDER / "hub", ignore_errors=True)
    return [root / file.path for file in files]


def download(file: RemoteFile, root: Path, *, mirror: str | None = None, count: str = "") -> Path:
    """Bring a file under a root, resuming where an earlier call stopped.

    A file that lies there already is checked, not fetched: its size, its published hash, else the hash
    recorded when it was first seen, else its form. One that is untouched since then is not read again.

    Args:
        file: The file.
        root: The folder.
        mirror: Folder or URL to take it from instead, by its relative path or by its name.
        count: Stands before the line that names the file.

    Returns:
        Its path.

    Raises:
        DownloadError: It cannot be had, or it is not the published one.
    """
    target, record = root / file.path, HashRecord(root)
    if target.is_file():
        record.check(file)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(target)
    reasons, unreachable = [], False
    for url in sources(file, mirror):
        _say(f"{count}{file.path} ({size_words(file.likely_size)}) from {readable_url(url)}")
        try:
            length_known = _fetch(url, part, file, root)
            sha256, proven = _check_part(file, part, length_known)
        except DownloadError as error:
            reasons.append(f"{readable_url(url)} ({error})")
            unreachable = unreachable or error.unreachable
            continue
        part.replace(target)
        note_path(part).unlink(missing_ok=True)
        _record(file, record, sha256, proven)
        return target
    raise DownloadError(
        f"{file.path} could not be had: {'; '.join(reasons)}; put a copy at {target} or name one with "
        "--mirror",
        unreachable=unreachable,
    )


def _fetch(url: str, part: Path, file: RemoteFile, root: Path) -> bool:
    """Bring a URL of any kind into the partial file; tell whether its source knew how long it is."""
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        raise DownloadError(f"a URL begins with one of {', '.join(_SCHEMES)}")
    if scheme != "file" and is_offline():
        raise DownloadError("HF_HUB_OFFLINE is set", unreachable=True)
    if scheme == "hf":
        fetch_from_hub(url, part, root / STATE_FOLDER / "hub")  # the client compares sizes itself
        return True
    with progress(PurePosixPath(file.path).name) as meter:
        return fetch(url, part, meter, size=file.size, hashed=file.is_hashed)


def _check_part(file: RemoteFile, part: Path, length_known: bool) -> tuple[str, bool]:
    """Check a file that came; a wrong one is deleted, for nothing can be gone on with from it.

    Returns:
        Its hash, and whether it is known to be whole.
    """
    proven = length_known or file.is_hashed or file.size is not None
    try:
        sha256 = check_published(file, part, _NOT_KEPT)
        if not file.is_hashed:
            check_form(file, part, _NOT_KEPT, parse=not proven)
    except DownloadError:
        part.unlink()
        note_path(part).unlink(missing_ok=True)
        raise
    if not proven:
        proven = shows_its_end(part, file.path)
        rest = (
            "it is whole by its form"
            if proven
            else "whether it is whole cannot be told, so its hash will refuse no other"
        )
        _say(f"warning: {file.path} came without a length; {rest}")
    return sha256, proven


def _record(file: RemoteFile, record: HashRecord, sha256: str, proven: bool) -> None:
    """Record a file that came; it replaces what was known of one that is gone."""
    before = record.trusted(file.path)
    if before not in (None, sha256):
        _say(
            f"{file.path} is another file than was recorded before it was deleted (sha256 {before}, now "
            f"{sha256}): recorded anew"
        )
    record.write(file.path, sha256, proven=proven)


def _lacking(file: RemoteFile, root: Path) -> list[str] | None:
    """List what lacks of an extracted archive; ``None`` for what was never extracted or never is."""
    if file.extract_to is None:
        return None
    return lacking_files(root / file.path, root / file.extract_to)


def _say_what_lacks(
    files: Sequence[RemoteFile], missing: Sequence[RemoteFile], lacking: Mapping[str, list[str] | None]
) -> None:
    """Say which archives will be extracted again, and why."""
    for file in files:
        if names := lacking[file.path]:
            again = "fetched and extracted" if file in missing else "extracted"
            _say(
                f"{file.path}: {len(names):,} of its extracted files are missing or of another size, first "
                f"{names[0]}; {again} again"
            )


def _has_local_source(file: RemoteFile) -> bool:
    return any(urlsplit(url).scheme == "file" for url in file.urls)


def _print_copy_list(files: Sequence[RemoteFile], root: Path) -> None:
    _say(f"What is missing, and where it belongs:\n{copy_list(files, root)}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

"""Bytes from a URL into a file: resumed only where the remote is provably the same, never silently cut short.

Written upon ``urllib.request`` and not upon fsspec, whose HTTP file system hides the status of a range
request: the whole file of a server that knows no ranges would be appended to the half that is there.
"""

from __future__ import annotations

import http.client
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener, url2pathname

from contextblip import __version__
from contextblip.downloads.meters import DownloadError, Meter, check_space

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_ATTEMPTS = 5  # in a row that bring nothing new
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _CutShortError(Exception):
    """The connection ended before the file did."""


def is_local(url: str) -> bool:
    """Tell whether a URL names a file of this machine."""
    return urlsplit(url).scheme == "file"


def local_path(url: str) -> Path:
    """Return the path that a ``file://`` URL names."""
    return Path(url2pathname(urlsplit(url).path))


@dataclass
class _Remote:
    """An opened remote: a stream from ``offset`` of ``size`` bytes; ``tag`` changes with the content."""

    stream: IO[bytes]
    size: int | None
    tag: str
    offset: int


class _SameSchemeRedirects(HTTPRedirectHandler):
    """Follows redirects to the same scheme, or from http up to https, and no others."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage | Message,
        newurl: str,
    ) -> Request | None:
        """Make the request that follows a redirect."""
        scheme = urlsplit(newurl).scheme
        if scheme not in {req.type, "https"}:
            raise URLError(f"redirects from {req.type} to {newurl}: not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typeshed wants the subclass of Message


_opener = build_opener(_SameSchemeRedirects)


def fetch(url: str, part: Path, meter: Meter, *, size: int | None, hashed: bool) -> bool:
    """Bring a file of ``https``, ``http`` or ``file`` here, going on with what an earlier call left.

    Beside the partial file lies a note of what it is part of; where the remote has changed since, or
    cannot tell, or serves no ranges, it is fetched from its beginning.

    Args:
        url: The file.
        part: Where to write; it stays there when interrupted.
        meter: Counts bytes.
        size: The published size, if known.
        hashed: Whether the caller will check a hash, so that an unchanged size suffices to go on.

    Returns:
        Whether the source told how long the file is, so that all of it came.

    Raises:
        DownloadError: It cannot be had; the message is the reason alone.
    """
    failures, most = 0, 0
    while True:
        try:
            return _fetch_once(url, part, meter, size, hashed)
        except HTTPError as error:
            error.close()
            raise DownloadError(f"HTTP {error.code} {error.reason}") from error
        except URLError as error:
            raise DownloadError(str(error.reason), unreachable=isinstance(error.reason, OSError)) from error
        except (_CutShortError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            size_now = part.stat().st_size if part.exists() else 0
            failures, most = (0, size_now) if size_now > most else (failures + 1, most)
            if failures >= _ATTEMPTS or not (hashed or _read_note(part).get("tag")):
                raise DownloadError(
                    f"the connection broke off ({error or type(error).__name__})", unreachable=True
                ) from error
        except OSError as error:
            raise DownloadError(f"{error.strerror or error}: {error.filename or url}") from error


def _fetch_once(url: str, part: Path, meter: Meter, size: int | None, hashed: bool) -> bool:
    """Open the remote, go on or begin, and copy to its end; tell whether that was known beforehand."""
    note = _read_note(part)
    offset = part.stat().st_size if part.exists() and note.get("url") == url else 0
    if not (hashed or note.get("tag")) or offset > (note.get("size") or offset):
        offset = 0
    if offset and offset == note.get("size"):
        return True
    remote = _open(url, offset)
    if remote.offset and (remote.tag, remote.size) != (note.get("tag"), note.get("size")):
        remote.stream.close()
        remote = _open(url, 0)
    with remote.stream:
        if size is not None and remote.size not in (None, size):
            raise DownloadError(f"offers {remote.size:,} bytes, but {size:,} were published")
        check_space(part.parent, (remote.size or size or 0) - remote.offset, url)
        _write_note(part, {"url": url, "size": remote.size, "tag": remote.tag})
        meter.start(remote.size or size, remote.offset)
        with part.open("ab" if remote.offset else "wb") as file:
            while chunk := remote.stream.read(_CHUNK):
                file.write(chunk)
                meter.advance(len(chunk))
    got = part.stat().st_size
    if remote.size is not None and got != remote.size:
        raise _CutShortError(f"{got:,} of {remote.size:,} bytes came")
    return remote.size is not None


def _open(url: str, offset: int) -> _Remote:
    """Open a remote at an offset, or at its beginning where it cannot do that."""
    if is_local(url):
        path = local_path(url)
        state = path.stat()
        stream = path.open("rb")
        stream.seek(offset if offset <= state.st_size else 0)
        return _Remote(stream, state.st_size, f"mtime {state.st_mtime_ns}", stream.tell())
    headers = {"User-Agent": f"contextblip/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    # The callers let through http and https alone, and redirects are held to them
    request = Request(quote(url, safe=":/?#[]@!$&'()*+,;=%~"), headers=headers)  # noqa: S310
    try:
        response = _opener.open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            error.close()
            return _open(url, 0)
        raise
    if response.headers.get("Content-Encoding", "identity") != "identity":
        response.close()
        raise DownloadError("the server sends the file compressed, so that its size cannot be checked")
    tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length")
        return _Remote(response, None if length is None else int(length), tag, 0)
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != offset:
        response.close()
        return _open(url, 0)
    return _Remote(response, None if found[2] == "*" else int(found[2]), tag, offset)


def note_path(part: Path) -> Path:
    """Return where the note beside a partial file lies."""
    return part.with_name(f"{part.name}.json")


def _read_note(part: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        note = json.loads(note_path(part).read_text(encoding="utf-8"))
        return note if isinstance(note, dict) else {}
    return {}


def _write_note(part: Path, note: dict[str, Any]) -> None:
    note_path(part).write_text(json.dumps(note), encoding="utf-8")

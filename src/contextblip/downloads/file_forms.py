"""What a file must look like by its name: tells a login page or a cut reply from what was published."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path, PurePosixPath

_EDGE = 4096  # bytes looked at from either end
_MARK = b"\xef\xbb\xbf"  # some editors begin UTF-8 with it
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|body|script|!--|\?xml)", re.IGNORECASE)
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
# Hosts convert images without renaming them: either kind passes under either name
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_WEIGHTS_SUFFIXES = (".pth", ".bin")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def form_fault(path: Path, name: str, *, parse: bool = False) -> str:
    """Say what is wrong with a file's form.

    Args:
        path: Where it lies now.
        name: What it is called when it lies in its place; the suffix says what it should be.
        parse: Whether to read JSON to its end, for a file of which nothing else tells that it is whole.

    Returns:
        Words that follow the path in a message; none if it may be what its name says.
    """
    head, tail = _edges(path)
    suffix = _suffix(name)
    if not tail:
        return "is empty"
    if _PAGE.match(head):
        return "is a web page, such as a login or an error, and not the file"
    if suffix == ".json":
        return _json_fault(path, head, tail, parse)
    if suffix == ".zip" or (suffix in _WEIGHTS_SUFFIXES and head.startswith(_ZIP)):
        return _zip_fault(path)
    if suffix in _WEIGHTS_SUFFIXES and not head.startswith(_PICKLE):
        return "holds no weights: it begins as neither a zip nor a pickle"
    if suffix in _IMAGE_SUFFIXES and not head.startswith(_IMAGES):
        return "is neither a JPEG nor a PNG"
    return ""


def shows_its_end(path: Path, name: str) -> bool:
    """Tell whether a file without a fault could not have been cut short.

    Args:
        path: Where it lies now.
        name: What it is called when it lies in its place.

    Returns:
        Whether it is JSON that was parsed, or a zip, whose directory stands at its end.
    """
    suffix = _suffix(name)
    zipped = suffix in _WEIGHTS_SUFFIXES and _edges(path)[0].startswith(_ZIP)
    return zipped or suffix in (".json", ".zip")


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _edges(path: Path) -> tuple[bytes, bytes]:
    """Read the beginning and the end."""
    with path.open("rb") as file:
        head = file.read(_EDGE)
        file.seek(max(0, path.stat().st_size - _EDGE))
        return head.removeprefix(_MARK), file.read(_EDGE)


def _json_fault(path: Path, head: bytes, tail: bytes, parse: bool) -> str:
    first, last = head.lstrip()[:1], tail.rstrip()[-1:]
    if first not in (b"[", b"{"):
        return "is no JSON: it begins with neither [ nor {"
    if last != (b"]" if first == b"[" else b"}"):
        return "is cut short: its JSON has no end"
    if parse:
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            return f"is cut short or damaged: no valid JSON ({error})"
    return ""


def _zip_fault(path: Path) -> str:
    # is_zipfile only looks for the record at the end; opening reads the directory that it points to
    try:
        zipfile.ZipFile(path).close()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        return f"is no zip, or cut short ({error})"
    return ""

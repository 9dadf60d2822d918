"""Decode large JSON files record by record, so that millions of rows never stand in memory at once."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeVar

from contextblip.errors import DatasetError

T = TypeVar("T")

CHUNK = 1 << 22
_KINDS = {"{": "an object", "[": "a list"}
_DELIMITERS = frozenset(",:]} \t\r\n")
_DECODER = json.JSONDecoder()


class JsonStream:
    """A cursor over one JSON file; only the record at hand and one chunk of text are kept.

    Args:
        file: Open text.
        path: Its path, for messages.
        dataset: Name of the data set, for messages.
    """

    def __init__(self, file: TextIO, path: Path, dataset: str) -> None:
        self._file = file
        self._where = f"{dataset}: {path}"
        self._text = ""
        self._at = 0
        self._before = 0
        self._chunk = CHUNK

    def start(self, opening: str) -> None:
        """Check what the file holds, an object (``{``) or a list (``[``)."""
        if not (found := self._peek()):
            raise DatasetError(f"{self._where} is empty; download it again")
        if found != opening:
            kind = _KINDS.get(found, "something else")
            raise DatasetError(f"{self._where} holds {kind}, expected {_KINDS[opening]}")

    def end(self) -> None:
        """Check that nothing follows."""
        if self._peek():
            raise self._broken("text after the end")

    def records(self) -> Iterator[Any]:
        """Yield the values of the list that starts here."""
        self._take("[")
        if self._peek() == "]":
            self._take("]")
            return
        separator = ","
        while separator == ",":
            yield self.value()
            separator = self._take(",]")

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that starts here; each value must be read before the next key."""
        self._take("{")
        if self._peek() == "}":
            self._take("}")
            return
        keys: set[str] = set()
        separator = ","
        while separator == ",":
            key = str(self.value())
            if key in keys:
                raise DatasetError(f"{self._where} has the key {key!r} twice; download it again")
            keys.add(key)
            self._take(":")
            yield key
            separator = self._take(",}")

    def value(self) -> Any:  # noqa: ANN401  # JSON holds anything
        """Decode the value that starts here."""
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._fill():
                    unfinished = error.pos >= len(self._text) or error.msg.startswith("Unterminated")
                    raise (self._cut() if unfinished else self._broken(error.msg, error.pos)) from error
                continue
            except (RecursionError, ValueError) as error:  # no parser takes a number of 5,000 digits either
                deep = isinstance(error, RecursionError)
                raise self._broken("nested too deeply" if deep else str(error)) from error
            # a number at the end of the text at hand may go on in the next chunk, as 1 does in 1.5e3
            if self._text[end : end + 1] in _DELIMITERS or not self._fill():
                self._at = end
                self._chunk = CHUNK
                return value

    def _peek(self) -> str:
        """Return the next character that is no white space, "" at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._fill():
                return ""

    def _take(self, expected: str) -> str:
        found = self._peek()
        if not found:
            raise self._cut()
        if found not in expected:
            raise self._broken(f"expected {' or '.join(expected)}, found {found}", self._at)
        self._at += 1
        return found

    def _fill(self) -> bool:
        """Drop what was read and append text, each time twice as much until a record is complete."""
        try:
            more = self._file.read(self._chunk)
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self._where} is not UTF-8 ({error}); download it again") from error
        except OSError as error:
            raise DatasetError(f"{self._where} cannot be read ({error}); download it again") from error
        if more:
            self._before += self._at
            self._text = self._text[self._at :] + more
            self._at = 0
            self._chunk *= 2
        return bool(more)

    def _cut(self) -> DatasetError:
        length = self._before + len(self._text)
        return DatasetError(
            f"{self._where} is not valid JSON (cut off after {length:,} characters); download it again"
        )

    def _broken(self, reason: str, at: int | None = None) -> DatasetError:
        place = self._before + (self._at if at is None else at)
        return DatasetError(
            f"{self._where} is not valid JSON ({reason}, character {place:,}); download it again"
        )


def stream_list(path: Path, dataset: str) -> Iterator[Any]:
    """Yield the records of a file that holds one list.

    Args:
        path: The file.
        dataset: Name of the data set, for messages.

    Yields:
        One decoded record at a time.

    Raises:
        DatasetError: It is unreadable, no UTF-8, no JSON, cut off, or holds no list.
    """
    with _opened(path, dataset) as file:
        stream = JsonStream(file, path, dataset)
        stream.start("[")
        yield from stream.records()
        stream.end()


def stream_lists(path: Path, dataset: str, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield the records of some lists of a file that holds one object.

    Args:
        path: The file.
        dataset: Name of the data set, for messages.
        keys: Which members; each must be there and be a list.

    Yields:
        The member's name and one decoded record at a time, in file order.

    Raises:
        DatasetError: It is unreadable, no UTF-8, no JSON, cut off, or lacks a list.
    """
    missing = dict.fromkeys(keys)
    with _opened(path, dataset) as file:
        stream = JsonStream(file, path, dataset)
        stream.start("{")
        for key in stream.members():
            if key in missing:
                del missing[key]
                yield from ((key, record) for record in stream.records())
            else:
                stream.value()
        stream.end()
    if missing:
        raise DatasetError(f"{dataset}: {path} has no list {next(iter(missing))!r}; download it again")


def _opened(path: Path, dataset: str) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(
            f"{dataset}: cannot open {path} ({error.strerror}); make it readable or download it again"
        ) from error


def parsed(
    records: Iterable[Any], parse: Callable[[Any], T], *, dataset: str, path: Path, form: str
) -> Iterator[T]:
    """Parse records; one of another form becomes one clear line.

    Args:
        records: As decoded.
        parse: Takes what it needs from a record.
        dataset: Name of the data set, for the message.
        path: File of the records, for the message.
        form: What the file should be, for the message.

    Yields:
        What ``parse`` returns.

    Raises:
        DatasetError: A record lacks a key or holds another type.
    """
    for number, record in enumerate(records):
        try:
            result = parse(record)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(
                f"{dataset}: {path} is not {form}: entry {number:,}: {reason}; "
                "download it again or correct it"
            ) from error
        yield result

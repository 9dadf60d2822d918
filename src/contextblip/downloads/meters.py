"""Progress of long copies on a terminal, sizes in words, and room on the disk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from contextblip.errors import UserError


class DownloadError(UserError):
    """A file cannot be had, or is not the one that was published.

    Args:
        message: One line: what, from where, why and the remedy.
        unreachable: Whether the network, not the file, is what is missing.
    """

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class Meter:
    """Counts bytes on a progress bar, or in silence where nobody watches."""

    def __init__(self, bar: Progress | None, description: str) -> None:
        self._bar, self._description = bar, description
        self._task: TaskID | None = None

    def start(self, total: int | None, done: int = 0) -> None:
        """Set the size and what is there already."""
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task(self._description, total=total)
        self._bar.update(self._task, total=total, completed=done)

    def advance(self, count: int) -> None:
        """Count further bytes."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)


@contextmanager
def progress(description: str) -> Iterator[Meter]:
    """Show bytes, speed and remaining time on a terminal; nothing elsewhere.

    Args:
        description: Stands before the bar.

    Yields:
        What counts.
    """
    if not sys.stderr.isatty():
        yield Meter(None, description)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        yield Meter(bar, description)


def size_words(size: int | None) -> str:
    """Write a size as people do, such as ``13.8 GB``; ``size unknown`` for ``None``."""
    if size is None:
        return "size unknown"
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    digits = 0 if units[0] == "B" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {units[0]}"


def check_space(folder: Path, needed: int, what: str) -> None:
    """Check that a file fits on the disk.

    Args:
        folder: An existing folder of that disk.
        needed: Bytes still to be written.
        what: Names the file, for the message.

    Raises:
        DownloadError: It does not fit.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{what}: needs {size_words(needed)}, but the disk of {folder} has {size_words(free)} free; "
            "make room or choose another --root"
        )

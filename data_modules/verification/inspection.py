"""What inspecting a data set's files finds, before any image is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_modules.verification.images import ImageJob

IMAGE_ROOT = "--image_root"  # names the option in messages
Expected = Mapping[str, int | tuple[int, ...]]


@dataclass(frozen=True)
class Count:
    """A number that was found beside the published one.

    Attributes:
        label: What was counted.
        found: How many.
        expected: How many were published; several where several editions are in use, none where unknown. It
            says itself which counts it contains: some were published only to the thousand.
    """

    label: str
    found: int
    expected: tuple[int, ...]

    @property
    def fits(self) -> bool:
        """Whether it is a published number, or none is known."""
        return not self.expected or self.found in self.expected

    @property
    def exceeds(self) -> bool:
        """Whether there are more than in any published edition, which no part of the data set explains."""
        return not self.fits and self.found > max(self.expected)

    @property
    def edition(self) -> int | None:
        """The published number that was found, where there is a choice of several."""
        if len(self.expected) < 2 or not self.fits:
            return None
        return min(self.expected, key=lambda number: abs(number - self.found))


@dataclass
class Inspection:
    """A data set as its files describe it, and what is wrong with them.

    Attributes:
        name: Its name on the command line.
        title: Its name in messages.
        layout: Which of the known layouts lies there.
        files: The files that were read.
        found: Counts by label, in the order to print them.
        jobs: Images to decode, each once.
        missing: Annotated images that do not exist.
        missing_sets: Candidate sets of which no image exists.
        problems: Other faults, each one line that names file and remedy.
        notes: What is worth knowing, but no fault.
        remedy: Says of missing and unreadable images how to get them again.
    """

    name: str
    title: str
    layout: str
    files: list[Path] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)
    jobs: list[ImageJob] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    missing_sets: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remedy: Callable[[Sequence[str]], str] = lambda _names: "copy them there again"

    def compare(self, expected: Expected) -> list[Count]:
        """Put the published counts beside the found ones.

        Args:
            expected: Published counts by label.

        Returns:
            The counts that were found; without images none of images.
        """
        return [Count(label, n, _as_tuple(expected.get(label, ()))) for label, n in self.found.items()]


def _as_tuple(counts: int | tuple[int, ...]) -> tuple[int, ...]:
    return (counts,) if isinstance(counts, int) else counts


def short_name(path: Path, root: Path) -> str:
    """Name a file by its path below the root where it lies there, else by its whole path.

    Args:
        path: The file.
        root: Root of the data set.

    Returns:
        The name.
    """
    file, base = os.path.abspath(path), os.path.abspath(root)  # noqa: PTH100  # links stay as they are
    return os.path.relpath(file, base) if file.startswith(f"{base}{os.sep}") else file


def some(names: Sequence[str], most: int = 3) -> str:
    """List the first names and say how many more there are.

    Args:
        names: All of them.
        most: How many to list.

    Returns:
        Text such as ``a, b, c and 4 more``.
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

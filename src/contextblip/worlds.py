"""Tells drawn data from real data, by what a root asks for and what the drawing left in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

World = Literal["real", "miniature"]

RECORD = "miniature.json"  # what the drawing of a miniature world leaves in its folder
MINIATURE_PREFIXES = {
    "miniature:": "default",
    "miniature-backbone:": "backbone",
    "miniature-lesson-1:": "lesson-1",
    "miniature-lesson-2:": "lesson-2",
}
"""What roots that ask for a miniature world begin with, and the name of that world's sizes."""


class AskedWorld(NamedTuple):
    """A miniature world that a root asks for.

    Attributes:
        preset: Name of its sizes.
        folder: Where it lies, or is to be drawn.
    """

    preset: str
    folder: Path


def asked_miniature(root: str) -> AskedWorld | None:
    """Tell which miniature world a root asks for.

    Args:
        root: Value of ``data.root``.

    Returns:
        The world of ``miniature:DIR`` and the like; ``None`` for any other root.
    """
    for prefix, preset in MINIATURE_PREFIXES.items():
        if root.startswith(prefix):
            return AskedWorld(preset, Path(root.removeprefix(prefix)).expanduser())
    return None


def asks_for_miniature(root: str) -> bool:
    """Whether a root asks for a miniature world.

    Args:
        root: Value of ``data.root``.

    Returns:
        True for ``miniature:DIR`` and the like.
    """
    return asked_miniature(root) is not None


def is_drawn(folder: Path) -> bool:
    """Whether what lies in a folder was drawn.

    Args:
        folder: A miniature world, or the folder of one of its data sets.

    Returns:
        True where the record of a drawing lies there or in its parent, links followed or not.
    """
    spellings = (folder.absolute(), folder.resolve())
    return any((place / RECORD).is_file() for path in spellings for place in (path, path.parent))


def world_of(root: str) -> World:
    """Tell which world a root of the working directory holds.

    Args:
        root: Value of ``data.root``.

    Returns:
        ``miniature`` where it asks for one or holds one.
    """
    return "miniature" if asks_for_miniature(root) or is_drawn(Path(root).expanduser()) else "real"

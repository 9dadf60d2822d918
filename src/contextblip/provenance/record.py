"""`provenance.json`: one entry a start of a command in a run folder, the earlier ones kept."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from contextblip.errors import ConfigurationError
from contextblip.replacing import replacing

PROVENANCE = "provenance.json"
Start = Mapping[str, Any]


def read_starts(folder: Path) -> list[Start]:
    """Read what the commands of a run folder were started with.

    Args:
        folder: A run folder.

    Returns:
        One entry a start, the first command first; none where no record was kept.

    Raises:
        ConfigurationError: The record cannot be read.
    """
    path = folder / PROVENANCE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); remove it to begin a new one") from error
    starts = content.get("starts") if isinstance(content, dict) else None
    if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
        raise ConfigurationError(f"{path} holds no list of starts; remove it to begin a new one")
    return starts


def add_start(folder: Path, start: Start) -> None:
    """Add an entry, in one step.

    Args:
        folder: A run folder.
        start: What the command was started with.

    Raises:
        ConfigurationError: The record that is there cannot be read.
        OSError: It cannot be written.
    """
    _write(folder, [*read_starts(folder), start])


def forget_starts(folder: Path, configs: Collection[str]) -> None:
    """Take entries back, as a command that a mistake of the user stopped takes back its configuration.

    Args:
        folder: A run folder.
        configs: Names of the configurations that were taken back.
    """
    try:
        starts = read_starts(folder)
    except ConfigurationError:
        return  # not ours to mend
    kept = [start for start in starts if start.get("config") not in configs]
    if not kept:
        (folder / PROVENANCE).unlink(missing_ok=True)
    elif len(kept) < len(starts):
        _write(folder, kept)


def _write(folder: Path, starts: list[Start]) -> None:
    with replacing(folder / PROVENANCE) as draft:
        draft.write_text(json.dumps({"starts": starts}, indent=2) + "\n", encoding="utf-8")

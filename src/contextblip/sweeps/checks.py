"""Mistakes that would otherwise show only once something has run: where to write, where to start from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from contextblip.errors import ConfigurationError
from contextblip.sweeps.plan import Run

_WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


def check_places(out: Path, results: Path) -> None:
    """Check that the output folder and the results file can be what they are meant to be.

    Args:
        out: Folder of everything a sweep makes.
        results: The results file.

    Raises:
        ConfigurationError: One is a file where a folder is needed, or the other way round.
    """
    if (file := _file_above(out)) is not None:
        raise ConfigurationError(f"--out {out}: {file} is a file; name a folder")
    if results.is_dir():
        raise ConfigurationError(f"--results {results} is a folder; name a CSV file, e.g. {results}.csv")
    if (file := _file_above(results.parent)) is not None:
        raise ConfigurationError(f"--results {results}: {file} is a file; name a CSV file in a folder")


def _file_above(folder: Path) -> Path | None:
    """Find what is no folder among a folder and those above it."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    return None if there is None or there.is_dir() else there


def missing_weights(runs: Iterable[Run]) -> str:
    """Say which weights are not there.

    Args:
        runs: Those that are left to do.

    Returns:
        One line; nothing where each run finds what it names.
    """
    found: dict[tuple[str, str], int] = {}
    for run in runs:
        values = (run.identity.get("model") or {}).get("init_args") or {}
        # what is there stands in the identity as its fingerprint; an upstream run's checkpoint is made yet
        for key in ("backbone", "continue_from", *(() if run.upstream else ("init_from",))):
            value = values.get(key)
            if isinstance(value, str) and _is_missing(value):
                found[key, value] = found.get((key, value), 0) + 1
    named = [f"model.{key} {value} ({count} run{'s' * (count > 1)})" for (key, value), count in found.items()]
    if not named:
        return ""
    remedy = "`lightning weights download` fetches BLIP's, --set model.backbone=PATH names others"
    return f"{', '.join(named)}: no such file or folder; {remedy}"


def _is_missing(value: str) -> bool:
    """Whether a value names a path that is not there, and not a hub id or a preset."""
    if value.startswith(("sha256:", "images:", "random:")):
        return False
    path = Path(value).expanduser()
    is_path = path.suffix in _WEIGHTS or path.is_absolute() or value.startswith(".") or path.parent.is_dir()
    return is_path and not path.exists()

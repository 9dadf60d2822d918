"""What a run folder says about its run: finished, half-way, or nothing yet; and how it is cleared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from contextblip.cli.errors import nearest
from contextblip.errors import ConfigurationError
from contextblip.replacing import replacing
from contextblip.sweeps.plan import Run

DONE_FILE = "done.json"
LOG_FILE = "log.txt"
IDENTITY_FILE = "identity.json"
METRICS_FILE = "metrics.json"
CHECKPOINTS = "checkpoints"


def is_done(run: Run) -> bool:
    """Whether the run came to its end; the file is written last.

    Args:
        run: The run.

    Returns:
        True where its folder says so.
    """
    return read_json(run.folder / DONE_FILE).get("hash") == run.hash


def mark_done(run: Run, **facts: object) -> None:
    """Say that the run came to its end, and which checkpoints it left.

    Args:
        run: The run.
        facts: What else is worth knowing.
    """
    left = sorted(path.name for path in (run.folder / CHECKPOINTS).glob("*.ckpt"))
    write_json(run.folder / DONE_FILE, {"hash": run.hash, "stage": run.stage, "checkpoints": left, **facts})


def has_lost(run: Run, checkpoints: Iterable[Path]) -> bool:
    """Whether checkpoints are gone that a finished run left.

    Args:
        run: The run.
        checkpoints: Those of it that are wanted.

    Returns:
        True where one is not there and making it anew may help: one that the run never left would be
        missing again.
    """
    left = read_json(run.folder / DONE_FILE).get("checkpoints")
    return any(not path.exists() and (left is None or path.name in left) for path in checkpoints)


def resumable_checkpoint(run: Run) -> Path | None:
    """Find the checkpoint that an interrupted training goes on from.

    Args:
        run: The run.

    Returns:
        Its last checkpoint, if whole; ``None`` for commands that train nothing.
    """
    last = run.folder / CHECKPOINTS / "last.ckpt"
    is_whole = last.is_dir() or (last.is_file() and is_zipfile(last))  # a folder is a sharded one
    return last if run.command == "fit" and is_whole else None


def clear(run: Run) -> None:
    """Remove what an earlier attempt left, but its log.

    That it was finished is removed last: if this is cut short, the rest is not taken for half a training.

    Args:
        run: The run.
    """
    found = run.folder.iterdir() if run.folder.is_dir() else ()
    for path in sorted(found, key=lambda path: path.name == DONE_FILE):
        if path.name == LOG_FILE:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def read_metrics(run: Run) -> dict[str, Any]:
    """Read the run's numbers.

    Args:
        run: The run.

    Returns:
        Flat names to numbers; nothing where it left none yet.
    """
    return read_json(run.folder / METRICS_FILE)


def measure(metrics: Mapping[str, Any], name: str) -> tuple[float | None, int | None]:
    """Look a metric up.

    Args:
        metrics: A run's numbers.
        name: Its name, with or without ``test/`` or ``val/``; the test's comes first.

    Returns:
        Its value and the number of cases behind it, each ``None`` where it is not known.

    Raises:
        ConfigurationError: The run has no such metric.
    """
    for full in (f"test/{name}", f"val/{name}", name):
        if full in metrics:
            return metrics[full], metrics.get(f"n/{full}")
    names = {full.partition("/")[2] for full in metrics if full.startswith(("test/", "val/"))}
    hint = nearest(name, sorted(names)) or f"; it has {', '.join(sorted(names)[:8]) or 'none'}"
    raise ConfigurationError(f"there is no metric {name!r}{hint}")


def last_error(run: Run) -> str:
    """Find the line of the log that says what went wrong.

    Args:
        run: The run.

    Returns:
        The last line that begins with ``error:``, else the last line.
    """
    try:
        text = (run.folder / LOG_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "it left no log"
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["its log is empty"])[-1]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that may be absent or half-written.

    Args:
        path: The file.

    Returns:
        Its mapping; an empty one where there is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file in one step: a reader sees the old one or the whole new one.

    Args:
        path: The file.
        content: Plain values.
    """
    with replacing(path) as draft:
        draft.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")

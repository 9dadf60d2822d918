"""`--resume auto`: the newest whole checkpoint of a run, found in its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from jsonargparse import Namespace

from contextblip.checkpoints.whole_files import newest_whole
from contextblip.cli.processes import is_rank_zero, say
from contextblip.errors import ConfigurationError

log = logging.getLogger(__name__)


def find_resumable(config: Namespace, subcommand: str) -> str | None:
    """Find where a run goes on.

    Args:
        config: Values of the subcommand.
        subcommand: Its name.

    Returns:
        Path of the newest whole checkpoint; ``None`` where the run has to begin.

    Raises:
        ConfigurationError: The key is not for this command, contradicts another or lacks the folder.
    """
    if subcommand != "fit":
        raise ConfigurationError(f"resume is for fit; {subcommand} takes --ckpt_path")
    if config["ckpt_path"] is not None:
        raise ConfigurationError("resume auto finds the checkpoint itself; leave out --ckpt_path or --resume")
    if config["run_dir"] is None:
        raise ConfigurationError("resume auto needs --run_dir, the folder of the run that goes on")
    folder = Path(config["run_dir"]) / "checkpoints"
    found, damaged = newest_whole(path for path in folder.glob("*.ckpt") if not path.name.startswith("."))
    if is_rank_zero():
        _tidy(folder, damaged)
    say(f"resume: {found or f'no whole checkpoint in {folder} yet, training begins'}")
    return None if found is None else str(found)


def _tidy(folder: Path, damaged: Iterable[Path]) -> None:
    """Remove what a killed process had begun, and give the names of damaged files free for new ones."""
    for draft in folder.glob(".*.ckpt"):
        draft.unlink(missing_ok=True)
    for path in damaged:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        log.warning("%s is not whole and was renamed to %s; an older checkpoint is tried", path, aside.name)

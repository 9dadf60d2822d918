"""Which process speaks: before any process group exists, only the launchers' variables can tell."""

from __future__ import annotations

import os
import sys

_RANK_VARIABLES = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")


def is_rank_zero() -> bool:
    """Ask whether this is the first process of the run.

    Returns:
        True in the first, also where there is only one.
    """
    return all(os.environ.get(name, "0") == "0" for name in _RANK_VARIABLES)


def say(line: str) -> None:
    """Print a line, once for all processes.

    Args:
        line: Text without its end of line.
    """
    if is_rank_zero():
        sys.stdout.write(f"{line}\n")


def warn(line: str) -> None:
    """Print a warning that does not stop the run, once for all processes.

    Args:
        line: Text without its end of line.
    """
    if is_rank_zero():
        sys.stderr.write(f"warning: {line}\n")

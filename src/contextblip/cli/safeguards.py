"""`--resume`, `--nonfinite_loss`: what lets a training survive, and what watches over it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser

from contextblip.cli.final_validation import FinalValidation
from contextblip.cli.frozen import FrozenGuard
from contextblip.cli.nonfinite import NonFiniteGuard, OnNonFinite
from contextblip.cli.random_state import RandomState
from contextblip.cli.stopping import GracefulStop


def add_safeguard_keys(parser: LightningArgumentParser) -> None:
    """Add the keys.

    Args:
        parser: Parser of one subcommand.
    """
    parser.add_argument(
        "--resume",
        type=Literal["auto"] | None,
        default=None,
        help="auto: fit goes on from the newest whole checkpoint in run_dir, or begins where there is none.",
    )
    parser.add_argument(
        "--nonfinite_loss",
        type=OnNonFinite,
        default="stop",
        help="At a loss that is no number fit keeps the batch and stops, or skips the optimiser step.",
    )


def fit_callbacks(config: Namespace, folder: Path) -> list[Callback]:
    """Make what watches over every training.

    Args:
        config: Values of the subcommand.
        folder: Of the run.

    Returns:
        The callbacks, in the order in which they act.
    """
    return [
        FinalValidation(),
        FrozenGuard(),
        NonFiniteGuard(config["nonfinite_loss"], folder),
        RandomState(),
        GracefulStop(),
    ]

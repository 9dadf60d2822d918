"""What torch, numpy and Python draw next, kept in checkpoints, so that a resumed run draws the same."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

KEY = "contextblip_random_state"

State = dict[str, Any]


def random_state() -> State:
    """Collect the states of this process's generators, as numbers, lists and tensors alone."""
    kind, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  # what augmentations may still use
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), [int(word) for word in words], *rest],
        "python": [version, list(internal), gauss],
    }


def restore_random_state(state: State) -> None:
    """Put the generators where they were.

    Args:
        state: From `random_state`.
    """
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
    kind, words, *rest = state["numpy"]
    np.random.set_state((kind, np.array(words, dtype=np.uint32), *rest))  # noqa: NPY002  # as above
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


class RandomState(Callback):
    """Saves the generators of every process and restores them just before a resumed training goes on."""

    def __init__(self) -> None:
        self._states: list[State] | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the states, one a process.

        Args:
            trainer: Knows how many processes there are.
            pl_module: Not needed.
            checkpoint: What is about to be written; changed in place.
        """
        del pl_module
        states = [random_state()]
        if trainer.world_size > 1:
            states *= trainer.world_size
            torch.distributed.all_gather_object(states, random_state())
        checkpoint[KEY] = states

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the states until training goes on.

        Args:
            trainer: Knows how many processes there are.
            pl_module: Not needed.
            checkpoint: What was read.
        """
        del pl_module
        states: list[State] | None = checkpoint.get(KEY)
        if states is not None and len(states) != trainer.world_size:
            rank_zero_warn(
                f"the checkpoint is of {len(states)} processes, this run has {trainer.world_size}: what "
                "dropout draws is no longer what it would have been"
            )
            states = None
        self._states = states

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore: whatever was drawn to set the run up is forgotten.

        Args:
            trainer: Knows which process this is.
            pl_module: Not needed.
        """
        del pl_module
        if self._states is not None:
            restore_random_state(self._states[trainer.global_rank])
        self._states = None

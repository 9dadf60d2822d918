"""Losses that are no number: said, kept for a look, and never trained on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from contextblip.errors import ConfigurationError

log = logging.getLogger(__name__)

OnNonFinite = Literal["stop", "skip"]


class NonFiniteGuard(Callback):
    """Looks at the loss before its backward pass.

    Args:
        action: ``stop`` ends the run; ``skip`` leaves the optimiser step out, and goes on.
        folder: Where a folder ``nonfinite`` receives ids and batch.
    """

    def __init__(self, action: OnNonFinite, folder: Path) -> None:
        self.action = action
        self.folder = folder / "nonfinite"
        self._batch: object = None
        self._skips = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Keep the batch at hand.

        Args:
            trainer: Not needed.
            pl_module: Not needed.
            batch: Of this step.
            batch_idx: Not needed.
        """
        del trainer, pl_module, batch_idx
        self._batch = batch

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Act where the loss of any process is no number.

        Args:
            trainer: Knows the other processes.
            pl_module: The task.
            loss: Of this process.

        Raises:
            ConfigurationError: It is none and the run is to stop.
        """
        own = not bool(loss.detach().isfinite().all())
        anywhere = own
        if trainer.world_size > 1:
            flag = torch.tensor(float(own), device=pl_module.device)
            anywhere = bool(trainer.strategy.reduce(flag, reduce_op="max"))
        if own:
            self._dump(trainer, loss)
        if not anywhere:
            return
        if self.action == "stop":
            raise ConfigurationError(
                f"the loss at step {trainer.global_step:,} is no number; the batch is in {self.folder}. "
                "Lower --model.lr, clip gradients, or go on without such batches by --nonfinite_loss skip"
            )
        self._skips = True

    def _dump(self, trainer: Trainer, loss: Tensor) -> None:
        """Write ids and batch, and say so."""
        name = f"step_{trainer.global_step}_batch_{trainer.fit_loop.batch_idx}_rank_{trainer.global_rank}"
        ids = sample_ids(self._batch)
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"loss": str(loss.detach().cpu().tolist()), "step": trainer.global_step, "samples": ids}
        (self.folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        tensors = self._batch if isinstance(self._batch, Mapping) else {}
        kept = {key: value.detach().cpu() for key, value in tensors.items() if isinstance(value, Tensor)}
        torch.save(kept, self.folder / f"{name}.pt")
        log.warning(
            "the loss at step %s is %s: samples %s; see %s",
            f"{trainer.global_step:,}",
            content["loss"],
            ", ".join(ids),
            self.folder / f"{name}.json",
        )

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Take all gradients away where the step is skipped: without them nothing of the optimiser moves.

        Args:
            trainer: Not needed.
            pl_module: Not needed.
            optimizer: Whose parameters.
        """
        del trainer, pl_module
        if self._skips:
            optimizer.zero_grad(set_to_none=True)
        self._skips = False


def sample_ids(batch: Any) -> list[str]:  # noqa: ANN401  # whatever a loader gives
    """Name the samples of a batch: rows of captions, set and query of retrieval."""
    if not isinstance(batch, Mapping):
        return []
    if isinstance(batch.get("queries"), list):
        return [f"{query['set_name']}/{query['query_index']}" for query in batch["queries"]]
    index = batch.get("index")
    return [str(row) for row in index.tolist()] if isinstance(index, Tensor) else []

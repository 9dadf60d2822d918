"""Callbacks that bring faults about in a training."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from contextblip.tasks.base import ContextBLIPTask


class BreakLoss(Callback):
    """Multiplies the loss of one batch of the first epoch.

    Args:
        batch: Number of the batch.
        factor: What its loss is multiplied by.
    """

    def __init__(self, batch: int, factor: float = float("nan")) -> None:
        self.batch = batch
        self.factor = factor

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wrap the step."""
        step = pl_module.training_step

        def broken(batch: object) -> Tensor:
            loss = step(batch)
            assert isinstance(loss, Tensor)
            here = trainer.current_epoch == 0 and trainer.fit_loop.batch_idx == self.batch
            return loss * self.factor if here else loss

        pl_module.training_step = broken  # type: ignore[method-assign]


class Meddle(Callback):
    """Changes a frozen weight, a buffer or the mode of the ViT after the first step."""

    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Meddle."""
        del trainer, outputs, batch, batch_idx
        assert isinstance(pl_module, ContextBLIPTask)
        encoder = pl_module.model.vision_encoder
        if self.what == "weight":
            with torch.no_grad():
                next(encoder.parameters()).flatten()[0] += 1e-6
        elif self.what == "mode":
            encoder.train()

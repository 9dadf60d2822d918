"""Learning-rate schedules over the whole of a run."""

import math

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer

from contextblip.optim import ScheduleName, build_schedule


def over_the_run(
    trainer: Trainer,
    name: ScheduleName,
    optimizer: Optimizer,
    *,
    lr: float,
    warmup_steps: int,
    warmup_lr: float,
    min_lr: float,
) -> OptimizerLRScheduler:
    """Give an optimiser a schedule that is stepped after each of the run's optimiser steps.

    Args:
        trainer: Knows the length of the run and of its epochs.
        name: ``cosine`` or ``published``.
        optimizer: Whose learning rates change.
        lr: Highest learning rate.
        warmup_steps: Optimiser steps of linear warm-up.
        warmup_lr: Learning rate at the start.
        min_lr: Learning rate at the end.

    Returns:
        What Lightning expects from ``configure_optimizers``.

    Raises:
        ConfigurationError: The run has no known length.
    """
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()  # the estimate does so only where epochs limit the run
    total_steps = trainer.estimated_stepping_batches
    batches = trainer.num_training_batches
    schedule = build_schedule(
        name,
        optimizer,
        total_steps=total_steps,
        epoch_steps=batches if batches == math.inf else math.ceil(batches / trainer.accumulate_grad_batches),
        lr=lr,
        warmup_steps=warmup_steps,
        warmup_lr=warmup_lr,
        min_lr=min_lr,
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

"""SIGTERM and SIGUSR1: the step is finished, a checkpoint written, and the run ends so that it can go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from contextblip.cli.model_checkpoint import ModelCheckpoint
from contextblip.cli.processes import say
from contextblip.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class GracefulStop(Callback):
    """Listens while a training runs and ends it at the next optimiser step.

    Lightning's own handlers act at once: in the middle of a batch, whose gradients the checkpoint would lack.
    """

    def __init__(self) -> None:
        self.received = 0
        self._former: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen; only a process's main thread can."""
        del trainer, pl_module
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._hear) for number in SIGNALS}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = number

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Any,  # noqa: ANN401  # Lightning's
        batch_idx: int,
    ) -> None:
        """Save and stop where an optimiser step is done and any process was asked to.

        Args:
            trainer: Saves.
            pl_module: Not needed.
            outputs: Not needed.
            batch: Not needed.
            batch_idx: Number of the batch in its epoch.

        Raises:
            StoppedError: Asked to stop.
        """
        del outputs, batch
        steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if not steps:
            return
        if (
            trainer.world_size > 1
        ):  # a signal may reach one process only, but all have to stop at the same step
            heard = torch.tensor(self.received, device=pl_module.device)
            self.received = int(trainer.strategy.reduce(heard, reduce_op="max"))
        if not self.received:
            return
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                callback.save_last_now(trainer)
        if self.received == signal.SIGUSR1 and trainer.is_global_zero:
            _requeue()
        raise StoppedError(self.received, trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        del trainer, pl_module, stage
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}


def _requeue() -> None:
    """Put a SLURM job back into the queue, where it runs under the same id."""
    job, command = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if job is None or command is None:
        return
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    name = job if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    done = subprocess.run([command, "requeue", name], check=False, capture_output=True, text=True)  # noqa: S603
    say(
        f"job {name} is requeued"
        if done.returncode == 0
        else f"scontrol requeue {name}: {done.stderr.strip()}"
    )

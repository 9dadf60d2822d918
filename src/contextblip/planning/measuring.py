"""Real training steps on made-up batches: seconds and peak memory of one micro-batch size."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from contextblip.cli.computing import ComputingOptions
from contextblip.models.config import BackboneConfig
from contextblip.planning.memory import MemoryMeter

Batches = Callable[[BackboneConfig, int, int, torch.device], Any]

# With one micro-batch a step, gradients of an earlier one would not be in memory, as accumulation has them
MICRO_BATCHES = 2
WARM_UP_STEPS = 1  # makes the optimiser's state, and whatever else is made on first use


@dataclass(frozen=True)
class Workload:
    """What is measured.

    Attributes:
        task: ``class_path`` and ``init_args`` of a task.
        batches: Makes a batch from backbone sizes, micro-batch, tokens and device.
        backbone: Sizes of the backbone.
        max_tokens: Length of every text, in tokens.
        accelerator: ``cuda`` or ``cpu``.
        device: Number of the CUDA device.
        precision: As the Trainer has it.
        trainer: Further arguments of the Trainer.
        computing: Arguments of `ComputingOptions`.
        sizes: Micro-batches, ascending.
        steps: Optimiser steps that are timed.
    """

    task: dict[str, Any]
    batches: Batches
    backbone: BackboneConfig
    max_tokens: int
    accelerator: str
    device: int
    precision: str
    trainer: dict[str, Any]
    computing: dict[str, Any]
    sizes: tuple[int, ...]
    steps: int


@dataclass(frozen=True)
class Measurement:
    """What a micro-batch size costs on one device.

    Attributes:
        size: Samples a micro-batch.
        seconds: Forward and backward pass of a micro-batch, median.
        optimizer_seconds: Clipping and the optimiser's step, median.
        memory: Peak of the passes, in bytes.
        other_memory: Peak of making the model and of the optimiser's step, in bytes.
        gradient_memory: Gradients of the trained parameters, in bytes.
    """

    size: int
    seconds: float
    optimizer_seconds: float
    memory: int
    other_memory: int
    gradient_memory: int

    @property
    def peak(self) -> int:
        """Peak of the whole, in bytes."""
        return max(self.memory, self.other_memory)


@dataclass
class StepProbe(Callback):
    """Times the passes and the optimiser's step apart, and keeps the peak of each.

    Attributes:
        meter: Memory of the device.
        passes: Seconds of each micro-batch.
        steps: Seconds of each optimiser step.
        memory: Peak of the passes.
        other_memory: Peak before the first of them and in the optimiser's steps.
    """

    meter: MemoryMeter
    passes: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    memory: int = 0
    other_memory: int = 0

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Begin a micro-batch."""
        del trainer, pl_module, batch
        if batch_idx == 0:
            self.other_memory = self.meter.peak()
        self._in_optimizer = False
        self._begin()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """End the passes of the last micro-batch, begin the optimiser's step."""
        del trainer, pl_module, optimizer
        self._end()
        self._in_optimizer = True
        self._begin()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """End the passes or the optimiser's step."""
        del trainer, pl_module, outputs, batch, batch_idx
        self._end()

    def _begin(self) -> None:
        self.meter.restart()
        self._start = time.perf_counter()

    def _end(self) -> None:
        peak = self.meter.peak()  # waits for the device
        seconds = time.perf_counter() - self._start
        if self._in_optimizer:
            self.steps.append(seconds)
            self.other_memory = max(self.other_memory, peak)
        else:
            self.passes.append(seconds)
            self.memory = max(self.memory, peak)


def measure(task: LightningModule, workload: Workload, size: int, meter: MemoryMeter) -> Measurement:
    """Train on one batch again and again, with the task's own optimiser.

    Args:
        task: As the configuration has it.
        workload: What is measured.
        size: Samples a micro-batch.
        meter: Memory of the device.

    Returns:
        What the size costs.
    """
    is_cuda = workload.accelerator == "cuda"
    device = torch.device("cuda", workload.device) if is_cuda else torch.device("cpu")
    batch = workload.batches(workload.backbone, size, workload.max_tokens, device)
    number = MICRO_BATCHES * (WARM_UP_STEPS + workload.steps)
    probe = StepProbe(meter)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a trial run: no validation data, no logger, few workers
        trainer = Trainer(
            accelerator=workload.accelerator,
            devices=[workload.device] if is_cuda else 1,
            precision=workload.precision,  # type: ignore[arg-type]  # Lightning's own literal is private
            accumulate_grad_batches=MICRO_BATCHES,
            fast_dev_run=number,  # nothing is logged or written, not even a random backbone
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=[LightningEnvironment()],  # also as one task of a job that has several
            default_root_dir=folder,
            callbacks=[ComputingOptions(**workload.computing), probe],
            **workload.trainer,
        )
        trainer.fit(task, DataLoader(_Repeated(batch, number), batch_size=None, collate_fn=_as_it_is))
    trained = (parameter for parameter in task.parameters() if parameter.requires_grad)
    return Measurement(
        size,
        seconds=median(probe.passes[MICRO_BATCHES * WARM_UP_STEPS :]),
        optimizer_seconds=median(probe.steps[WARM_UP_STEPS:]),
        memory=probe.memory,
        other_memory=probe.other_memory,
        gradient_memory=sum(parameter.numel() * parameter.element_size() for parameter in trained),
    )


def _as_it_is(batch: object) -> object:
    return batch


class _Repeated(Dataset[object]):
    """One batch, as often as training takes one."""

    def __init__(self, batch: object, number: int) -> None:
        self.batch = batch
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> object:
        return self.batch

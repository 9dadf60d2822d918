"""What is planned: the parts of a resolved configuration that time and memory depend on."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator

from contextblip.checkpoints import read_backbone_config
from contextblip.cli.hardware import choose_accelerator, count_devices, multiplies_bf16
from contextblip.errors import ConfigurationError
from contextblip.planning.batches import caption_batch, retrieval_batch
from contextblip.planning.measuring import Batches, Workload
from contextblip.planning.predicting import whole_micro_batches
from contextblip.tasks import BackbonePretraining, FineTuning, InterContext, Pretraining

FULL_PRECISION = "32-true"
MIXED_PRECISION = "bf16-mixed"
# Keys of the Trainer, beside precision and accelerator, that change what a step costs
STEP_KEYS = ("gradient_clip_val", "gradient_clip_algorithm", "deterministic", "benchmark")


@dataclass(frozen=True)
class TaskKind:
    """What planning has to know of a task.

    Attributes:
        task: Its class.
        batches: Makes its batches.
        least: Smallest micro-batch that trains as larger ones do: one pair alone has no negatives.
    """

    task: type[LightningModule]
    batches: Batches
    least: int = 1


KINDS = (
    TaskKind(Pretraining, caption_batch, least=2),
    TaskKind(BackbonePretraining, caption_batch, least=2),
    TaskKind(FineTuning, retrieval_batch),
    TaskKind(InterContext, retrieval_batch),
)


@dataclass(frozen=True)
class Experiment:
    """An experiment as `lightning fit` would run it.

    Attributes:
        kind: What its task needs.
        workload: What is measured; its precision is the first of ``precisions``.
        precisions: What the machine is good at.
        global_batch: Samples an optimiser step, over all devices.
        batch_size: The configured micro-batch.
        accumulation: The configured ``trainer.accumulate_grad_batches``.
        names_global_batch: Whether the configuration has ``data.global_batch_size``; else the global batch
            is what ``batch_size``, accumulation and devices make.
        devices: Devices of a node.
        nodes: Nodes.
    """

    kind: TaskKind
    workload: Workload
    precisions: tuple[str, ...]
    global_batch: int
    batch_size: int
    accumulation: int
    names_global_batch: bool
    devices: int
    nodes: int


def read_experiment(
    config: dict[str, Any], sizes: list[int] | None, steps: int, devices: int | None
) -> Experiment:
    """Find in a configuration what planning needs.

    Args:
        config: Values of ``fit``, resolved.
        sizes: Micro-batches to measure; ``None``: the smallest that train as larger ones do, twice and four
            times that.
        steps: Optimiser steps to time.
        devices: Devices of a node in place of the configuration's.

    Returns:
        The experiment.

    Raises:
        ConfigurationError: A key is missing or its value cannot be used.
        CheckpointError: The backbone cannot be read.
    """
    model, data, trainer = config["model"]["init_args"], config["data"]["init_args"], config["trainer"]
    kind = find_kind(config["model"]["class_path"])
    backbone, _ = read_backbone_config(model["backbone"], model.get("image_size"))
    accelerator = _accelerator(trainer["accelerator"])
    max_tokens = data.get("max_tokens", backbone.max_positions)
    if not 3 <= max_tokens <= backbone.max_positions:
        raise ConfigurationError(
            f"--data.max_tokens is {max_tokens}, expected 3 to {backbone.max_positions}, the longest text of "
            f"backbone {model['backbone']}"
        )
    mixed = multiplies_bf16(choose_accelerator(trainer["accelerator"]))
    precisions = (FULL_PRECISION, MIXED_PRECISION) if mixed else (FULL_PRECISION,)
    here = count_devices(trainer["accelerator"], trainer["devices"]) if devices is None else devices
    workload = Workload(
        task=config["model"],
        batches=kind.batches,
        backbone=backbone,
        max_tokens=max_tokens,
        accelerator=accelerator,
        device=trainer["devices"][0] if isinstance(trainer["devices"], list) else 0,
        precision=precisions[0],
        trainer={key: trainer[key] for key in STEP_KEYS},
        computing={
            "compile_layers": config["compile"],
            "gradient_checkpointing": config["gradient_checkpointing"],
        },
        sizes=_sizes(sizes, kind.least),
        steps=steps,
    )
    nodes, accumulation = trainer["num_nodes"], trainer["accumulate_grad_batches"]
    given = data.get("global_batch_size")
    experiment = Experiment(
        kind,
        workload,
        precisions,
        global_batch=data["batch_size"] * accumulation * here * nodes if given is None else given,
        batch_size=data["batch_size"],
        accumulation=accumulation,
        names_global_batch=given is not None,
        devices=here,
        nodes=nodes,
    )
    if whole_micro_batches(experiment.global_batch, here * nodes)[-1] < kind.least:
        raise ConfigurationError(
            f"a global batch of {experiment.global_batch} leaves {here * nodes} devices one sample each, and "
            f"{kind.task.__name__} draws negatives among a device's: take fewer devices or raise "
            "--data.global_batch_size"
        )
    return experiment


def find_kind(class_path: str) -> TaskKind:
    """Find what planning has to know of a task.

    Args:
        class_path: Full name of its class.

    Returns:
        The kind.

    Raises:
        ConfigurationError: The task is none of those that are known to train.
    """
    module, _, name = class_path.rpartition(".")
    task = getattr(import_module(module), name)
    for kind in KINDS:
        if issubclass(task, kind.task):
            return kind
    names = ", ".join(kind.task.__name__ for kind in KINDS)
    raise ConfigurationError(
        f"model.class_path {class_path}: planning is for tasks that `lightning fit` trains: {names}"
    )


def _accelerator(name: str) -> str:
    """Name the accelerator as the Trainer does."""
    kind = choose_accelerator(name)
    if kind is CUDAAccelerator:
        return "cuda"
    if kind is CPUAccelerator:
        return "cpu"
    raise ConfigurationError(
        f"planning measures on CUDA devices and CPUs, but trainer.accelerator {name} is {kind.__name__} here"
    )


def _sizes(given: list[int] | None, least: int) -> tuple[int, ...]:
    """Return the micro-batches to measure, ascending."""
    sizes = tuple(sorted(set(given or (least, 2 * least, 4 * least))))
    if len(sizes) < 2:
        raise ConfigurationError(f"--sizes {sizes[0]}: a straight line needs two different micro-batches")
    return sizes

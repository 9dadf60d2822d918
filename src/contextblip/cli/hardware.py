"""Values that depend on the machine: precision, devices, and how many batches make a global batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import Namespace
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, MPSAccelerator

from contextblip.checkpoints.whole_files import WholeCheckpointIO
from contextblip.cli.parser import class_arguments
from contextblip.errors import ConfigurationError

CPU_FLAGS = Path("/proc/cpuinfo")  # Linux only; elsewhere fp32 is the safe answer
Precision = Literal[
    "auto",
    "64-true",
    "32-true",
    "bf16-mixed",
    "bf16-true",
    "16-mixed",
    "16-true",
    "transformer-engine",
    "transformer-engine-float16",
    "64",
    "32",
    "16",
    "bf16",
    64,
    32,
    16,
]


def choose_accelerator(name: str | Accelerator) -> type[Accelerator]:
    """Find the accelerator that Lightning will take.

    Args:
        name: Value of ``trainer.accelerator``.

    Returns:
        The accelerator's class.
    """
    if isinstance(name, Accelerator):
        return type(name)
    if name == "cuda" or (name in ("auto", "gpu") and CUDAAccelerator.is_available()):
        return CUDAAccelerator
    if name == "mps" or (name in ("auto", "gpu") and MPSAccelerator.is_available()):
        return MPSAccelerator
    return CPUAccelerator


def count_devices(accelerator: str | Accelerator, devices: int | str | list[int]) -> int:
    """Count the devices of one node.

    Args:
        accelerator: Value of ``trainer.accelerator``.
        devices: Value of ``trainer.devices``: a number, a list of indices, either as text, ``auto`` or -1.

    Returns:
        The number of processes that Lightning starts on one node.
    """
    kind = choose_accelerator(accelerator)
    if devices == "auto":
        return int(kind.auto_device_count())
    parsed: Any = kind.parse_devices(devices)
    return parsed if isinstance(parsed, int) else len(parsed)


def multiplies_bf16(kind: type[Accelerator]) -> bool:
    """Ask whether bf16 products run in hardware; emulated ones are slower than fp32.

    Args:
        kind: The accelerator in use.

    Returns:
        True for CUDA devices with bf16 and for CPUs with AMX-BF16 or AVX512-BF16.
    """
    if kind is CUDAAccelerator:
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind is not CPUAccelerator:
        return False
    flags = set(CPU_FLAGS.read_text().split()) if CPU_FLAGS.is_file() else set()
    return bool(flags & {"amx_bf16", "avx512_bf16"})


def resolve_precision(precision: Precision | None, accelerator: str | Accelerator) -> Any:  # noqa: ANN401
    """Replace ``auto`` by what the machine is good at.

    Args:
        precision: Value of ``trainer.precision``.
        accelerator: Value of ``trainer.accelerator``.

    Returns:
        A precision that Lightning knows; untyped, since Lightning's own literal is private.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if multiplies_bf16(choose_accelerator(accelerator)) else "32-true"


class Trainer(LightningTrainer):
    """Lightning's trainer, whose precision may be chosen by the machine.

    Of the limits 1 is one batch and 1.0 is all of them. The parser makes types of parameters whose default is
    None by `typing`, whose cache may hold float before int where something made that order first; it then
    reads 1 as 1.0. With another default the order here holds.

    Args:
        precision: Lightning's choices, or auto: bf16-mixed where the hardware multiplies bf16, else 32-true.
        limit_train_batches: Batches (int) or share (float) of each training epoch.
        limit_val_batches: Batches (int) or share (float) of each validation.
        limit_test_batches: Batches (int) or share (float) of the test.
        limit_predict_batches: Batches (int) or share (float) of the prediction.
        kwargs: Everything else that Lightning's trainer takes.
    """

    def __init__(
        self,
        *,
        precision: Precision | None = None,
        limit_train_batches: int | float | None = 1.0,
        limit_val_batches: int | float | None = 1.0,
        limit_test_batches: int | float | None = 1.0,
        limit_predict_batches: int | float | None = 1.0,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        plugins = kwargs.pop("plugins", None) or []
        plugins = (
            list(plugins) if isinstance(plugins, Sequence) and not isinstance(plugins, str) else [plugins]
        )
        own = getattr(kwargs.get("strategy"), "_checkpoint_io", None) is not None
        if not own and not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(WholeCheckpointIO())
        resolved = resolve_precision(precision, kwargs.get("accelerator", "auto"))
        super().__init__(
            precision=resolved,
            plugins=plugins,
            limit_train_batches=_unless_all(limit_train_batches),
            limit_val_batches=_unless_all(limit_val_batches),
            limit_test_batches=_unless_all(limit_test_batches),
            limit_predict_batches=_unless_all(limit_predict_batches),
            **kwargs,
        )


def _unless_all(limit: int | float | None) -> int | float | None:
    """Return a limit, or ``None`` for all batches: Lightning tells the user of each 1.0 that it is given."""
    return None if isinstance(limit, float) and limit == 1.0 else limit


def resolve_accumulation(config: Namespace) -> None:
    """Turn ``data.global_batch_size`` into ``trainer.accumulate_grad_batches``.

    Args:
        config: Values of ``fit``; changed in place.

    Raises:
        ConfigurationError: The global batch is no multiple of what all devices take at once, or both keys are
            given and contradict each other.
    """
    if config.get("data") is None:
        return
    data, trainer = class_arguments(config["data"]), config["trainer"]
    total = data.get("global_batch_size")
    if total is None:
        return
    counts = {f"data.{key}": data[key] for key in ("batch_size", "global_batch_size")}
    for key, value in {**counts, "trainer.num_nodes": trainer["num_nodes"]}.items():
        if value < 1:
            raise ConfigurationError(f"{key} is {value}, but must be 1 or more")
    try:
        devices = count_devices(trainer["accelerator"], trainer["devices"])
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"trainer.devices {trainer['devices']!r}: {error}") from error
    at_once = data["batch_size"] * devices * trainer["num_nodes"]
    product = f"batch_size {data['batch_size']} x {devices} devices x {trainer['num_nodes']} nodes"
    if total % at_once:
        raise ConfigurationError(f"data.global_batch_size {total} is no multiple of {at_once} ({product})")
    given, needed = trainer["accumulate_grad_batches"], total // at_once
    if given not in (1, needed):
        raise ConfigurationError(
            f"trainer.accumulate_grad_batches {given} contradicts data.global_batch_size {total}, "
            f"which needs {needed} ({product}); leave one of them out"
        )
    trainer["accumulate_grad_batches"] = needed

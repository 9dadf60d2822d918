"""What a run was computed with: versions of packages, and the machine without its name."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CUDAAccelerator

import contextblip
from contextblip.cores import count_cores

PACKAGES = (
    "lightning", "transformers", "timm", "torchvision", "torchmetrics", "datasets", "tokenizers", "numpy",
    "pillow", "jsonargparse",
)  # fmt: skip
_CPU, _DRIVER = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/version")  # Linux only


def package_versions() -> dict[str, str | None]:
    """Look up the versions that decide results.

    Returns:
        Of Python, of this package and of those it computes with; ``None`` for one that is not installed.
    """
    return {
        "python": platform.python_version(),
        "contextblip": contextblip.__version__,
        "torch": str(torch.__version__),  # the installed one's does not tell for which CUDA it was built
        **{name: _version(name) for name in PACKAGES},
    }


def describe_machine(trainer: Trainer) -> dict[str, Any]:
    """Describe the machine of this process and how the run uses it.

    Args:
        trainer: Knows the devices and processes.

    Returns:
        Operating system, processor, memory, GPUs of this node in use, CUDA and driver versions, precision,
        and numbers of nodes, processes and threads.
    """
    gpus = trainer.device_ids if isinstance(trainer.accelerator, CUDAAccelerator) else []
    return {
        "os": platform.platform(),
        "cpu": _processor(),
        "cores": count_cores(),
        "memory_gib": _memory_gib(),
        "gpus": [torch.cuda.get_device_name(index) for index in gpus],
        "cuda": torch.version.cuda if gpus else None,
        "driver": _driver() if gpus else None,
        "precision": str(trainer.precision),
        "nodes": trainer.num_nodes,
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _CPU.read_text(), re.MULTILINE) if _CPU.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _driver() -> str | None:
    text = _DRIVER.read_text() if _DRIVER.is_file() else ""
    found = re.search(r"Kernel Module\D*\s([\d.]+)\s", text)
    return found[1] if found else None

"""On what a benchmark ran, and under how many threads."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from contextblip.errors import ConfigurationError
from contextblip.heap import keep_few_primitives, keep_freed_memory

THREADS = 2
CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """Name the processor."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.is_file() else []
    named = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def bf16_instructions() -> list[str]:
    """Name the processor's instructions for bf16, on which speed in bf16 depends."""
    words = set(CPUINFO.read_text(encoding="utf-8").split()) if CPUINFO.is_file() else set()
    return sorted(word for word in words if "bf16" in word)


def describe(threads: int) -> Mapping[str, Any]:
    """Describe the machine for a file of results.

    Args:
        threads: That were used.

    Returns:
        Processor, its instructions, threads, and versions of Python and PyTorch.
    """
    return {
        "processor": processor(),
        "instructions": [torch.backends.cpu.get_cpu_capability(), *bf16_instructions()],
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


@contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Let PyTorch use so many threads, and the former number afterwards; freed memory is kept as in runs."""
    keep_freed_memory()
    keep_few_primitives()
    former = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(former)


def refuse_committed(size: str, path: Path, committed: Path) -> None:
    """Keep sizes that are only for trying a benchmark out of the file that is committed.

    Args:
        size: ``base``, or a smaller one.
        path: Where results are to be written.
        committed: The file with those of the real size.

    Raises:
        ConfigurationError: Results of a smaller size would go there.
    """
    if size != "base" and path.resolve() == committed.resolve():
        raise ConfigurationError(
            f"{committed.name} holds results of the real size: with --size {size} name another file"
        )

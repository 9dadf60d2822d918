"""How much memory there is, and the most that was in use since a moment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from contextblip.errors import ConfigurationError

GIB = 2**30
PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


class MemoryMeter(Protocol):
    """Memory of one device as this process sees it, in bytes."""

    def available(self) -> int:
        """What this process may still take."""

    def restart(self) -> None:
        """Forget the peak so far."""

    def peak(self) -> int:
        """Wait for the device, then tell the most in use since `restart`."""


class HostMemory:
    """Resident memory of this process, libraries included: what the kernel counts against a limit.

    The kernel keeps its highest value (VmHWM); writing 5 to ``clear_refs`` sets that back to the present one.
    What libraries keep for later use stays counted, as it does in training. Sizes that follow one another in
    a process would add up, though: oneDNN keeps buffers for each shape that it has seen, in bf16 up to a
    third of the miniature's memory. Hence a process for each size (`measure_in_child`).
    """

    def available(self) -> int:
        """Return what the machine and the cgroups above this process leave."""
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", (PROC / "meminfo").read_text(), flags=re.MULTILINE)
        machine = [int(found[1]) * 1024] if found else []
        return min([*machine, *_cgroup_rooms()])

    def restart(self) -> None:
        """Set the kernel's highest value back to the present one."""
        (PROC / "self" / "clear_refs").write_text("5")

    def peak(self) -> int:
        """Return the kernel's highest value."""
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (PROC / "self" / "status").read_text(), flags=re.MULTILINE)
        if found is None:
            raise ConfigurationError(
                f"{PROC / 'self' / 'status'} has no VmHWM: peak memory cannot be measured"
            )
        return int(found[1]) * 1024


class DeviceMemory:
    """What torch's allocator has given out on a CUDA device; the context is none of it.

    Args:
        device: Number of the device.
    """

    def __init__(self, device: int) -> None:
        self.device = device

    def available(self) -> int:
        """Return what is free once the context, which this call makes, has taken its part."""
        return int(torch.cuda.mem_get_info(self.device)[0])

    def restart(self) -> None:
        """Set the allocator's peak back to the present value."""
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int:
        """Return the allocator's peak."""
        torch.cuda.synchronize(self.device)
        return int(torch.cuda.max_memory_allocated(self.device))


def memory_meter(accelerator: str, device: int) -> MemoryMeter:
    """Find the meter of a device.

    Args:
        accelerator: ``cuda`` or ``cpu``.
        device: Number of the CUDA device.

    Returns:
        The meter.

    Raises:
        ConfigurationError: This system does not tell.
    """
    if accelerator == "cuda":
        return DeviceMemory(device)
    if not (PROC / "self" / "clear_refs").exists():
        raise ConfigurationError(
            "memory on a CPU is measured through /proc, which only Linux has: plan on the machine that trains"
        )
    return HostMemory()


class _Limit(NamedTuple):
    """Names of the files of a cgroup version."""

    limit: str
    usage: str
    reclaimable: str


_SECOND = _Limit("memory.max", "memory.current", "inactive_file")
_FIRST = _Limit("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _cgroup_rooms() -> Iterator[int]:
    """List what each limit above this process leaves: a limit counts for all groups below it."""
    with suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                base, names = CGROUPS, _SECOND
            elif "memory" in controllers.split(","):
                base, names = CGROUPS / "memory", _FIRST
            else:
                continue
            # In a container the path may be the host's, of which only the root is here: hence all parents
            own = base / path.lstrip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(base):
                    with suppress(OSError, ValueError):  # no such file, or "max": no limit
                        yield _room(folder, names)


def _room(folder: Path, names: _Limit) -> int:
    """Return a group's limit less what it uses; cached files that are not in use give way."""
    limit = int((folder / names.limit).read_text())
    found = re.search(
        rf"^{names.reclaimable} (\d+)$", (folder / "memory.stat").read_text(), flags=re.MULTILINE
    )
    used = int((folder / names.usage).read_text()) - (int(found[1]) if found else 0)
    return max(limit - used, 0)

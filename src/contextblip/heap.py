"""How the C library keeps the memory of freed tensors for the next ones, and gives back the holes."""

import ctypes
import os
import platform
from pathlib import Path

# glibc's mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**28
"""Bytes: larger blocks still go back to the system as soon as they are freed."""
_NEVER = -1  # as mallopt(3) has it
_STATM = Path("/proc/self/statm")


def keep_freed_memory() -> bool:
    """Let glibc reuse the pages of freed tensors instead of handing them back after every layer.

    By default each block above 32 MB is mapped anew, and the kernel clears its pages one fault at a time: the
    image encoder spends up to a seventh of its time on that (`benchmarks/encoder_peak.py`). What was set by
    glibc's own environment variables is left as it is.

    Returns:
        Whether it is done; other C libraries have no such switch.
    """
    set_by_user = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"} & set(os.environ)
    if platform.libc_ver()[0] != "glibc" or set_by_user:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGEST) and mallopt(_M_TRIM_THRESHOLD, _NEVER))


def give_back_freed_memory() -> bool:
    """Return all pages that nothing uses to the system, holes between blocks included.

    Returns:
        Whether it is done; other C libraries have no such call.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def resident_bytes() -> int | None:
    """Return this process's resident memory, or ``None`` where the system does not tell."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None

"""What is kept in memory beside tensors: pages for the next ones, and oneDNN's generated programs."""

import ctypes
import os
import platform

# glibc's mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**28
"""Bytes: larger blocks still go back to the system as soon as they are freed."""
_NEVER = -1  # as mallopt(3) has it

PRIMITIVES = 64
"""Generated programs that oneDNN keeps of each kind of operation; a pre-training step runs some dozens."""
_CAPACITIES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")  # of PyTorch's cache, of oneDNN's own


def keep_few_primitives() -> None:
    """Let oneDNN keep few of the programs that it generates, one for every shape it meets.

    By default PyTorch and oneDNN each keep 1,024 of a kind, a quarter of a megabyte apiece. Lengths of texts
    and numbers of distinct images give most steps shapes of their own: pre-training on a CPU grew by several
    megabytes a step, and what stays between the blocks of tensors splits the heap besides. Making one anew
    takes a millisecond. Works in this process where oneDNN has not been used yet, and in those it starts;
    what the user has set in the environment is left as it is.
    """
    for name in _CAPACITIES:
        os.environ.setdefault(name, str(PRIMITIVES))


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

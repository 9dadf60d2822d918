"""Freed memory is used again: a second large block costs no page faults."""

import platform
import subprocess
import sys

import pytest
import torch

from contextblip import heap

FAULTS = """
import resource
from contextblip.heap import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = [faults() for _ in range(3)]
done = keep_freed_memory()
kept = [faults() for _ in range(3)]
print(done, min(default), max(kept[1:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such switch")
def test_a_second_block_meets_the_pages_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    switched, default, kept = done.stdout.split()
    assert switched == "True"
    assert int(kept) * 10 < int(default)  # 64 MB are 16,384 pages of 4 kB, fewer where they are larger


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not heap.keep_freed_memory()


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not heap.keep_freed_memory()


PRIMITIVES = """
import ctypes
import torch
from contextblip.heap import keep_few_primitives

class Heap(ctypes.Structure):  # mallinfo2(3)
    _fields_ = [(name, ctypes.c_size_t) for name in (*"abcdefg", "used", "free", "top")]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Heap
keep_few_primitives()
torch.set_num_threads(1)
weight = torch.randn(768, 192)

def used(shapes):
    for rows in shapes:
        torch.ops.mkldnn._linear_pointwise(torch.randn(rows, 192), weight, None, "none", [], "")
    return library.mallinfo2().used

begun = used(range(1, 301))
print((used(range(301, 601)) - begun) / 2**20)
"""
there = platform.libc_ver()[0] == "glibc" and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@pytest.mark.skipif(not there, reason="needs glibc to tell what is used, and a PyTorch with oneDNN")
@pytest.mark.parametrize("capacity", [None, "1024"])
def test_programs_for_the_shapes_of_old_batches_are_forgotten(
    capacity: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.delenv(name, raising=False)
        if capacity:
            monkeypatch.setenv(name, capacity)  # the user's choice stays
    done = subprocess.run([sys.executable, "-c", PRIMITIVES], capture_output=True, text=True, check=True)
    megabytes = float(done.stdout)
    assert megabytes > 20 if capacity else megabytes < 10

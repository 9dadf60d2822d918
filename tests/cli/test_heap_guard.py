"""Memory that has grown by a tenth is given back, however it grew; memory in use is left alone."""

import gc
from types import SimpleNamespace

import pytest
import torch

from contextblip import heap
from contextblip.cli import heap_guard
from contextblip.cli.heap_guard import HeapGuard


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A process whose resident memory is as told, and what it gives back."""
    world = SimpleNamespace(resident=100, given_back=0)

    def give_back() -> bool:
        world.given_back += 1
        return True

    monkeypatch.setattr(heap_guard, "resident_bytes", lambda: world.resident)
    monkeypatch.setattr(heap_guard, "give_back_freed_memory", give_back)
    return world


def looks(guard: HeapGuard, world: SimpleNamespace, *residents: int) -> list[int]:
    """Return how often memory had been given back behind each batch."""
    found = []
    for world.resident in residents:
        guard.look()
        found.append(world.given_back)
    return found


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """What batches need is the most of two of them."""
    monkeypatch.setattr(heap_guard, "BATCHES", 2)


@pytest.mark.usefixtures("two")
def test_a_tenth_more_than_batches_need_is_given_back(world: SimpleNamespace) -> None:
    seen = looks(HeapGuard(), world, 100, 100, 105, 110, 111, 100, 100, 110, 111)
    assert seen == [0, 0, 0, 0, 1, 1, 1, 1, 2]


@pytest.mark.usefixtures("two")
def test_memory_in_use_is_not_given_back_again_and_again(world: SimpleNamespace) -> None:
    # features of a data set are kept: each time what is there then is the new measure
    assert looks(HeapGuard(), world, 100, 100, 130, 130, 135, 143, 148, 149) == [0, 0, 1, 1, 1, 1, 1, 2]


@pytest.mark.usefixtures("two")
def test_batches_of_two_sizes_are_no_growth(world: SimpleNamespace) -> None:
    assert looks(HeapGuard(), world, *(50, 100) * 20) == [0] * 40


def test_a_system_that_does_not_tell_is_left_alone(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heap_guard, "resident_bytes", lambda: None)
    HeapGuard().look()
    assert world.given_back == 0


def test_freed_tensors_leave_the_process() -> None:
    assert heap.resident_bytes() is not None
    kept = [torch.ones(1000) for _ in range(2000)]  # small blocks of one heap, with holes between them
    holes = [torch.ones(10_000) for _ in range(2000)]
    stays = [torch.ones(10) for _ in range(2000)]
    before = heap.resident_bytes()
    del holes
    gc.collect()
    assert heap.give_back_freed_memory()
    after = heap.resident_bytes()
    assert before is not None
    assert after is not None
    assert before - after > 50 * 2**20  # 80 MB were freed
    assert len(kept) == len(stays)

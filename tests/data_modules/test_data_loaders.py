"""Samplers share rows among devices; loaders pass a worker's error on as one line."""

import gc
import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from contextblip.errors import ConfigurationError, DatasetError
from data_modules.loaders import EpochSampler, Order, Row, UnpaddedSampler, epoch_and_row, make_loader
from data_modules.transforms import TrainTransform, sample_seed


def permutation(epoch: int) -> Order:
    return np.random.default_rng(epoch).permutation(23)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_devices_share_the_order_of_an_epoch(replicas: int) -> None:
    samplers = [EpochSampler(permutation, 23, 4, replicas, rank) for rank in range(replicas)]
    for sampler in samplers:
        sampler.set_epoch(5)
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    assert all(epoch == 5 for share in shares for epoch, _ in share)
    rows = [row for share in shares for _, row in share]
    assert len(rows) == len(set(rows)) == 23 // (4 * replicas) * 4 * replicas
    assert set(rows) == set(permutation(5)[: len(rows)].tolist())
    # every device's batches are whole blocks of the global order
    blocks = {tuple(permutation(5)[start : start + 4]) for start in range(0, 20, 4)}
    assert {tuple(row for _, row in share[:4]) for share in shares} <= blocks


def test_few_rows_make_one_short_batch() -> None:
    sampler = EpochSampler(lambda _: np.arange(3), 3, 64)
    assert sampler.batch_size == 3
    assert list(sampler) == [(0, 0), (0, 1), (0, 2)]


def test_fewer_rows_than_devices() -> None:
    with pytest.raises(ConfigurationError, match="2 training samples cannot be shared by 3 devices"):
        EpochSampler(lambda _: np.arange(2), 2, 64, 3, 0)


@pytest.mark.parametrize("size", [1, 7, 10])
def test_evaluation_rows_come_exactly_once(size: int) -> None:
    shares = [list(UnpaddedSampler(size, 4, rank)) for rank in range(4)]
    assert [row for share in shares for row in share] == list(range(size))
    assert [len(UnpaddedSampler(size, 4, rank)) for rank in range(4)] == [len(share) for share in shares]


class Failing(Dataset[int]):
    """Fails on its last row."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if index == 3:
            raise DatasetError("IMAGECODE, set s: cannot read image x.jpg (no such file); restore it")
        return index


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_arrive_as_raised(num_workers: int) -> None:
    loader = make_loader(
        Failing(), batch_size=2, num_workers=num_workers, sampler=None, collate=list, pin_memory=False
    )
    with pytest.raises(DatasetError) as error:
        list(loader)
    assert str(error.value) == "IMAGECODE, set s: cannot read image x.jpg (no such file); restore it"


def test_workers_end_by_themselves_after_an_error() -> None:
    loader = make_loader(Failing(), batch_size=2, num_workers=2, sampler=None, collate=list, pin_memory=False)
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    assert next(batches) == [0, 1]
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    with pytest.raises(DatasetError):
        next(batches)
    # neither killed nor left behind, although the loader and the error are still there
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert next(iter(loader)) == [0, 1]


class Frozen(Dataset[int]):
    """Tells how many objects the collector of the loading process leaves alone."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return gc.get_freeze_count()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_collectors_of_workers_leave_the_parents_objects_alone(num_workers: int) -> None:
    loader = make_loader(
        Frozen(), batch_size=1, num_workers=num_workers, sampler=None, collate=list, pin_memory=False
    )
    objects = len(gc.get_objects())
    ((frozen,),) = list(loader)
    assert frozen == 0 if num_workers == 0 else frozen > objects // 2
    assert gc.get_freeze_count() == 0


class Augmented(Dataset[tuple[int, Tensor]]):
    """Random crops of one picture, drawn as the data sets draw them."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: Row) -> tuple[int, Tensor]:
        epoch, row = epoch_and_row(index)
        ramp = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3)
        image = Image.fromarray((ramp // 7 % 256).astype(np.uint8))
        return row, TrainTransform(16)(image, sample_seed(3, epoch, row))


def order_of_12(epoch: int) -> Order:
    return np.random.default_rng(epoch).permutation(12)


def pixels_by_row(epoch: int, num_workers: int, replicas: int = 1) -> dict[int, Tensor]:
    """Pixels of an epoch over all of the devices, by row."""
    pixels: dict[int, Tensor] = {}
    for rank in range(replicas):
        sampler = EpochSampler(
            lambda epoch: np.random.default_rng(epoch).permutation(12), 12, 2, replicas, rank
        )
        sampler.set_epoch(epoch)
        loader = make_loader(
            Augmented(),
            batch_size=2,
            num_workers=num_workers,
            sampler=sampler,
            collate=list,
            pin_memory=False,
        )
        pixels |= {row: image for batch in loader for row, image in batch}
    return pixels


@pytest.mark.parametrize(("num_workers", "replicas"), [(2, 1), (0, 2), (1, 3)])
def test_pixels_depend_on_epoch_and_row_alone(num_workers: int, replicas: int) -> None:
    expected = pixels_by_row(4, 0)
    assert len(expected) == len({pixels.numpy().tobytes() for pixels in expected.values()}) == 12
    torch.manual_seed(99)  # nor on what else was drawn
    there = pixels_by_row(4, num_workers, replicas)
    assert there.keys() == expected.keys()
    assert all(torch.equal(there[row], expected[row]) for row in expected)
    later = pixels_by_row(5, num_workers, replicas)
    assert not any(torch.equal(later[row], expected[row]) for row in expected)

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


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
@pytest.mark.parametrize("size", [4, 7, 10])
def test_evaluation_rows_come_exactly_once(size: int, batch_size: int) -> None:
    samplers = [UnpaddedSampler(size, 4, rank, batch_size) for rank in range(4)]
    shares = [list(sampler) for sampler in samplers]
    assert [row for share in shares for row in share] == list(range(size))
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
    assert all(shares), "no device waits for the others"


def test_devices_evaluate_the_batches_that_one_would() -> None:
    one = {tuple(range(start, min(start + 5, 43))) for start in range(0, 43, 5)}
    for devices in (2, 3, 4, 9):
        shares = [list(UnpaddedSampler(43, devices, rank, 5)) for rank in range(devices)]
        found = [tuple(share[at : at + 5]) for share in shares for at in range(0, len(share), 5)]
        assert set(found) == one, devices
        assert max(map(len, shares)) - min(map(len, shares)) <= 5


def test_fewer_rows_to_evaluate_than_devices() -> None:
    for rank in range(4):
        with pytest.raises(ConfigurationError, match="3 samples .* 4 devices.*--trainer.devices 3 or fewer"):
            UnpaddedSampler(3, 4, rank, 2)


@pytest.mark.parametrize("size", [24, 29, 35])
def test_steps_are_made_of_the_same_rows_on_any_number_of_devices(size: int) -> None:
    def order(epoch: int) -> Order:
        return np.random.default_rng(epoch).permutation(size)

    steps = []
    for devices, batch_size, accumulation in (
        (1, 12, 1),
        (1, 3, 4),
        (2, 6, 1),
        (2, 2, 3),
        (3, 4, 1),
        (4, 1, 3),
    ):
        shares = []
        for rank in range(devices):
            sampler = EpochSampler(order, size, batch_size, devices, rank, accumulation)
            sampler.set_epoch(2)
            taken = 12 // devices
            rows = [row for _, row in sampler]
            shares.append([rows[start : start + taken] for start in range(0, len(rows), taken)])
        steps.append([{row for part in step for row in part} for step in zip(*shares, strict=True)])
    assert all(found == steps[0] for found in steps)
    assert [len(step) for step in steps[0]] == [12, 12]


def test_less_than_a_step_is_taken_as_it_is() -> None:
    assert EpochSampler(lambda _: np.arange(7), 7, 2, accumulation=4).batches == 3


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

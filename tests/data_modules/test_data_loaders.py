"""Samplers share rows among devices; loaders pass a worker's error on as one line."""

import numpy as np
import pytest
from torch.utils.data import Dataset

from contextblip.errors import ConfigurationError, DatasetError
from data_modules.loaders import EpochSampler, Order, UnpaddedSampler, make_loader


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

"""Loaders and samplers: order from seed and epoch alone, one clear line for a worker's error."""

import gc
from collections.abc import Callable, Iterator
from traceback import clear_frames
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from contextblip.errors import ConfigurationError, UserError

Order = npt.NDArray[np.int64]
Row = int | tuple[int, int]


def epoch_and_row(index: Row) -> tuple[int, int]:
    """Split what a sampler yields: training samplers send the epoch with each row."""
    return index if isinstance(index, tuple) else (0, index)


class Position(NamedTuple):
    """How far a training has come.

    Attributes:
        epoch: Counted from 0.
        batches: Taken in it by each device.
        global_batch: Rows that all devices took at once.
    """

    epoch: int
    batches: int
    global_batch: int


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Yield ``(epoch, row)`` in an order that depends on the epoch alone.

    The epoch travels with the row, so workers that outlive an epoch know it too. Batches of the global order
    are dealt to the devices in turn. A remainder that does not fill a batch on every device is left out,
    unless nothing else is there. Being a ``DistributedSampler`` it is kept as it is by Lightning, which calls
    ``set_epoch``.

    Args:
        order: Rows of an epoch; the same number in every epoch.
        size: That number.
        batch_size: Rows a batch and device.
        num_replicas: Devices.
        rank: This device.
        accumulation: Batches a device and optimiser step. An epoch that has a whole step ends with one, so
            that steps are made of the same rows whether devices or accumulated batches share them.

    Raises:
        ConfigurationError: There are fewer rows than devices need for one batch each.
    """

    def __init__(
        self,
        order: Callable[[int], Order],
        size: int,
        batch_size: int,
        num_replicas: int = 1,
        rank: int = 0,
        accumulation: int = 1,
    ) -> None:
        super().__init__(range(size), num_replicas=num_replicas, rank=rank)  # type: ignore[arg-type]  # only its length counts
        self.order = order
        self.size = size
        self.accumulation = accumulation
        self._resumed_at: Position | None = None
        self.batch_size = min(batch_size, size // num_replicas)
        if self.batch_size == 0:
            raise ConfigurationError(f"{size} training samples cannot be shared by {num_replicas} devices")

    @property
    def batches(self) -> int:
        """Batches an epoch and device."""
        whole = self.size // self.global_batch
        return whole - whole % self.accumulation or whole

    @property
    def first_batch(self) -> int:
        """Batch that this epoch begins with: 0, or where a run was stopped within it."""
        resumed = self._resumed_at
        return resumed.batches if resumed is not None and resumed.epoch == self.epoch else 0

    @property
    def global_batch(self) -> int:
        """Rows that all devices take at once."""
        return self.batch_size * self.num_replicas

    def resume(self, position: Position) -> None:
        """Begin an epoch where a run was stopped.

        Args:
            position: Where that was.

        Raises:
            ConfigurationError: It was within an epoch, with another number of rows at once.
        """
        if 0 < position.batches < self.batches and position.global_batch != self.global_batch:
            raise ConfigurationError(
                f"the checkpoint stands behind batch {position.batches:,} of epoch {position.epoch}, of "
                f"{position.global_batch} samples each on all devices together, not {self.global_batch}: go "
                "on with data.batch_size and trainer.devices as they were, or from the end of an epoch"
            )
        self._resumed_at = position

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = self.order(self.epoch)
        for number in range(self.first_batch, self.batches):
            start = (number * self.num_replicas + self.rank) * self.batch_size
            for row in order[start : start + self.batch_size].tolist():
                yield self.epoch, row


class UnpaddedSampler(DistributedSampler[int]):
    """Split rows among devices in blocks, without the repeats that would count a query twice.

    Blocks are whole batches of the file order: what a row gives depends in its last bits, and where pairs of
    a batch are compared in more than these, on what else is in its batch. Only where there are fewer batches
    than devices, batches are divided.

    Args:
        size: Rows.
        num_replicas: Devices.
        rank: This device.
        batch_size: Rows a batch.

    Raises:
        ConfigurationError: A device would have nothing to do, for which the others would wait.
    """

    def __init__(self, size: int, num_replicas: int, rank: int, batch_size: int = 1) -> None:
        super().__init__(range(size), num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]  # as above
        if size < num_replicas:
            raise ConfigurationError(
                f"{size} samples cannot be shared by {num_replicas} devices, each of which evaluates one at "
                f"least; set --trainer.devices {max(size, 1)} or fewer"
            )
        batch_size = batch_size if -(-size // batch_size) >= num_replicas else 1
        batches = -(-size // batch_size)
        first, last = (batches * place // num_replicas * batch_size for place in (rank, rank + 1))
        self.rows = range(first, min(last, size))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)


class ClearLoader(DataLoader[Any]):
    """A loader whose workers' user errors arrive as they were raised, not wrapped in a traceback."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # any iterator serves; torch names its own class
        try:
            yield from super().__iter__()
        except UserError as error:
            self._iterator = None  # an epoch after this one, if any, starts new workers
            # The traceback and torch's iterator hold each other. Left to the garbage collector, the queues
            # would close before the iterator tells its workers to end, and it waits 5 seconds for each.
            clear_frames(error.__traceback__)
            last_line = str(error).strip().splitlines()[-1]
            prefix = f"{type(error).__module__}.{type(error).__qualname__}: "
            raise type(error)(last_line.removeprefix(prefix)) from error


class ResumableLoader(ClearLoader):
    """A training loader that knows how many batches of its epoch have been taken.

    Its sampler is an `EpochSampler`, whose order follows from the epoch alone, so that this is all there is
    to remember.
    """

    def __init__(self, dataset: Dataset[Any], sampler: EpochSampler, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(dataset, sampler=sampler, **settings)
        self.epoch_sampler = sampler
        self._batches = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # the DataLoader's names a class of its own
        self._batches = self.epoch_sampler.first_batch
        for batch in super().__iter__():
            self._batches += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Say where training is: behind the batches that were taken, not those that workers have ready."""
        sampler = self.epoch_sampler
        return Position(sampler.epoch, self._batches, sampler.global_batch)._asdict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin an epoch where a run was stopped.

        Args:
            state_dict: From `state_dict`.
        """
        self.epoch_sampler.resume(Position(**state_dict))


def keep_memory_shared(worker: int) -> None:
    """Take what a worker inherited out of its garbage collector's sight.

    The collector writes into the header of every object it looks at, so that a forked worker would copy page
    by page what it shares with its parent.

    Args:
        worker: Not needed: all workers do the same.
    """
    del worker
    gc.freeze()


def make_loader(
    dataset: Dataset[Any],
    *,
    batch_size: int,
    num_workers: int,
    sampler: DistributedSampler[Any] | None,
    collate: Callable[[list[Any]], Any],
    pin_memory: bool,
) -> DataLoader[Any]:
    """Build a loader whose workers live as long as it does.

    Args:
        dataset: Rows.
        batch_size: Rows a batch.
        num_workers: Processes; 0 loads in this one.
        sampler: Order; ``None`` is file order.
        collate: Makes a batch.
        pin_memory: Whether batches go to page-locked memory.

    Returns:
        The loader.
    """
    kind = ResumableLoader if isinstance(sampler, EpochSampler) else ClearLoader
    return kind(
        dataset,
        sampler=sampler,  # type: ignore[arg-type]  # of the kind that the loader wants
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=keep_memory_shared,
        # of its own: workers are seeded from it, which must not move the draws of the training
        generator=torch.Generator().manual_seed(0),
    )

"""Samplers of any size in any world: every row where it belongs, however many devices share them."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from data_modules.caption_data.order import CaptionOrder
from data_modules.caption_data.sources import hold_out
from data_modules.loaders import EpochSampler, Order, Position, ResumableLoader, UnpaddedSampler, make_loader
from data_modules.unreadable import substitute_row

SIZES = st.integers(1, 300)
BATCHES = st.integers(1, 40)
WORLDS = st.integers(1, 9)
EPOCHS = st.integers(0, 3)


class Rows(Dataset[int]):
    """Gives back which row was asked for."""

    def __getitem__(self, index: tuple[int, int]) -> int:
        return index[1]


class Shuffle:
    """An order that follows from the epoch alone."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, epoch: int) -> Order:
        return np.random.default_rng(epoch).permutation(self.size)


def samplers_of(size: int, batch: int, world: int, epoch: int) -> list[EpochSampler]:
    samplers = [EpochSampler(Shuffle(size), size, batch, world, rank) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return samplers


def global_batches(samplers: Sequence[EpochSampler]) -> list[list[int]]:
    """Return what all devices take at once, step by step, rank after rank."""
    shares = [[row for _, row in sampler] for sampler in samplers]
    batch = samplers[0].batch_size
    steps = range(0, len(shares[0]), batch)
    return [[row for share in shares for row in share[start : start + batch]] for start in steps]


@given(size=SIZES, batch=BATCHES, world=WORLDS, epoch=EPOCHS)
def test_devices_share_an_epoch_as_one_would_take_it(size: int, batch: int, world: int, epoch: int) -> None:
    assume(size >= world)
    samplers = samplers_of(size, batch, world, epoch)
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(samplers[0])}
    assert {taken for share in shares for taken, _ in share} <= {epoch}
    rows = [row for share in shares for _, row in share]
    assert len(set(rows)) == len(rows) > size - samplers[0].global_batch
    (alone,) = samplers_of(size, samplers[0].global_batch, 1, epoch)
    assert global_batches(samplers) == global_batches([alone])


@given(size=SIZES, batch=BATCHES, world=WORLDS, epoch=EPOCHS, data=st.data())
def test_a_resumed_epoch_is_exactly_what_was_left(
    size: int, batch: int, world: int, epoch: int, data: st.DataObject
) -> None:
    assume(size >= world)
    whole = global_batches(samplers_of(size, batch, world, epoch))
    done = data.draw(st.integers(0, len(whole)))
    samplers = samplers_of(size, batch, world, epoch)
    for sampler in samplers:
        sampler.resume(Position(epoch, done, sampler.global_batch))
    assert global_batches(samplers) == whole[done:]
    for sampler in samplers:
        sampler.set_epoch(epoch + 1)  # later epochs are whole again
    assert global_batches(samplers) == global_batches(samplers_of(size, batch, world, epoch + 1))


@given(
    batch=st.integers(1, 8), steps=st.integers(1, 6), worlds=st.sampled_from([(1, 2), (2, 1), (4, 2), (2, 6)])
)
def test_other_devices_go_on_with_the_same_global_batches(
    batch: int, steps: int, worlds: tuple[int, int]
) -> None:
    before, after = worlds
    together = batch * before * after
    size = together * steps + 1
    whole = global_batches(samplers_of(size, together // before, before, 0))
    for done in range(steps + 1):
        samplers = samplers_of(size, together // after, after, 0)
        for sampler in samplers:
            sampler.resume(Position(0, done, together))
        assert global_batches(samplers) == whole[done:]


@given(size=st.integers(1, 60), batch=st.integers(1, 9), taken=st.integers(0, 60))
def test_a_loader_remembers_its_position(size: int, batch: int, taken: int) -> None:
    def loader() -> ResumableLoader:
        sampler = EpochSampler(Shuffle(size), size, batch)
        made = make_loader(
            Rows(),
            batch_size=sampler.batch_size,
            num_workers=0,
            sampler=sampler,
            collate=list,
            pin_memory=False,
        )
        assert isinstance(made, ResumableLoader)
        return made

    stopped, resumed = loader(), loader()
    batches = iter(stopped)
    first = list(islice(batches, taken))
    resumed.load_state_dict(stopped.state_dict())
    assert list(resumed) == list(batches)
    assert len(first) == min(taken, len(stopped))


@given(size=st.integers(1, 500), world=st.integers(1, 64), batch=st.integers(1, 9))
def test_evaluation_takes_each_row_once_and_pads_nothing(size: int, world: int, batch: int) -> None:
    assume(size >= world)
    samplers = [UnpaddedSampler(size, world, rank, batch) for rank in range(world)]
    shares = [list(sampler) for sampler in samplers]
    assert [row for share in shares for row in share] == list(range(size))
    counts = [len(share) for share in shares]
    assert counts == [len(sampler) for sampler in samplers]
    assert min(counts) >= 1
    whole = -(-size // batch) >= world  # batches of the file order are dealt out whole where there are enough
    assert max(counts) - min(counts) <= (2 * batch - 1 if whole else 1)
    assert not whole or all(count % batch == 0 for count in counts[:-1])


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=25),
    group=st.integers(1, 6),
    second=st.integers(0, 25),
    weights=st.tuples(st.floats(0.01, 3.5), st.floats(0.01, 3.5)),
    one=st.booleans(),
    epoch=EPOCHS,
    seed=st.integers(0, 2**31),
)
def test_an_epoch_of_captions_takes_each_as_often_as_its_weight_says(
    counts: list[int],
    group: int,
    second: int,
    weights: tuple[float, float],
    one: bool,
    epoch: int,
    seed: int,
) -> None:
    """Two sources: the first images are one's, the last ``second`` the other's."""
    image = np.repeat(np.arange(len(counts)), counts)
    source = (image >= len(counts) - second).astype(np.int64)
    order = CaptionOrder(image, image // group, source, weights, one, seed)
    rows = order(epoch)
    assert len(set(rows.tolist())) == len(rows) == sum(order.sizes)
    taken = np.bincount(rows % len(image), minlength=len(image))
    for number, weight in enumerate(weights):
        mine = source == number
        assert taken[mine].sum() == order.sizes[number]
        each = np.bincount(image[mine], weights=taken[mine]) if one else taken[mine]
        each = each[np.unique(image[mine])] if one else each
        assert all(int(weight) <= count <= int(np.ceil(weight)) for count in each)
    assert rows.tolist() == order(epoch).tolist()


@given(images=st.integers(0, 400), fraction=st.floats(0, 1, exclude_max=True), group=st.integers(1, 20))
def test_held_out_images_and_the_rest_are_all(images: int, fraction: float, group: int) -> None:
    parts = hold_out(images, fraction, group)
    assert sorted([*parts["train"].tolist(), *parts["val"].tolist()]) == list(range(images))
    assert not {row // group for row in parts["train"]} & {row // group for row in parts["val"]}


@given(seed=st.integers(0, 2**31), epoch=EPOCHS, size=st.integers(1, 120), data=st.data())
def test_replacements_try_every_other_row_once(seed: int, epoch: int, size: int, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, size - 1))
    tried = [substitute_row(seed, epoch, row, attempt, size) for attempt in range(size - 1)]
    assert sorted([row, *tried]) == list(range(size))

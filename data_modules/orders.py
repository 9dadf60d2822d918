"""Orders of an epoch of retrieval: plain, or with the queries of a set together."""

from collections import defaultdict, deque
from collections.abc import Sequence

import numpy as np

from data_modules.loaders import Order


def grouped_order(
    set_rows: Order, batch_size: int, *, seed: int, epoch: int, share: int | None = None
) -> Order:
    """Shuffle sets and fill every batch with whole sets; a set is split only where none fits.

    Args:
        set_rows: Set of each item, ``(N,)``.
        batch_size: Items an optimiser step.
        seed: Seed of the run.
        epoch: Number of the epoch.
        share: Items of it that a device takes at once; these too are filled with whole sets. Which items make
            a step does not depend on it.

    Returns:
        Items in order, ``(N,)``; batches are its consecutive blocks.
    """
    members = _members(set_rows)
    shuffled = np.random.default_rng([seed, epoch]).permutation(len(members)).tolist()
    order = _filled([members[number] for number in shuffled], batch_size)
    if share in (None, batch_size):
        return order
    batches = np.split(order, range(batch_size, len(order), batch_size))
    return np.concatenate([batch[_filled(_members(set_rows[batch]), share)] for batch in batches])


def _members(set_rows: Order) -> list[list[int]]:
    """List the items of each set, both in ascending order."""
    by_set = np.argsort(set_rows, kind="stable")
    return [part.tolist() for part in np.split(by_set, np.flatnonzero(np.diff(set_rows[by_set])) + 1)]


def _filled(members: Sequence[list[int]], batch_size: int) -> Order:
    """Fill batches with sets, the first waiting one that fits; where none does, with a part of the first."""
    # sets wait in one line for each size, since a search through one long line grows with its square
    lines: dict[int, deque[tuple[int, list[int]]]] = defaultdict(deque)
    for place, items in enumerate(members):
        lines[len(items)].append((place, items))
    order: list[int] = []
    while waiting := [(line[0][0], size) for size, line in lines.items() if line]:
        room = batch_size - len(order) % batch_size
        _, size = min([entry for entry in waiting if entry[1] <= room] or waiting)
        place, rows = lines[size].popleft()
        order += rows[:room]
        if rest := rows[room:]:
            lines[len(rest)].appendleft((place, rest))
    return np.array(order, dtype=np.int64)


def shuffled_order(size: int, *, seed: int, epoch: int) -> Order:
    """Return a permutation of ``size`` items that depends on seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(size)

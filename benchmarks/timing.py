"""Two sides in turn, so that both meet the machine in the same states."""

import time
from statistics import median
from typing import NamedTuple

from benchmarks.sides import Side


class Medians(NamedTuple):
    """Seconds of a run.

    Attributes:
        ours: Median of our runs.
        peer: Median of the peer's.
    """

    ours: float
    peer: float


def interleave(ours: Side, peer: Side, rounds: int) -> Medians:
    """Time two sides in turn, pair by pair, the first of a pair alternating; the first pair warms up.

    Args:
        ours: Our side.
        peer: The peer's.
        rounds: Pairs that count.

    Returns:
        Medians.
    """
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for number in range(rounds + 1):
        pair = [("ours", ours), ("peer", peer)]
        for name, side in reversed(pair) if number % 2 else pair:
            elapsed = clock(side)
            if number:
                seconds[name].append(elapsed)
    return Medians(median(seconds["ours"]), median(seconds["peer"]))


def clock(side: Side) -> float:
    """Return the seconds of one run; what prepares it is not counted."""
    side.prepare()
    start = time.perf_counter()
    side.run()
    return time.perf_counter() - start

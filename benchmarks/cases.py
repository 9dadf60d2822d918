"""The cases of `benchmarks.speed`: what is run on either side, and how much faster ours is to be."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from benchmarks import ours, plain_sides, stock
from benchmarks.sides import Precision, Side

Peer = Literal["stock", "plain"]


class Case(NamedTuple):
    """A comparison.

    Attributes:
        peer: ``stock``: transformers' class. ``plain``: our model with every optimisation off.
        goals: Least speedup at real size.
        ours: Prepares our side from a backbone in a precision.
        theirs: Prepares the peer's, always fp32.
    """

    peer: Peer
    goals: Mapping[Precision, float]
    ours: Callable[[Path, Precision], Side]
    theirs: Callable[[Path], Side]


CASES: Mapping[str, Case] = {
    "zero-shot": Case("stock", {"fp32": 2.5, "bf16": 5.0}, ours.zero_shot, stock.zero_shot),
    "pre-training": Case("plain", {"fp32": 1.3, "bf16": 2.3}, ours.pretraining, plain_sides.pretraining),
    "stage one": Case("stock", {"fp32": 2.7, "bf16": 5.0}, ours.stage_one, stock.stage_one),
    "stage two": Case("plain", {"fp32": 11.0, "bf16": 20.0}, ours.stage_two, plain_sides.stage_two),
}

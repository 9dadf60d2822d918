"""Random numbers that belong to a sample, not to the process or the place in the batch that it came to."""

import os
from collections.abc import Callable

import torch
from torch import Tensor

Uniform = Callable[[int], Tensor]
"""Draws n numbers from U[0, 1) for each of B samples, ``(B, n)`` float32; others at every call."""

SEED = "PL_GLOBAL_SEED"  # where seed_everything leaves the run's
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as torch's int64, which wraps around
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_MANTISSA = 24


def run_seed() -> int:
    """Return the run's seed; without one draws are fixed all the same."""
    return int(os.environ.get(SEED, "42"))


def drawn_anywhere(samples: int, device: torch.device) -> Uniform:
    """Draw from torch's generator.

    Args:
        samples: Their number B.
        device: Where.

    Returns:
        What draws.
    """
    return lambda number: torch.rand(samples, number, device=device)


class SampleDraws:
    """Draws that follow from seed, step and sample alone: the same on any number of processes.

    The numbers are hashes of a counter (SplitMix64: Steele et al., 2014); nothing is remembered but how often
    was asked.

    Args:
        index: Number of each sample in its data set, ``(B,)`` int64.
        seed: Of the run.
        step: Optimiser steps done.
    """

    def __init__(self, index: Tensor, seed: int, step: int) -> None:
        start = torch.tensor(seed, dtype=torch.int64, device=index.device)
        self._key = _mix(_mix(_mix(start) + step) + index.long())
        self._calls = 0

    def __call__(self, number: int) -> Tensor:
        """Draw, see `Uniform`."""
        self._calls += 1
        key = _mix(self._key + self._calls)[:, None]
        places = torch.arange(number, device=key.device)
        return _shift(_mix(key + places), 64 - _MANTISSA).float() * 2.0**-_MANTISSA


def _shift(words: Tensor, places: int) -> Tensor:
    """Shift 64 bits to the right, filling with zeros; torch's own fills with the sign."""
    return (words >> places) & ((1 << (64 - places)) - 1)


def _mix(words: Tensor) -> Tensor:
    words = words + _GOLDEN
    words = (words ^ _shift(words, 30)) * _FIRST
    words = (words ^ _shift(words, 27)) * _SECOND
    return words ^ _shift(words, 31)


def choose(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw one column a row with probabilities proportional to weights.

    Args:
        weights: Not negative, at least one positive a row, ``(B, C)``.
        uniform: One number in [0, 1) a row, ``(B, 1)``.

    Returns:
        Columns, never one of weight 0, ``(B,)`` int64.
    """
    cumulated = weights.double().cumsum(
        dim=1
    )  # in which no product with a number below 1 rounds up to the sum
    chosen = torch.searchsorted(cumulated, uniform.double() * cumulated[:, -1:], right=True)
    return chosen.squeeze(1)

"""From measured micro-batches to all others: straight lines, and the fastest setting that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from contextblip.errors import ConfigurationError
from contextblip.planning.measuring import Measurement

USABLE_SHARE = 0.95
"""Of a device's memory: blocks are rounded up and some lie idle between others."""


@dataclass(frozen=True)
class Line:
    """A straight line through measured points.

    Attributes:
        intercept: Value at 0, never negative.
        slope: Growth a sample, never negative.
        miss: Largest distance of a point from the line, as a share of the point's value.
    """

    intercept: float
    slope: float
    miss: float

    def at(self, size: float) -> float:
        """Return the value at a micro-batch."""
        return self.intercept + self.slope * size


def fit_line(sizes: Sequence[float], values: Sequence[float]) -> Line:
    """Fit by least squares; a micro-batch can neither save memory nor take time back, so both terms are >= 0.

    Args:
        sizes: Two or more different micro-batches.
        values: Positive, one each.

    Returns:
        The line.
    """
    x, y = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    terms = np.stack([np.ones_like(x), x], axis=1)
    (intercept, slope), _ = nnls(terms, y)
    miss = np.abs(terms @ [intercept, slope] - y) / y
    return Line(float(intercept), float(slope), float(miss.max()))


def whole_micro_batches(global_batch: int, devices: int) -> list[int]:
    """List the micro-batches with which every device accumulates a whole number of them.

    Args:
        global_batch: Samples an optimiser step, over all devices.
        devices: How many, over all nodes.

    Returns:
        Ascending.

    Raises:
        ConfigurationError: The devices cannot share the global batch.
    """
    share, rest = divmod(global_batch, devices)
    if rest:
        possible = ", ".join(str(number) for number in _divisors(global_batch))
        raise ConfigurationError(
            f"{devices} devices cannot share a global batch of {global_batch} equally; "
            f"numbers that can: {possible}"
        )
    return _divisors(share)


def can_be_tried(done: Sequence[Measurement], size: int, available: int) -> bool:
    """Whether a size is likely to fit; where two smaller ones tell, nothing is risked.

    Args:
        done: Measured so far.
        size: The next micro-batch.
        available: Memory of the device, in bytes.

    Returns:
        False where the line through the measured ones says that it does not fit.
    """
    if len(done) < 2:
        return True
    return fit_line([one.size for one in done], [one.memory for one in done]).at(size) <= available


class Profile:
    """Costs in one precision.

    Args:
        precision: As the Trainer has it.
        measured: Two or more sizes.
        least: Smallest micro-batch that does the work of larger ones; smaller ones are no part of the lines
            where two others were measured.
    """

    def __init__(self, precision: str, measured: Sequence[Measurement], least: int = 1) -> None:
        self.precision = precision
        self.measured = {one.size: one for one in measured}
        regular = [one for one in measured if one.size >= least]
        self.points = regular if len(regular) >= 2 else list(measured)
        sizes = [one.size for one in self.points]
        self.seconds = fit_line(sizes, [one.seconds for one in self.points])
        self.memory = fit_line(sizes, [one.memory for one in self.points])
        # On a CPU it holds memory that the passes left to the C library: the smallest has least of that
        self.other_memory = min(measured, key=lambda one: one.size).other_memory
        self.optimizer_seconds = float(np.median([one.optimizer_seconds for one in measured]))
        self.gradient_memory = measured[0].gradient_memory

    def memory_at(self, size: int) -> float:
        """Return the peak at a micro-batch, of the passes or of what it has no part in, in bytes."""
        return max(self.memory.at(size), self.other_memory)


@dataclass(frozen=True)
class Setting:
    """What is planned for.

    Attributes:
        global_batch: Samples an optimiser step, over all devices.
        devices: How many, over all nodes.
        memory: Of each device, in bytes.
        least: Smallest micro-batch that trains as larger ones do.
    """

    global_batch: int
    devices: int
    memory: float
    least: int = 1


@dataclass(frozen=True)
class Row:
    """A micro-batch in a precision.

    Attributes:
        precision: As the Trainer has it.
        micro_batch: Samples a device and pass.
        accumulation: Passes an optimiser step.
        memory: Peak of a device, in bytes.
        seconds: Of an optimiser step.
        samples_per_second: Over all devices.
        is_measured: Whether this size was measured, or is on the line through others.
        fits: Whether the peak is within the usable share of the memory.
        trains: Whether it is large enough to train as larger ones do.
    """

    precision: str
    micro_batch: int
    accumulation: int
    memory: float
    seconds: float
    samples_per_second: float
    is_measured: bool
    fits: bool
    trains: bool = True


def predict(profile: Profile, setting: Setting) -> list[Row]:
    """Say what each micro-batch would cost.

    Several devices take the time of one, since what they exchange is not measured, and each holds the
    gradients a second time, in the buckets by which they are exchanged.

    Args:
        profile: Costs on one device.
        setting: What is planned for.

    Returns:
        One row a micro-batch, ascending; those below ``setting.least`` only where measured.

    Raises:
        ConfigurationError: The devices cannot share the global batch.
    """
    buckets = profile.gradient_memory if setting.devices > 1 else 0
    rows = []
    for size in whole_micro_batches(setting.global_batch, setting.devices):
        measured = profile.measured.get(size)
        if size < setting.least and measured is None:
            continue
        seconds = profile.seconds.at(size) if measured is None else measured.seconds
        memory = buckets + (profile.memory_at(size) if measured is None else measured.peak)
        accumulation = setting.global_batch // (size * setting.devices)
        step = accumulation * seconds + profile.optimizer_seconds
        rows.append(
            Row(
                profile.precision,
                size,
                accumulation,
                memory,
                step,
                setting.global_batch / step,
                is_measured=measured is not None,
                fits=memory <= USABLE_SHARE * setting.memory,
                trains=size >= setting.least,
            )
        )
    return rows


def choose(rows: Sequence[Row]) -> Row | None:
    """Choose the fastest row that fits and trains as larger ones do; of equal ones that of least memory.

    Args:
        rows: Of all precisions.

    Returns:
        The row, ``None`` where nothing fits.
    """
    fitting = [row for row in rows if row.fits and row.trains]
    return min(fitting, key=lambda row: (row.seconds, row.memory), default=None)


def _divisors(number: int) -> list[int]:
    """List the divisors, ascending."""
    return [size for size in range(1, number + 1) if number % size == 0]

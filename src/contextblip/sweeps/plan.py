"""From a sweep file to runs: which commands, in which order, and which of them several points share."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from contextblip.sweeps.definition import Change, Sweep
from contextblip.worlds import World

SHOWN_DIGITS = 12  # of a hash, in names of folders and in cells


@dataclass(frozen=True)
class Run:
    """One command of a sweep, known by what can change its result.

    Attributes:
        hash: 64 hexadecimal digits over its identity.
        stage: Name of the stage.
        folder: Its run folder.
        words: The command and its arguments, without the run folder.
        identity: What the hash covers.
        configuration: Hash of what it has in common with the same run under other seeds.
        upstream: Hash of the run whose checkpoint it starts from.
        checkpoint: Which checkpoint of that run.
        draws: Record of a miniature world that the first run draws; ``None`` where no world is drawn.
        world: Whether it reads drawn or real data.
        measures: Metrics that are kept of it.
        used_by: What it is for, e.g. ``mask_ratio: mask ratio 0.5, seed 42``.
    """

    hash: str
    stage: str
    folder: Path
    words: tuple[str, ...]
    identity: dict[str, Any]
    configuration: str
    upstream: str | None = None
    checkpoint: Path | None = None
    draws: Path | None = None
    world: World = "real"
    measures: list[str] = field(default_factory=list)
    used_by: list[Use] = field(default_factory=list)

    @property
    def command(self) -> str:
        """fit, validate, test or predict."""
        return self.words[0]

    @property
    def name(self) -> str:
        """Short name, that of the folder."""
        return self.folder.name


@dataclass(frozen=True)
class Use:
    """What a run is for.

    Attributes:
        sweep: Name of the sweep.
        point: Label of the point.
        seed: The seed; ``None`` for the experiment's own.
    """

    sweep: str
    point: str
    seed: int | None

    def __str__(self) -> str:
        """Write it for a table."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.point}{seed}"


@dataclass(frozen=True)
class Point:
    """One configuration of a sweep.

    Attributes:
        label: E.g. ``mask ratio 0.5``.
        values: Labels of the axes to values; of a variant its name.
        changes: Stages to what is added to them; ``None`` leaves the stage out.
        settings: Keys and values of the axes, with the stages they are limited to.
    """

    label: str
    values: dict[str, Any]
    changes: dict[str, Change | None] = field(default_factory=dict)
    settings: tuple[tuple[str, Any, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Trial:
    """One point with one seed.

    Attributes:
        point: The point.
        seed: The seed.
        runs: Stages to hashes of runs.
    """

    point: Point
    seed: int | None
    runs: dict[str, str]


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep with its trials.

    Attributes:
        sweep: The file's content.
        points: In the file's order.
        trials: Every point with every seed.
    """

    sweep: Sweep
    points: list[Point]
    trials: list[Trial]


@dataclass
class Plan:
    """All runs of one or several sweeps.

    Attributes:
        sweeps: The sweeps.
        runs: Hashes to runs; each stands after the one it starts from.
    """

    sweeps: list[PlannedSweep] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)

    def targets(self) -> set[str]:
        """Find the runs that are wanted for themselves: measured ones, and ends of chains."""
        started_from = {run.upstream for run in self.runs.values()}
        return {run.hash for run in self.runs.values() if run.measures or run.hash not in started_from}

    def chains(self, needed: set[str]) -> list[list[Run]]:
        """Group runs so that no group waits for another one.

        Args:
            needed: Hashes of the runs to group.

        Returns:
            Groups, each in the order in which its runs have to follow each other.
        """
        groups: dict[str, list[Run]] = {}
        of: dict[str, str] = {}
        for run in self.runs.values():
            if run.hash in needed:
                start = of.get(run.upstream or "", run.hash)
                of[run.hash] = start
                groups.setdefault(start, []).append(run)
        return list(groups.values())


def points_of(sweep: Sweep) -> list[Point]:
    """Expand what varies.

    Args:
        sweep: The file's content.

    Returns:
        The variants, or every combination of the axes' values; one point where nothing varies.
    """
    if sweep.variants:
        return [Point(v.name, {"variant": v.name}, v.changes) for v in sweep.variants]
    points = []
    for values in product(*(axis.values for axis in sweep.axes)):
        pairs = list(zip(sweep.axes, values, strict=True))
        points.append(
            Point(
                label=", ".join(f"{axis.label} {show_value(value)}" for axis, value in pairs) or sweep.name,
                values={axis.label: value for axis, value in pairs},
                settings=tuple((axis.key, value, axis.stages) for axis, value in pairs),
            )
        )
    return points


def show_value(value: object) -> str:
    """Write a swept value short.

    Args:
        value: As read from YAML.

    Returns:
        Text; of a list of whole numbers runs are drawn together, e.g. ``1-12``.
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    if not isinstance(value, list):
        return str(value)
    if not value:
        return "none"
    is_run = (
        len(value) > 2 and isinstance(value[0], int) and value == [*range(value[0], value[0] + len(value))]
    )
    return f"{value[0]}-{value[-1]}" if is_run else ",".join(map(str, value))

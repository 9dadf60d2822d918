"""Means over seeds of what a sweep measured, and `summary.csv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextblip.estimates import Interval, mean_and_sd, seed_interval, wilson_of_share
from contextblip.groups import is_share
from contextblip.replacing import replacing
from contextblip.sweeps.plan import PlannedSweep, Point, show_value

# Metrics to what a reader calls them
SUBSETS = {"accuracy": "all", "accuracy_video": "video", "accuracy_static": "static"}


@dataclass(frozen=True)
class Estimate:
    """A metric of a stage at one point, over seeds.

    Attributes:
        point: The point.
        stage: The measured stage.
        metric: Name of the metric.
        values: One for each distinct run; seeds that share a run count once.
        missing: Seeds whose run has no number yet.
        count: Cases that one run was measured on; ``None`` where that is not known.
        pooled_count: Their sum over the runs.
    """

    point: Point
    stage: str
    metric: str
    values: tuple[float, ...]
    missing: int
    count: int | None
    pooled_count: int | None

    @property
    def mean(self) -> float | None:
        """Mean over the runs; ``None`` before there is one."""
        return mean_and_sd(self.values).mean if self.values else None

    @property
    def sd(self) -> float | None:
        """Standard deviation over the runs; ``None`` for fewer than two."""
        return mean_and_sd(self.values).sd if self.values else None

    @property
    def seed_interval(self) -> Interval | None:
        """Student's 95% interval of the mean over the runs; ``None`` for fewer than two."""
        return seed_interval(self.values) if self.values else None

    @property
    def wilson(self) -> Interval | None:
        """Wilson's 95% interval of a share, as if of one run: more seeds bring no further queries."""
        if self.mean is None or not self.count or not is_share(self.metric):
            return None
        return wilson_of_share(self.mean, self.count)


def estimate(planned: PlannedSweep, rows: Mapping[str, Mapping[str, str]]) -> list[Estimate]:
    """Collect what a sweep measured.

    Args:
        planned: The sweep.
        rows: Rows of the results file.

    Returns:
        One estimate for each point, measured stage and metric, in the file's order.
    """
    return [
        _estimate(planned, point, stage, metric, rows)
        for point in planned.points
        for stage, metrics in planned.sweep.measures.items()
        for metric in metrics
        if any(trial.point is point and stage in trial.runs for trial in planned.trials)
    ]


def _estimate(
    planned: PlannedSweep, point: Point, stage: str, metric: str, rows: Mapping[str, Mapping[str, str]]
) -> Estimate:
    hashes = [trial.runs[stage] for trial in planned.trials if trial.point is point and stage in trial.runs]
    cells = {key: rows.get(key, {}) for key in hashes}
    found = {key: row for key, row in cells.items() if row.get(metric)}
    counts = [int(row[f"n/{metric}"]) for row in found.values() if row.get(f"n/{metric}")]
    return Estimate(
        point=point,
        stage=stage,
        metric=metric,
        values=tuple(float(row[metric]) for row in found.values()),
        missing=sum(key not in found for key in hashes),
        count=min(counts) if counts and len(counts) == len(found) else None,
        pooled_count=sum(counts) if counts and len(counts) == len(found) else None,
    )


def write_summary(path: Path, estimates: Sequence[Estimate], sweep: str) -> None:
    """Write ``summary.csv``, in one step.

    Args:
        path: The file.
        estimates: What was measured.
        sweep: Name of the sweep.
    """
    axes = list(dict.fromkeys(name for found in estimates for name in found.point.values))
    columns = ["sweep", *axes, "stage", "metric", "mean", "sd", "seeds", "seed_low", "seed_high", "n"]
    columns += ["pooled_n", "wilson_low", "wilson_high", "missing"]
    with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({"sweep": sweep, **_row(found)} for found in estimates)


def _row(found: Estimate) -> dict[str, Any]:
    seeds, queries = found.seed_interval, found.wilson
    cells: dict[str, Any] = {name: show_value(value) for name, value in found.point.values.items()}
    cells |= {"stage": found.stage, "metric": found.metric, "seeds": len(found.values)}
    cells |= {"mean": _shown(found.mean), "sd": _shown(found.sd), "missing": found.missing}
    cells |= {"n": found.count, "pooled_n": found.pooled_count}
    cells |= {"seed_low": _shown(seeds and seeds.low), "seed_high": _shown(seeds and seeds.high)}
    cells |= {"wilson_low": _shown(queries and queries.low), "wilson_high": _shown(queries and queries.high)}
    return {key: "" if value is None else value for key, value in cells.items()}


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"

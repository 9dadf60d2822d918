"""Which of the paper's numbers belong beside ours, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from contextblip.paper import PaperRow, PaperTable, published_counts
from contextblip.runs import DATASETS
from contextblip.sweeps.plan import Plan, PlannedSweep, Point, Run
from contextblip.sweeps.summary import SUBSETS, Estimate

# The paper's columns of accuracies to our metrics
_METRICS = {"all": "accuracy", "video": "accuracy_video", "image": "accuracy_static"}
_PLACES = {
    "train": "IMAGECODE's training split",
    "valid": "IMAGECODE's validation split",
    "test": "IMAGECODE's test split",
    "mmvp_vlm": "MMVP-VLM",
}
Column = tuple[str, str]  # stage and metric


@dataclass(frozen=True)
class Beside:
    """What of a table of the paper stands beside our numbers.

    Attributes:
        paper: The paper's table.
        columns: Our stages and metrics to the paper's columns; empty where nothing belongs beside ours.
        reason: A sentence that says why nothing does.
    """

    paper: PaperTable
    columns: Mapping[Column, str] = field(default_factory=dict)
    reason: str = ""


def set_beside(plan: Plan, planned: PlannedSweep, estimates: Sequence[Estimate], paper: PaperTable) -> Beside:
    """Find the paper's numbers that are measured on the same as ours.

    Args:
        plan: The plan, whose runs say on what they are measured.
        planned: The sweep.
        estimates: What was measured.
        paper: The paper's table.

    Returns:
        The paper's columns, or the reason why it has none for us.
    """
    columns = _columns(paper, estimates)
    reason = _other_data(plan, planned, paper) or _other_size(estimates, columns, paper)
    rows = [row for point in planned.points if (row := paper_row(paper, planned, point))]
    shared = [row.values.get(column) for row in rows for column in columns.values()]
    if not reason and all(number is None for number in shared):
        reason = "None of its numbers belongs to a row and a column of ours."
    return Beside(paper, {}, reason) if reason else Beside(paper, columns)


def measured_on(plan: Plan, planned: PlannedSweep) -> str:
    """Say on what a sweep's numbers are measured.

    Args:
        plan: The plan.
        planned: The sweep.

    Returns:
        E.g. ``miniature world, validation split`` or ``IMAGECODE, test split``; several joined by ``and``.
    """
    runs = [plan.runs[key] for trial in planned.trials for key in trial.runs.values()]
    found = []
    for run in runs:
        if run.measures:
            place = _place(run)
            name, _, split = _PLACES.get(place, place).partition("'s ")
            known = "miniature world" if run.world == "miniature" else name
            is_other = run.world == "miniature" and not split
            found.append(", ".join(part for part in (known, name if is_other else split) if part))
    return " and ".join(dict.fromkeys(found))


def _columns(paper: PaperTable, estimates: Sequence[Estimate]) -> dict[Column, str]:
    """Match columns; in a table of stages the stage's name begins with the column's."""
    found: dict[Column, str] = {}
    for stage, metric in dict.fromkeys((each.stage, each.metric) for each in estimates):
        for column in paper.columns:
            by_stage = stage.startswith(column) and metric == _METRICS.get(paper.subset or "all")
            if _METRICS.get(column) == metric or by_stage:
                found.setdefault((stage, metric), column)
    return found


def _other_data(plan: Plan, planned: PlannedSweep, paper: PaperTable) -> str:
    """Say that ours are of another world, data set or split."""
    runs = [plan.runs[key] for trial in planned.trials for key in trial.runs.values()]
    measured = [run for run in runs if run.measures]
    if any(run.world == "miniature" for run in measured):
        return "Ours are measured on the miniature world, the paper's on published data; they do not compare."
    places = {_place(run) for run in measured}
    places = places & set(_PLACES) or places  # a pre-training's numbers have no column in the paper
    if paper.split is None or places == {paper.split}:
        return ""
    ours = " and ".join(sorted(_PLACES.get(place, place) for place in places)) or "nothing"
    return f"It is on {_PLACES[paper.split]}, ours on {ours}; they do not compare."


def _place(run: Run) -> str:
    """Say on what a run is measured: a split of IMAGECODE, ``mmvp_vlm``, or another data set's name."""
    data = run.identity.get("data") or {}
    name = str(data.get("class_path", "")).rpartition(".")[2]
    dataset = DATASETS.get(name, name)
    if dataset != "IMAGECODE":
        return "mmvp_vlm" if dataset == "MMVP-VLM" else dataset
    is_tested = run.command == "test" or bool(run.identity.get("test_after"))
    return str((data.get("init_args") or {}).get("test_split") or "valid") if is_tested else "valid"


def _other_size(estimates: Sequence[Estimate], columns: Mapping[Column, str], paper: PaperTable) -> str:
    """Say that ours are of a part of the split: fewer sets on disk, or fewer batches asked for."""
    counts = published_counts()
    queries, videos = counts.descriptions.get(paper.split or ""), counts.videos.get(paper.split or "")
    if queries is None or videos is None:
        return ""
    sizes = {"accuracy": queries, "accuracy_video": videos, "accuracy_static": queries - videos}
    for found in estimates:
        size = sizes.get(found.metric) if (found.stage, found.metric) in columns else None
        if size is not None and found.values and found.count != size:
            ours = "an unknown number of" if found.count is None else f"{found.count:,}"
            return (
                f"Ours are measured on {ours} queries ({SUBSETS[found.metric]}), the paper's on the "
                f"{size:,} of {_PLACES[paper.split or '']}; they do not compare."
            )
    return ""


def paper_row(paper: PaperTable, planned: PlannedSweep, point: Point) -> PaperRow | None:
    """Find the paper's row of a point: of the same values, or of the variant's name.

    Args:
        paper: The paper's table.
        planned: The sweep.
        point: The point.

    Returns:
        The row, or ``None`` where the paper has none.
    """
    if not planned.sweep.axes:
        return paper.row(point.label)
    wanted = {axis.key.rpartition(".")[2]: point.values[axis.label] for axis in planned.sweep.axes}
    rows = (row for row in paper.rows if all(row.details.get(key) == value for key, value in wanted.items()))
    return next(rows, None)

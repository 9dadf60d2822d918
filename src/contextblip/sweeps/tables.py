"""A sweep's table in Markdown, and the paper's: beside ours where both measure the same, else below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contextblip.paper.reader import PaperRow, PaperTable, paper_table
from contextblip.sweeps.plan import Plan, PlannedSweep, Point, show_value
from contextblip.sweeps.summary import SUBSETS, Estimate

# The paper's columns of accuracies to our metrics
_METRICS = {"all": "accuracy", "video": "accuracy_video", "image": "accuracy_static"}
_SPLITS = {"valid": "validation", "test": "test", "mmvp_vlm": "MMVP-VLM"}
DOUBTFUL = "†"


def markdown(plan: Plan, planned: PlannedSweep, estimates: Sequence[Estimate]) -> str:
    """Write a sweep's table.

    Args:
        plan: The plan, whose runs say on what they were measured.
        planned: The sweep.
        estimates: What was measured.

    Returns:
        Markdown.
    """
    paper = paper_table(planned.sweep.paper) if planned.sweep.paper else None
    difference = "" if paper is None else difference_to_paper(plan, planned, paper)
    beside = paper if paper is not None and not difference else None
    lines = [f"## {planned.sweep.title}", "", *_ours(planned, estimates, beside), ""]
    lines += [_explanation(estimates, beside), ""]
    if paper is not None and difference:
        lines += [f"**For reference only: the paper's Table {paper.number}.** {difference}", ""]
        lines += [*_papers(paper), ""]
    if paper is not None:
        lines += [f"{DOUBTFUL} {row}: {reason}" for (row, _), reason in _distinct_doubts(paper)]
    return "\n".join(lines).rstrip() + "\n"


def difference_to_paper(plan: Plan, planned: PlannedSweep, paper: PaperTable) -> str:
    """Say why our numbers must not stand beside the paper's.

    Args:
        plan: The plan.
        planned: The sweep.
        paper: The paper's table.

    Returns:
        A sentence; empty where both are measured on the same.
    """
    measured = [
        plan.runs[key] for trial in planned.trials for key in trial.runs.values() if plan.runs[key].measures
    ]
    data = [run.identity.get("data") or {} for run in measured]
    arguments: list[dict[str, Any]] = [values.get("init_args") or {} for values in data]
    if any(str(values.get("root")).startswith("miniature:") for values in arguments):
        return "Ours are measured on the miniature world, the paper's on IMAGECODE; they do not compare."
    splits = {
        str(values.get("test_split", "valid")) if run.command == "test" else "valid"
        for values, run in zip(arguments, measured, strict=True)
    }
    if paper.split is not None and splits != {paper.split}:
        ours = " and ".join(sorted(_SPLITS.get(split, split) for split in splits)) or "no"
        return f"It is of the {_SPLITS[paper.split]} split, ours of the {ours} split; they do not compare."
    return ""


def _ours(planned: PlannedSweep, estimates: Sequence[Estimate], paper: PaperTable | None) -> list[str]:
    """Lay our numbers out: a row for each point, a column for each stage and metric."""
    columns = list(dict.fromkeys((found.stage, found.metric) for found in estimates))
    by_cell = {(found.point.label, found.stage, found.metric): found for found in estimates}
    several = len({stage for stage, _ in columns}) > 1
    axes = [axis.label for axis in planned.sweep.axes] or ["variant" if planned.sweep.variants else ""]
    heads = [
        f"{f'{stage}: '.replace('_', ' ') if several else ''}{SUBSETS.get(metric, metric)}"
        for stage, metric in columns
    ]
    sides = [_paper_column(paper, stage, metric) for stage, metric in columns]
    cells = [[*axes]]
    for head, side in zip(heads, sides, strict=True):
        cells[0] += [head] if side is None else [head, f"{head}, paper"]
    for point in planned.points:
        row = [show_value(value) for value in point.values.values()] or [point.label]
        for (stage, metric), side in zip(columns, sides, strict=True):
            row.append(show_estimate(by_cell.get((point.label, stage, metric))))
            if side is not None and paper is not None:
                row.append(_show_paper(paper, paper_row(paper, planned, point), side))
        cells.append(row)
    return _layout(cells, len(axes))


def show_estimate(found: Estimate | None) -> str:
    """Write a mean with its spread and interval.

    Args:
        found: The estimate.

    Returns:
        Accuracies in percent, ``mean ± sd [Wilson interval]``; a dash where there is none.
    """
    if found is None or found.mean is None:
        return "–"
    if not found.metric.startswith(("accuracy", "pair_accuracy")):
        return f"{found.mean:.4g}" + (f" ± {found.sd:.2g}" if found.sd is not None else "")
    spread = f" ± {100 * found.sd:.1f}" if found.sd is not None else ""
    interval = found.wilson
    limits = f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" if interval else ""
    return f"{100 * found.mean:.1f}{spread}{limits}"


def _explanation(estimates: Sequence[Estimate], beside: PaperTable | None) -> str:
    """Say what the numbers are."""
    runs = sorted({len(found.values) for found in estimates if found.values})
    missing = sum(found.missing for found in estimates)
    counts = dict.fromkeys(
        f"{SUBSETS.get(found.metric, found.metric)} {found.count:,}" for found in estimates if found.count
    )
    parts = ["Mean over seeds ± standard deviation [95% Wilson interval of the mean over the queries]"]
    parts += [f"{' or '.join(map(str, runs))} seeds a point"] if runs else []
    parts += [f"n: {', '.join(counts)}"] if counts else []
    parts += [f"paper: Table {beside.number}, same split"] if beside is not None else []
    parts += [f"{missing} numbers are still missing"] if missing else []
    return f"{'; '.join(parts)}."


def _paper_column(paper: PaperTable | None, stage: str, metric: str) -> str | None:
    """Find the paper's column of a metric; in a table of stages the stage's name begins with the column's."""
    for column in paper.columns if paper is not None else ():
        by_stage = stage.startswith(column) and metric == _METRICS.get(paper.subset or "all", "")  # type: ignore[union-attr]
        if _METRICS.get(column) == metric or by_stage:
            return column
    return None


def paper_row(paper: PaperTable, planned: PlannedSweep, point: Point) -> PaperRow | None:
    """Find the paper's row of a point: of the same values, or of the variant's name.

    Args:
        paper: The paper's table.
        planned: The sweep.
        point: The point.

    Returns:
        The row, or ``None`` where the paper has none.
    """
    if planned.sweep.variants:
        return paper.row(point.label)
    wanted = {axis.key.rpartition(".")[2]: point.values[axis.label] for axis in planned.sweep.axes}
    rows = (row for row in paper.rows if all(row.details.get(key) == value for key, value in wanted.items()))
    return next(rows, None)


def _show_paper(paper: PaperTable, row: PaperRow | None, column: str) -> str:
    value = None if row is None else row.values.get(column)
    if row is None or value is None:
        return "–"
    return f"{value:.1f}{f' {DOUBTFUL}' if paper.doubt(row.label, column) else ''}"


def _papers(paper: PaperTable) -> list[str]:
    """Lay the paper's table out."""
    cells = [[f"Table {paper.number}", *paper.columns.values()]]
    cells += [
        [row.label, *(_show_paper(paper, row, column) for column in paper.columns)] for row in paper.rows
    ]
    return _layout(cells, 1)


def _distinct_doubts(paper: PaperTable) -> list[tuple[tuple[str, str], str]]:
    return list(
        {(row, reason): ((row, column), reason) for (row, column), reason in paper.doubts.items()}.values()
    )


def _layout(cells: list[list[str]], left: int) -> list[str]:
    """Write rows of Markdown; the first columns are aligned left, numbers right."""
    rule = ["---" if number < left else "---:" for number in range(len(cells[0]))]
    return [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]

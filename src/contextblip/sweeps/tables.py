"""A sweep's table in Markdown, and the paper's: beside ours where both measure the same, else below it."""

from __future__ import annotations

from collections.abc import Sequence

from contextblip.paper import PaperRow, PaperTable, paper_table
from contextblip.sweeps.beside_paper import Beside, paper_row, set_beside
from contextblip.sweeps.plan import Plan, PlannedSweep, show_value
from contextblip.sweeps.summary import SUBSETS, Estimate

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
    beside = None if paper is None else set_beside(plan, planned, estimates, paper)
    lines = [f"## {planned.sweep.title}", "", *_ours(planned, estimates, beside), ""]
    lines += [_explanation(estimates, beside), ""]
    if beside is not None and beside.reason:
        lines += [f"**For reference only: the paper's Table {beside.paper.number}.** {beside.reason}", ""]
        lines += [*_papers(beside.paper), ""]
    if paper is not None:
        lines += [f"{DOUBTFUL} {row}: {reason}" for (row, _), reason in _distinct_doubts(paper)]
    return "\n".join(lines).rstrip() + "\n"


def _ours(planned: PlannedSweep, estimates: Sequence[Estimate], beside: Beside | None) -> list[str]:
    """Lay our numbers out: a row for each point, a column for each stage and metric."""
    columns = list(dict.fromkeys((found.stage, found.metric) for found in estimates))
    by_cell = {(found.point.label, found.stage, found.metric): found for found in estimates}
    several = len({stage for stage, _ in columns}) > 1
    axes = [axis.label for axis in planned.sweep.axes] or ["variant" if planned.sweep.variants else ""]
    heads = [
        f"{f'{stage}: '.replace('_', ' ') if several else ''}{SUBSETS.get(metric, metric)}"
        for stage, metric in columns
    ]
    sides = [beside.columns.get(column) if beside is not None else None for column in columns]
    cells = [[*axes]]
    for head, side in zip(heads, sides, strict=True):
        cells[0] += [head] if side is None else [head, f"{head}, paper"]
    for point in planned.points:
        row = [show_value(value) for value in point.values.values()] or [point.label]
        for (stage, metric), side in zip(columns, sides, strict=True):
            row.append(show_estimate(by_cell.get((point.label, stage, metric))))
            if side is not None and beside is not None:
                row.append(_show_paper(beside.paper, paper_row(beside.paper, planned, point), side))
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


def _explanation(estimates: Sequence[Estimate], beside: Beside | None) -> str:
    """Say what the numbers are."""
    runs = sorted({len(found.values) for found in estimates if found.values})
    missing = sum(found.missing for found in estimates)
    counts = dict.fromkeys(
        f"{SUBSETS.get(found.metric, found.metric)} {found.count:,}" for found in estimates if found.count
    )
    parts = ["Mean over seeds ± standard deviation [95% Wilson interval of the mean over the queries]"]
    parts += [f"{' or '.join(map(str, runs))} seeds a point"] if runs else []
    parts += [f"n: {', '.join(counts)}"] if counts else []
    parts += [f"paper: Table {beside.paper.number}, same split"] if beside and beside.columns else []
    parts += [f"{missing} numbers are still missing"] if missing else []
    return f"{'; '.join(parts)}."


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

"""Writes a report: for the terminal, as Markdown, as LaTeX, as tidy CSV."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contextblip.reports.layout import Block, Grid, Heading, Notes, lay_out
from contextblip.reports.tables import Entry, Report, ReportTable, paper_percent

PLAIN_WIDTH = 100  # where the output goes to no terminal
CSV_COLUMNS = (
    "table",
    "row",
    "column",
    "ours",
    "n",
    "low",
    "high",
    "split",
    "paper",
    "flag",
    "runs",
    "sd",
    "seeds",
    "world",
    "note",
)
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def print_report(report: Report, console: Console) -> None:
    """Print a report.

    Args:
        report: What to print.
        console: Where.
    """
    for block in lay_out(report):
        if isinstance(block, Heading):
            console.print(Text(block.text, style="bold"))
        elif isinstance(block, Grid):
            console.print(Text(block.caption))
            console.print(_rich_table(block, console.width))
        else:
            for line in block.lines:
                console.print(Text(f"- {line}", style="dim"))
            console.print()


def to_terminal(report: Report) -> str:
    """Write a report as plain text of at most 100 columns."""
    console = Console(file=StringIO(), width=PLAIN_WIDTH, color_system=None)
    print_report(report, console)
    assert isinstance(console.file, StringIO)  # noqa: S101  # given above
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def _rich_table(grid: Grid, width: int) -> Table:
    widest = [max(map(len, cells)) for cells in zip(grid.header, *grid.rows, strict=True)]
    is_tight = sum(widest) + 2 * len(widest) > width
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0 if is_tight else 1, 0, 0))
    for number, (title, *cells) in enumerate(zip(grid.header, *grid.rows, strict=True)):
        if number < grid.n_left:
            longest = max(len(word) for cell in (title, *cells) for word in cell.split() or [""])
            table.add_column(Text(title), overflow="fold", min_width=longest)
            continue
        # numbers are never broken, titles at their spaces only
        heading = title.replace(" ", "\n") if is_tight else title
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for row in grid.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def to_markdown(report: Report) -> str:
    """Write a report as Markdown with GitHub's tables."""
    return "\n\n".join(_markdown(block) for block in lay_out(report)) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {_markdown_text(block.text)}"
    if isinstance(block, Notes):
        return "\n".join(f"- {_markdown_text(line)}" for line in block.lines)
    rule = ["---" if number < block.n_left else "---:" for number in range(len(block.header))]
    lines = [block.header, tuple(rule), *block.rows]
    table = "\n".join(f"| {' | '.join(map(_markdown_text, line))} |" for line in lines)
    return f"**{_markdown_text(block.caption)}**\n\n{table}"


def _markdown_text(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([\\|*_<>`\[\]])", r"\\\1", text)


def to_latex(report: Report) -> str:
    """Write a report as LaTeX tables; they need the package booktabs."""
    parts = ["% \\usepackage{booktabs} in the preamble", *(_latex(block) for block in lay_out(report))]
    return "\n\n".join(parts) + "\n"


def _latex(block: Block) -> str:
    if isinstance(block, Heading):
        return f"\\paragraph{{{_latex_text(block.text)}}}"
    if isinstance(block, Notes):
        items = "\n".join(f"  \\item {{}}{_latex_text(line)}" for line in block.lines)
        return f"{{\\footnotesize\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}}}"
    layout = "l" * block.n_left + "r" * (len(block.header) - block.n_left)
    lines = [
        "\\begin{table}[htbp]",
        "\\centering\\footnotesize",
        f"\\caption{{{_latex_text(block.caption)}}}",
        f"\\label{{tab:{block.name}}}",
        f"\\begin{{tabular}}{{{layout}}}",
        "\\toprule",
        _latex_row(block.header),
        "\\midrule",
        *(_latex_row(row) for row in block.rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines)


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(map(_latex_text, cells))} \\\\"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def to_csv(report: Report) -> str:
    """Write a report as CSV: one row a number, ours and the paper's on one row where they may be compared."""
    file = StringIO()
    writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    done: set[tuple[int, str, str]] = set()
    # the real world comes first, so that the paper's numbers stand beside ours where they may
    for table in report.tables:
        writer.writerows(_csv_rows(table, done))
    return file.getvalue()


def _csv_rows(table: ReportTable, done: set[tuple[int, str, str]]) -> Iterator[Mapping[str, object]]:
    """Give our numbers, then those of the paper that have not been written yet."""
    number = table.paper.number
    for entry in table.entries:
        if entry.paper is not None:
            done.add((number, entry.row, entry.column))
        yield _our_row(table, entry)
    for row in table.paper.rows:
        for column in table.paper.columns:
            percent = paper_percent(table.paper, row.label, column)
            is_share = table.paper.metric != "count" or row is not table.paper.rows[0]
            key = (number, row.label, column)
            if percent is None or key in done or not is_share or "unit" in row.details:
                continue
            done.add(key)
            doubt = table.paper.doubt(row.label, column)
            yield {
                "table": number,
                "row": row.label,
                "column": column,
                "split": table.paper.split,
                "paper": _rounded(percent),
                "flag": "doubtful" if doubt else "",
                "world": "real",
                "note": doubt or "",
            }


def _our_row(table: ReportTable, entry: Entry) -> Mapping[str, object]:
    ours = entry.ours
    flags = {
        "doubtful": entry.doubt,
        "partial": entry.is_partial,
        "tag_counts": table.divides_by_tags,
        "baseline": entry.is_baseline,
    }
    return {
        "table": table.paper.number,
        "row": entry.row,
        "column": entry.column,
        "ours": _rounded(ours.value),
        "n": ours.n,
        "low": _rounded(ours.low),
        "high": _rounded(ours.high),
        "split": entry.split,
        "paper": "" if entry.paper is None else _rounded(entry.paper),
        "flag": ";".join(name for name, is_set in flags.items() if is_set),
        "runs": ";".join(entry.group.folders),
        "sd": "" if ours.sd is None else _rounded(ours.sd),
        "seeds": ours.seeds,
        "world": table.world,
        "note": entry.doubt or "",
    }


def _rounded(value: float) -> float:
    return round(value, 4)


FORMATS = {"terminal": to_terminal, "markdown": to_markdown, "csv": to_csv, "latex": to_latex}

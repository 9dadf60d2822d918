"""The paper's tables with our numbers beside them: `build_report`, then one of the formats."""

from contextblip.reports.formats import FORMATS, print_report, to_csv, to_latex, to_markdown, to_terminal
from contextblip.reports.placement import TABLES
from contextblip.reports.tables import Report, ReportTable, build_report

__all__ = [
    "FORMATS",
    "TABLES",
    "Report",
    "ReportTable",
    "build_report",
    "print_report",
    "to_csv",
    "to_latex",
    "to_markdown",
    "to_terminal",
]

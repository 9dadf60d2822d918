"""The table of numbers after a validation or test."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from torch import Tensor


def print_metrics(metrics: Mapping[str, Tensor]) -> None:
    """Print metrics with the number of cases behind each.

    Args:
        metrics: Flat names to scalars; ``n/<name>`` counts the cases of ``<name>``.
    """
    rows = [(name, value) for name, value in metrics.items() if not name.startswith("n/")]
    if not rows:
        return
    table = Table("metric", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("value", justify="right")
    table.add_column("n", justify="right")
    for name, value in rows:
        count = metrics.get(f"n/{name}")
        table.add_row(name, f"{float(value):.4f}", "" if count is None else str(round(float(count))))
    Console(soft_wrap=False).print(table)

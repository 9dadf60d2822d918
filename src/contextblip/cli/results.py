"""The table of numbers after a validation or test."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from torch import Tensor


def print_metrics(metrics: Mapping[str, Tensor]) -> None:
    """Print metrics with the number of cases behind each.

    Families of groups (``test/accuracy/...``) come first, an empty line after each, and the metrics of all
    cases last, where a terminal shows them.

    Args:
        metrics: Flat names to scalars; ``n/<name>`` counts the cases of ``<name>``.
    """
    families: dict[str, list[str]] = {}
    for name in metrics:
        if not name.startswith("n/"):
            families.setdefault(_family(name), []).append(name)
    if not families:
        return
    whole = families.pop("", [])
    table = Table("metric", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("value", justify="right")
    table.add_column("n", justify="right")
    for number, names in enumerate([*families.values(), whole] if whole else families.values()):
        if number:
            table.add_row()
        for name in names:
            count = metrics.get(f"n/{name}")
            shown = "" if count is None else f"{round(float(count)):,}"
            table.add_row(name, f"{float(metrics[name]):.4f}", shown)
    Console(soft_wrap=False).print(table)


def _family(name: str) -> str:
    """Name what the groups of a metric have in common; a metric of all cases has none."""
    return name.rpartition("/")[0] if name.count("/") > 1 else ""

"""Whether one run is better than another, or whether noise explains the difference (`lightning compare`)."""

from contextblip.comparison.compare import ALL, compare_right, compare_runs
from contextblip.comparison.results import Comparison, Flip, Row, Side

__all__ = ["ALL", "Comparison", "Flip", "Row", "Side", "compare_right", "compare_runs"]

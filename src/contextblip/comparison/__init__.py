"""Whether one run is better than another, or whether noise explains the difference (`lightning compare`)."""

from contextblip.comparison.compare import compare_runs
from contextblip.comparison.results import Comparison, Flip, Row, Side

__all__ = ["Comparison", "Flip", "Row", "Side", "compare_runs"]

"""The committed measurements as tables of docs/performance.md.

python -m benchmarks.performance_page [--check]
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import encoder_peak, scaling, speed
from benchmarks.markers import find_between, layout, put_between

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def steps(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out whole steps against their peers, from `benchmarks.speed`."""
    cells = [["case", "precision", "peer", "ours, s", "peer, s", "speedup", "goal", "ours, MB", "peer, MB"]]
    for row in rows:
        peer = "plain" if row["stock_s"] is None else "stock"
        seconds = [f"{row[key]:.2f}" for key in ("ours_s", f"{peer}_s")]
        peaks = [f"{row[key]:,.0f}" for key in ("ours_peak_mb", f"{peer}_peak_mb")]
        ratios = [f"{row['speedup']:.2f}", f"{row['goal']:g}"]
        cells.append([row["case"], row["precision"], peer, *seconds, *ratios, *peaks])
    return layout(cells, left=3)


def encoder(results: Mapping[str, Any]) -> str:
    """Lay out the image encoder's share of the peak, from `benchmarks.encoder_peak`."""
    cells = [["precision", "images/s", "GFLOP/s", "torch.mm, GFLOP/s", "peak, GFLOP/s", "share", "goal"]]
    for row in results["encoder"]:
        rates = [f"{row[key]:,.1f}" for key in ("images_per_s", "gflops", "mm_gflops", "peak_gflops")]
        cells.append([row["precision"], *rates, f"{row['share']:.0%}", f"{row['goal']:.0%}"])
    return layout(cells, left=1)


def growth(results: Mapping[str, Any]) -> str:
    """Lay out how costs grow, from `benchmarks.scaling`."""
    queries = [["queries of a set", "s a query", "predicted, s", "GFLOP a query"]]
    for row in results["queries"]:
        times = [f"{row[key]:.2f}" for key in ("s_per_query", "predicted_s_per_query")]
        queries.append([str(row["queries"]), *times, f"{row['gflop_per_query']:,.0f}"])
    shortlists = [
        ["shortlist", "s", "ms a pair"],
        *(
            [str(row["shortlist"]), f"{row['s']:.2f}", f"{1000 * row['s_per_pair']:.0f}"]
            for row in results["reranking"]
        ),
    ]
    return f"{layout(queries, left=0)}\n\n{layout(shortlists, left=0)}"


PARTS: Mapping[str, tuple[Path, Callable[[Any], str]]] = {
    "steps": (speed.RESULTS, steps),
    "encoder": (encoder_peak.RESULTS, encoder),
    "scaling": (scaling.RESULTS, growth),
}
"""Marker in the page -> file of results and what lays it out."""


def tables() -> dict[str, str]:
    """Lay out every committed file, by marker."""
    return {
        name: write(json.loads(path.read_text(encoding="utf-8"))) for name, (path, write) in PARTS.items()
    }


def stale(page: str) -> list[str]:
    """List the markers between which a page has something else.

    Args:
        page: Its text.

    Returns:
        Names of markers.
    """
    return [name for name, table in tables().items() if find_between(page, name) != table]


def main(words: Sequence[str] | None = None) -> None:
    """Write the tables into the page, or with --check only say whether they are there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.performance_page", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit status 1 where the page has others")
    if parser.parse_args(words).check:
        names = stale(PAGE.read_text(encoding="utf-8"))
        sys.exit(f"{PAGE.name}: other numbers than measured: {', '.join(names)}" if names else None)
    for name, table in tables().items():
        put_between(PAGE, name, f"{table}\n")


if __name__ == "__main__":
    main()

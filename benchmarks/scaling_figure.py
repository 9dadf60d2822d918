"""The picture of `benchmarks.scaling`: cost against queries a set and against the length of a shortlist."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contextblip.replacing import replacing
from contextblip.sweeps.figure import COLOURS, MARKERS


def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Draw both curves side by side.

    Args:
        path: The file to write; its ending tells the format.
        results: From `benchmarks.scaling.run`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    rows = results["queries"]
    queries = [row["queries"] for row in rows]
    _line(left, queries, [row["s_per_query"] for row in rows], 0, "measured")
    _line(left, queries, [row["predicted_s_per_query"] for row in rows], 1, "predicted by operations", "--")
    _dress(left, "queries of one set of ten", "seconds a query")
    left.set_xticks(queries)
    rows = results["reranking"]
    lengths, seconds = [row["shortlist"] for row in rows], [row["s"] for row in rows]
    _line(right, lengths, seconds, 0, "measured")
    whole = [length * seconds[-1] / lengths[-1] for length in (0, *lengths)]
    _line(right, (0, *lengths), whole, 1, "in proportion to the longest", "--")
    _dress(right, "shortlist k of one text", "seconds")
    right.set_xticks(lengths)
    machine = results["machine"]
    note = f"{machine['processor']}, {machine['threads']} threads, fp32, {results['size']} size"
    figure.supxlabel(note, fontsize=9.5, color="#444444")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        figure.savefig(draft, dpi=160)


def _line(
    panel: Any,  # noqa: ANN401  # matplotlib is untyped
    places: Sequence[float],
    values: Sequence[float],
    kind: int,
    label: str,
    style: str = "-",
) -> None:
    panel.plot(places, values, style, marker=MARKERS[kind], color=COLOURS[kind], label=label, linewidth=2)


def _dress(panel: Any, x_label: str, y_label: str) -> None:  # noqa: ANN401  # matplotlib is untyped
    panel.set_xlabel(x_label, fontsize=13)
    panel.set_ylabel(y_label, fontsize=13)
    panel.set_ylim(bottom=0)
    panel.legend(frameon=False, fontsize=11)
    panel.grid(axis="y", color="#dddddd", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)

"""A sweep's plot: accuracy against what was swept, one line for each subset, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from contextblip.replacing import replacing
from contextblip.sweeps.plan import PlannedSweep, Point, show_value
from contextblip.sweeps.summary import SUBSETS, Estimate

# Okabe and Ito's colours, told apart with any kind of colour vision; markers differ too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
NOTE = "95% Wilson interval over the n queries"
SEEDS = "; black dots: single seeds"


def draw(path: Path, planned: PlannedSweep, estimates: Sequence[Estimate], place: str = "") -> bool:
    """Draw a sweep, one panel for each measured stage.

    Args:
        path: The file to write; its ending tells the format.
        planned: The sweep.
        estimates: What was measured.
        place: On what, e.g. ``IMAGECODE, validation split``; stands below the plot.

    Returns:
        Whether there was anything to draw.
    """
    known = [found for found in estimates if found.mean is not None]
    stages = list(dict.fromkeys(found.stage for found in known))
    if not known:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scale = _Scale(planned)
    figure = Figure(figsize=(1.2 + max(5.4, scale.width) * len(stages), 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(stages), squeeze=False, sharey=True)[0]
    for panel, stage in zip(panels, stages, strict=True):
        _draw_panel(panel, [found for found in known if found.stage == stage], scale)
        if len(stages) > 1:
            panel.set_title(stage.replace("_", " "), fontsize=13)
    panels[0].set_ylabel(_y_label(known), fontsize=14)
    handles, labels = panels[0].get_legend_handles_labels()
    # The title is the legend's: constrained layout would lay a title of the figure over it
    heading = {"title": planned.sweep.title, "title_fontsize": 15}
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=12, frameon=False, **heading)
    several = any(len(found.values) > 1 for found in known)
    mark = "shaded" if scale.is_ordered and len(planned.points) > 1 else "bars"
    caption = f"{mark}: {NOTE}{SEEDS if several else ''}"
    caption = "\n".join(filter(None, (place, caption)))
    figure.supxlabel(caption, fontsize=9.5, color="#444444")
    with replacing(path) as draft:
        figure.savefig(draft, dpi=160)
    return True


class _Scale:
    """Where points lie on the x axis: by value where all are numbers of one axis, else side by side."""

    def __init__(self, planned: PlannedSweep) -> None:
        axes = planned.sweep.axes
        numbers = [next(iter(p.values.values()), None) for p in planned.points] if len(axes) == 1 else []
        self.is_numeric = bool(numbers) and all(_is_number(value) for value in numbers)
        self.is_ordered = self.is_numeric or len(axes) == 1
        self.label = " and ".join(axis.label for axis in axes)
        labels = [", ".join(map(show_value, p.values.values())) or p.label for p in planned.points]
        self.labels = {p.label: label for p, label in zip(planned.points, labels, strict=True)}
        places = numbers if self.is_numeric else range(len(labels))
        self.places: dict[str, Any] = {
            p.label: place for p, place in zip(planned.points, places, strict=True)
        }
        values = sorted(self.places.values())
        self.is_logarithmic = self.is_numeric and values[0] > 0 and values[-1] / values[0] >= 8
        self.width = 1.1 * len(labels)

    def place(self, point: Point) -> float:
        """Find the place of a point."""
        return float(self.places[point.label])

    def apply(self, panel: Any) -> None:  # noqa: ANN401  # matplotlib is untyped
        """Set ticks and label."""
        if self.is_logarithmic:
            panel.set_xscale("log", base=2)
        panel.minorticks_off()
        names = [fill(label, 13, break_long_words=False) for label in self.labels.values()]
        panel.set_xticks([float(place) for place in self.places.values()], names)
        panel.set_xlabel(self.label, fontsize=14)
        if not self.is_numeric:
            panel.set_xlim(-0.5, len(self.places) - 0.5)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _draw_panel(panel: Any, estimates: Sequence[Estimate], scale: _Scale) -> None:  # noqa: ANN401  # untyped
    """Draw a stage's metrics."""
    metrics = list(dict.fromkeys(found.metric for found in estimates))
    for number, metric in enumerate(metrics):
        found = sorted((f for f in estimates if f.metric == metric), key=lambda f: scale.place(f.point))
        factor = 100 if metric.startswith(("accuracy", "pair_accuracy")) else 1
        shift = 0.0 if scale.is_ordered else 0.14 * (number - (len(metrics) - 1) / 2)
        places = [scale.place(f.point) + shift for f in found]
        means = [factor * (f.mean or 0.0) for f in found]
        lows = [factor * (f.wilson.low if f.wilson else f.mean or 0.0) for f in found]
        highs = [factor * (f.wilson.high if f.wilson else f.mean or 0.0) for f in found]
        kind = _kind(metric, number)
        style = {"color": COLOURS[kind]}
        counts = sorted({f.count for f in found if f.count})
        label = f"{SUBSETS.get(metric, metric)}{f', n = {counts[0]:,}' if len(counts) == 1 else ''}"
        line = {"linestyle": "-" if scale.is_ordered else "none", "linewidth": 2}
        panel.plot(places, means, marker=MARKERS[kind], markersize=8, label=label, **line, **style)
        if scale.is_ordered and len(found) > 1:
            panel.fill_between(places, lows, highs, alpha=0.15, linewidth=0, **style)
            for edge in (lows, highs):  # bands overlap; their edges tell whose is whose
                panel.plot(places, edge, linewidth=1, alpha=0.6, linestyle=":", **style)
        else:
            panel.vlines(places, lows, highs, linewidth=2.5, alpha=0.55, **style)
        for place, each in zip(places, found, strict=True):
            dots = [factor * value for value in each.values]
            panel.plot([place] * len(dots), dots, ".", markersize=5, color="black", alpha=0.6, zorder=4)
    scale.apply(panel)
    panel.tick_params(labelsize=12)
    panel.grid(axis="y", color="#dddddd", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)


def _kind(metric: str, number: int) -> int:
    """Choose colour and marker: those of a subset are the same in every plot."""
    known = list(SUBSETS)
    return known.index(metric) if metric in known else (number + len(known)) % len(COLOURS)


def _y_label(estimates: Sequence[Estimate]) -> str:
    metrics = dict.fromkeys(found.metric for found in estimates)
    if all(metric.startswith("accuracy") for metric in metrics):
        return "accuracy (%)"
    if all(metric.startswith("pair_accuracy") for metric in metrics):
        return "pair accuracy (%)"
    return next(iter(metrics)) if len(metrics) == 1 else "value"

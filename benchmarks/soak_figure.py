"""The picture of `benchmarks.soak`: memory and open files over the time of a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contextblip.replacing import replacing
from contextblip.sweeps.figure import COLOURS


def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Draw both over time, one above the other.

    Args:
        path: The file to write; its ending tells the format.
        results: From `benchmarks.soak.run`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    memory, files = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    minutes, mb, descriptors, _ = zip(*results["samples_seen"], strict=True)
    memory.plot(minutes, mb, color=COLOURS[0], linewidth=1.5)
    memory.set_ylabel("resident memory, MB", fontsize=12)
    files.plot(minutes, descriptors, color=COLOURS[1], linewidth=1.5)
    files.set_ylabel("open files", fontsize=12)
    files.set_xlabel("minutes of training", fontsize=12)
    for panel in (memory, files):
        panel.set_ylim(bottom=0)
        panel.grid(axis="y", color="#dddddd", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
    memory.set_title(f"{results['mb_per_minute']:+.2f} MB a minute behind the warm-up", fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        figure.savefig(draft, dpi=160)

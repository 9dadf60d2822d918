"""One table of the accuracies of a chain of runs: zero-shot, stage one, stage two, MMVP-VLM."""

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from contextblip.errors import ConfigurationError

RETRIEVAL_STAGES = ("zero_shot", "stage_one", "stage_two")
PAIR_STAGE = "mmvp"


def read_metrics(run: Path) -> dict[str, float]:
    """Read a run's metrics.

    Args:
        run: Run folder.

    Returns:
        Flat names and numbers.

    Raises:
        ConfigurationError: The run left none.
    """
    path = run / "metrics.json"
    if not path.is_file():
        raise ConfigurationError(f"{path} not found: run `lightning test` with --run_dir {run} first")
    metrics: dict[str, float] = json.loads(path.read_text())
    return metrics


def summarize(folder: Path) -> dict[str, dict[str, Any]]:
    """Collect a chain's accuracies.

    Args:
        folder: Holds the run folders ``zero_shot``, ``stage_one``, ``stage_two`` and ``mmvp``.

    Returns:
        ``{"zero_shot": {"all", "video", "static", "n", "n_video", "n_static"}, ..., "mmvp": {"average",
        "n_pairs"}}``; accuracies are fractions.

    Raises:
        ConfigurationError: A run is missing.
    """
    summary: dict[str, dict[str, Any]] = {}
    for stage in RETRIEVAL_STAGES:
        metrics = read_metrics(folder / stage)
        names = {"all": "accuracy", "video": "accuracy_video", "static": "accuracy_static"}
        row: dict[str, Any] = {key: metrics.get(f"test/{name}") for key, name in names.items()}
        counts = {key: int(metrics.get(f"n/test/{name}", 0)) for key, name in names.items()}
        summary[stage] = row | {"n": counts["all"], "n_video": counts["video"], "n_static": counts["static"]}
    pairs = read_metrics(folder / PAIR_STAGE)
    summary[PAIR_STAGE] = {
        "average": pairs["test/pair_accuracy"],
        "n_pairs": int(pairs["n/test/pair_accuracy"]),
    }
    return summary


def percent(accuracy: float | None, count: int) -> str:
    """Format an accuracy in percent, its 95% Wilson interval and n; a dash where nothing was counted."""
    if accuracy is None or not count:
        return "-"
    interval = binomtest(round(accuracy * count), count).proportion_ci(method="wilson")
    return f"{100 * accuracy:.1f} [{100 * interval.low:.0f}-{100 * interval.high:.0f}] ({count})"


def table(summary: dict[str, dict[str, Any]]) -> Table:
    """Lay the summary out for the terminal."""
    drawn = Table(
        title="Accuracy in % [95% Wilson interval] (n); chance is 10, for pairs 25",
        title_justify="left",
        box=box.SIMPLE,
    )
    for heading in ("stage", "all", "video", "static"):
        drawn.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
    for stage in RETRIEVAL_STAGES:
        row = summary[stage]
        cells = [percent(row["all"], row["n"])]
        cells += [percent(row[part], row[f"n_{part}"]) for part in ("video", "static")]
        drawn.add_row(stage.replace("_", " "), *cells)
    pairs = summary[PAIR_STAGE]
    drawn.add_row("MMVP-VLM", percent(pairs["average"], pairs["n_pairs"]), "", "")
    return drawn


def print_summary(folder: Path, console: Console | None = None) -> None:
    """Print a chain's table and write it to ``summary.json`` in its folder.

    Args:
        folder: Holds the run folders of the chain.
        console: Where to print; ``None`` is standard output.
    """
    summary = summarize(folder)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (console or Console()).print(table(summary))

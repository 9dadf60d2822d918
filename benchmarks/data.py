"""What the data modules cost, in one run: images a second on one core, start-up and memory at full size."""

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL
import torch
from rich.console import Console

from benchmarks import annotations, images
from benchmarks.machine import processor

RESULTS = Path(__file__).with_name("data.json")
IMAGE_GOAL = 1.5  # times the plain pipeline, in training on COCO's photos, which is the first row


def run(data: Path | None, rounds: int, captions: int, folder: Path | None) -> dict[str, Any]:
    """Measure images, then annotations.

    Args:
        data: Folder that holds ``coco``; ``None``: ``$CONTEXTBLIP_DATA``, else ``../shared/data``.
        rounds: Passes over the photos.
        captions: Captions to generate.
        folder: Where generated annotations are kept; ``None``: nowhere.

    Returns:
        ``images`` and ``annotations``, as their modules give them, and the ``machine``.
    """
    return {
        "command": f"python -m benchmarks.data --rounds {rounds} --captions {captions}",
        "machine": {
            "processor": processor(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pillow": PIL.__version__,
        },
        "images": images.run(data, rounds),
        "annotations": annotations.run(captions, folder=folder),
    }


def missed(results: Mapping[str, Any]) -> list[str]:
    """List the goals that were missed.

    Args:
        results: From `run`.

    Returns:
        One line a goal.
    """
    first = results["images"][0]
    lines = [] if first["ratio"] >= IMAGE_GOAL else [f"{first['case']}: {first['ratio']:.2f} < {IMAGE_GOAL}"]
    limited = [row for row in results["annotations"] if row["goal"] is not None]
    return lines + [
        f"{row['measure']}: {row['value']:g} > {row['goal']:g} {row['unit']}"
        for row in limited
        if row["value"] > row["goal"]
    ]


def save(results: Mapping[str, Any] | Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, print two tables, write the results; exit status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds coco; default $CONTEXTBLIP_DATA")
    parser.add_argument("--rounds", type=int, default=10, help="passes over the photos")
    parser.add_argument("--captions", type=int, default=annotations.FULL, help="captions to generate")
    parser.add_argument("--folder", type=Path, help="where generated annotations are kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write")
    arguments = parser.parse_args()
    results = run(arguments.data, arguments.rounds, arguments.captions, arguments.folder)
    Console().print(images.table_of(results["images"]))
    annotations.show(results["annotations"])
    save(results, arguments.results)
    if lines := missed(results):
        sys.exit("missed: " + "; ".join(lines))


if __name__ == "__main__":
    main()

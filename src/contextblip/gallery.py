"""A picture of candidate sets with the model's scores, from a run's predictions."""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from contextblip.candidate_order import sort_candidates
from contextblip.errors import ConfigurationError, DatasetNotFoundError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe-Ito: told apart by colour-blind readers and in grey
TARGET, MISTAKE, OTHER = "#009E73", "#D55E00", "#999999"
CELL_INCHES = 1.0


def read_predictions(run: Path) -> list[dict[str, Any]]:
    """Read the predictions of a run.

    Args:
        run: Run folder of `lightning test` or `lightning predict`.

    Returns:
        One row a query.

    Raises:
        ConfigurationError: The run left none.
    """
    path = run / "predictions.jsonl"
    if not path.is_file():
        raise ConfigurationError(f"{path} not found: `lightning test` and `lightning predict` write it")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def candidate_files(image_root: Path, set_name: str) -> list[Path]:
    """List a set's images in the order of their numbers.

    Args:
        image_root: Folder that holds the sets, or the data set's folder with ``image-sets/``.
        set_name: Name of the set.

    Returns:
        Files in candidate order.

    Raises:
        DatasetNotFoundError: There is no such folder, or it is empty.
    """
    folders = [image_root / set_name, image_root / "image-sets" / set_name]
    for folder in folders:
        names = sort_candidates(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        if names:
            return [folder / name for name in names]
    looked = " and ".join(str(folder) for folder in folders)
    raise DatasetNotFoundError(f"no images of set {set_name}: looked in {looked}; set --image_root")


def choose_queries(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Choose queries spread evenly over a run: neither the best nor the worst.

    Args:
        rows: All predictions.
        count: How many to show.

    Returns:
        At most ``count`` rows, in order.
    """
    step = max(1, len(rows) // max(1, count))
    return list(rows[::step])[:count]


def draw_gallery(rows: Sequence[dict[str, Any]], image_root: Path, path: Path) -> None:
    """Draw one line of candidates a query, each with its score; target and prediction are framed.

    Args:
        rows: Predictions to show.
        image_root: See `candidate_files`.
        path: Where the picture goes; the ending names the format.

    Raises:
        ConfigurationError: There is nothing to draw.
        DatasetNotFoundError: Images of a set are missing.
    """
    from matplotlib.figure import Figure  # takes a second to import

    if not rows:
        raise ConfigurationError("no query to draw: --queries must be at least 1")
    columns = max(len(row["scores"]) for row in rows)
    size = (CELL_INCHES * columns, (CELL_INCHES + 0.75) * len(rows))
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    for line, row in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        line.suptitle("\n".join(textwrap.wrap(f"“{row['text'].strip()}”", 13 * columns)), fontsize=9)
        files = candidate_files(image_root, row["set"])
        for rank, axes in enumerate(line.subplots(1, columns, squeeze=False)[0]):
            axes.set_axis_off()
            if rank < len(row["scores"]):
                _draw_candidate(axes, files[rank], row, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_candidate(axes: "Axes", file: Path, row: dict[str, Any], rank: int) -> None:
    """Draw one image with its score below; words say what the frame's colour means."""
    with Image.open(file) as image:
        axes.imshow(image.convert("RGB"))
    is_target, is_prediction = rank == row["target"], rank == row["prediction"]
    colour = TARGET if is_target else MISTAKE if is_prediction else OTHER
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(3 if is_target or is_prediction else 0.5)
    note = "\ntarget" if is_target else ""
    note = (note + ", chosen" if note else "\nchosen") if is_prediction else note
    weight = "bold" if is_prediction else "normal"
    axes.set_xlabel(f"{row['scores'][rank]:.2f}{note}", fontsize=8, color="black", fontweight=weight)

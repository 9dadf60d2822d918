"""Start-up time and memory of workers on annotations of COCO's and Visual Genome's full size.

``python -m benchmarks.annotations`` writes generated annotations (113K + 100K images, 1.34M captions) and
small stand-in images, starts a data module on them twice, each in a process of its own, and reads the private
memory of 8 workers while they load batches.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

# to train on; Karpathy's file has 5,000 images to validate and 5,000 to test on besides
COCO_IMAGES, COCO_CAPTIONS = 113_287, 566_747
COCO_HELD_OUT = 10_000
VISUAL_GENOME_IMAGES, VISUAL_GENOME_CAPTIONS = 100_000, 769_000
VISUAL_GENOME_PHRASES = 5_400_000
FULL = COCO_CAPTIONS + VISUAL_GENOME_CAPTIONS
WORKERS = 8
BATCH = 64
START_GOAL = 20.0
MEMORY_GOAL = 60.0
MOST_LINKS = 60_000  # to one file; ext4 allows 65,000


def run(
    captions: int = FULL,
    *,
    folder: Path | None = None,
    layout: str = "official",
    batches: int = 400,
) -> list[dict[str, Any]]:
    """Generate annotations and measure both starts and the workers' memory.

    Args:
        captions: Captions of both sets together; the numbers of images follow.
        folder: Where to write; what lies there is used again. ``None``: a temporary folder.
        layout: ``official`` (Karpathy's json and Visual Genome's region descriptions), ``blip``, or
            ``all_phrases``: official with all 5.4M phrases that Visual Genome publishes.
        batches: Batches of 64 that the 8 workers load before their memory is read.

    Returns:
        One row a measure: ``measure``, ``value``, ``unit``, ``goal`` (``None`` where there is none).
    """
    with tempfile.TemporaryDirectory(prefix="annotations-") as temporary:
        place = Path(temporary) if folder is None else folder
        root = place / f"{layout}-{captions}"
        if not (root / "vocab.txt").is_file():
            generate(root, captions, layout)
        with tempfile.TemporaryDirectory(dir=place, prefix="cache-") as cache:
            first = _start(root, Path(cache), 0)
            second = _start(root, Path(cache), batches)
            kept = sum(file.stat().st_size for file in Path(cache).rglob("*.arrow"))
    name = f"{second['captions']:,.0f} captions, {layout}"
    return [
        _row(f"{name}: first start, tables built", first["start"], "s"),
        _row(f"{name}: second start", second["start"], "s", START_GOAL),
        _row(f"{name}: of it imports", second["imports"], "s"),
        _row(f"{name}: second start to the first batch", second["first_batch"], "s"),
        _row(f"{name}: tables on disk", kept / 2**20, "MiB"),
        _row(f"{name}: peak memory of the first start", first["peak"], "MiB"),
        _row(f"{name}: main process and {WORKERS} workers together (PSS)", second["together"], "MiB"),
        _row(f"{name}: largest of {WORKERS} workers, private, 2 batches each", second["early"], "MiB"),
        _row(
            f"{name}: largest of {WORKERS} workers, private, {batches // WORKERS} batches each",
            second["late"],
            "MiB",
            MEMORY_GOAL,
        ),
        _row(f"{name}: mean of {WORKERS} workers, private", second["mean"], "MiB", MEMORY_GOAL),
    ]


def _row(measure: str, value: float, unit: str, goal: float | None = None) -> dict[str, Any]:
    return {"measure": measure, "value": round(value, 2), "unit": unit, "goal": goal}


def _start(root: Path, cache: Path, batches: int) -> dict[str, float]:
    """Start a data module in a process of its own; the clock runs from before the process."""
    command = [sys.executable, "-m", "benchmarks.annotations", "--measure", str(root), str(batches)]
    # a test's or user's own setting would measure another folder
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    environment["CONTEXTBLIP_STARTED"] = str(time.time())
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # our own module
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def measure(root: Path, batches: int) -> dict[str, float]:
    """Set a module up, load batches, and read the memory of the workers.

    Args:
        root: Generated data.
        batches: How many to load; 0 stops after the set-up.

    Returns:
        Seconds since the process was asked for, and MiB.
    """
    started = float(os.environ["CONTEXTBLIP_STARTED"])
    from data_modules import CaptionDataModule

    figures = {"imports": time.time() - started}
    # 8 workers are the measure, however few the cores
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    module = CaptionDataModule("random:base", str(root), batch_size=BATCH, num_workers=WORKERS)
    module.prepare_data()
    module.setup("fit")
    figures["start"] = time.time() - started
    figures["captions"] = float(len(module.train_set or []) + len(module.val_set or []))
    if batches:
        loader = iter(module.train_dataloader())
        next(loader)
        figures["first_batch"] = time.time() - started
        for number in range(1, batches):
            next(loader)
            if number == 2 * WORKERS:
                figures["early"] = max(_workers())
        workers = _workers()
        figures |= {"late": max(workers), "mean": sum(workers) / len(workers)}
        pids = [os.getpid(), *(process.pid for process in multiprocessing.active_children() if process.pid)]
        figures["together"] = sum(_memory(pid, "Pss:") for pid in pids)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    figures["peak"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return figures


def _workers() -> list[float]:
    """Private memory of each living worker."""
    return [_memory(process.pid, "Private_") for process in multiprocessing.active_children() if process.pid]


def _memory(pid: int, kind: str) -> float:
    """Memory of a process in MiB: what ends with it alone (``Private_``, USS) or its share (``Pss:``)."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in fields if line.startswith(kind)) / 1024


def generate(root: Path, captions: int, layout: str) -> None:
    """Write annotations of a given size, small images and a vocabulary of BERT's size.

    Args:
        root: Folder to fill.
        captions: Captions of both sets together, where the layout is not ``all_phrases``.
        layout: As in ``run``.
    """
    rng = np.random.default_rng(0)
    words = [
        f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "e", "ing", "o") for c in ("n", "", "s", "t")
    ]
    scale = captions / FULL
    phrases = VISUAL_GENOME_PHRASES if layout == "all_phrases" else VISUAL_GENOME_CAPTIONS
    sizes = (
        (COCO_IMAGES + COCO_HELD_OUT, COCO_CAPTIONS + 5 * COCO_HELD_OUT, 10.6),
        (VISUAL_GENOME_IMAGES, phrases, 5.2),
    )
    for write, (images, texts, length) in zip((_write_coco, _write_visual_genome), sizes, strict=True):
        count = max(1, round(images * scale))
        total = round(texts * scale)
        lengths = 1 + rng.poisson(length - 1, total)
        drawn = iter(rng.integers(len(words), size=int(lengths.sum())).tolist())
        sentences = [" ".join(words[next(drawn)] for _ in range(n)) for n in lengths.tolist()]
        bounds = np.linspace(0, total, count + 1).astype(int).tolist()
        write(root, [sentences[a:b] for a, b in pairwise(bounds)], layout)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    unused = [f"[unused{number}]" for number in range(30_522 - len(words) - len(special))]
    (root / "vocab.txt").write_text("\n".join([*special, *words, *unused]) + "\n", encoding="utf-8")


def _write_coco(root: Path, texts: Sequence[list[str]], layout: str) -> None:
    folder = root / "coco"
    numbers = [7 * number + 9 for number in range(len(texts))]
    held_out = round(len(texts) * COCO_HELD_OUT / (COCO_IMAGES + COCO_HELD_OUT))
    splits = [
        "val" if row < held_out / 2 else "test" if row < held_out else "train" for row in range(len(texts))
    ]
    places = ["train2014" if number % 4 else "val2014" for number in range(len(texts))]
    names = [f"COCO_{place}_{number:012d}.jpg" for place, number in zip(places, numbers, strict=True)]
    _link(folder / "images", [f"{place}/{name}" for place, name in zip(places, names, strict=True)])
    if layout == "blip":
        for wanted in ("train", "val", "test"):
            rows = [
                {"caption": text, "image": f"{place}/{name}", "image_id": f"coco_{number}"}
                for place, name, number, captions, split in zip(
                    places, names, numbers, texts, splits, strict=True
                )
                if split == wanted
                for text in captions
            ]
            _dump(folder / "annotations" / f"coco_karpathy_{wanted}.json", rows)
        return
    images = [
        {
            "filepath": place, "sentids": list(range(len(captions))), "filename": name, "imgid": row,
            "split": split, "cocoid": numbers[row],
            "sentences": [{"tokens": t.split(), "raw": t, "imgid": row, "sentid": i}
                          for i, t in enumerate(captions)],
        }
        for row, (place, name, split, captions) in enumerate(zip(places, names, splits, texts, strict=True))
    ]  # fmt: skip
    _dump(folder / "annotations" / "dataset_coco.json", {"images": images, "dataset": "coco"})


def _write_visual_genome(root: Path, texts: Sequence[list[str]], layout: str) -> None:
    folder = root / "visual_genome"
    places = ["VG_100K_2" if number % 3 == 0 else "VG_100K" for number in range(len(texts))]
    paths = [f"{place}/{number + 1}.jpg" for number, place in enumerate(places)]
    _link(folder, paths)
    data = [
        {"image_id": number + 1, "url": f"https://example.org/rak248/{path}", "width": 800, "height": 600,
         "coco_id": 7 * number + 9 if number % 2 else None, "flickr_id": None}
        for number, path in enumerate(paths)
    ]  # fmt: skip
    _dump(folder / "image_data.json", data)
    if layout == "blip":
        rows = [
            {"image": path, "caption": t} for path, found in zip(paths, texts, strict=True) for t in found
        ]
        _dump(folder / "vg.json", rows)
        return
    box = {"width": 82, "height": 139, "y": 57, "x": 421}
    regions = [
        {"id": number + 1, "regions": [{"region_id": i, "image_id": number + 1, "phrase": t, **box}
                                       for i, t in enumerate(found)]}
        for number, found in enumerate(texts)
    ]  # fmt: skip
    _dump(folder / "region_descriptions.json", regions)


def _dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _link(folder: Path, paths: Sequence[str]) -> None:
    """Make one small JPEG appear under every path: annotations are measured, not decoding."""
    for parent in {str(Path(path).parent) for path in paths}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(256, size=(48, 64, 3), dtype=np.uint8)
    for picture, start in _pictures(folder, len(paths)):
        Image.fromarray(pixels).save(picture)
        for path in paths[start : start + MOST_LINKS]:
            os.link(picture, folder / path)


def _pictures(folder: Path, count: int) -> Iterator[tuple[Path, int]]:
    for start in range(0, count, MOST_LINKS):
        yield folder / f"picture-{start}.jpg", start


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the measures as one table."""
    table = Table("measure", "value", "goal")
    for row in rows:
        goal = "" if row["goal"] is None else f"≤ {row['goal']:g} {row['unit']}"
        table.add_row(row["measure"], f"{row['value']:,.1f} {row['unit']}", goal)
    Console(width=120).print(table)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captions", type=int, default=FULL, help="captions of both sets together")
    parser.add_argument("--layout", choices=["official", "blip", "all_phrases"], default="official")
    parser.add_argument("--batches", type=int, default=400, help="batches of 64 before memory is read")
    parser.add_argument("--folder", type=Path, help="where to write the data, kept for the next time")
    parser.add_argument("--measure", nargs=2, metavar=("ROOT", "BATCHES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(Path(arguments.measure[0]), int(arguments.measure[1]))))
        return
    folder = arguments.folder
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    show(run(arguments.captions, folder=folder, layout=arguments.layout, batches=arguments.batches))


if __name__ == "__main__":
    main()

"""Images a second of one core: the training transform beside plain PIL and torchvision, in one run.

    python -m benchmarks.images [--data DIR] [--rounds N]

Both sides draw the same crops and the same operations of RandAugment, and both end with a normalised
float32 batch. They take turns batch by batch, and seconds are those the processor worked, so that the ratios
also hold on a machine that does other work; through loaders they are those of the clock.
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import Compose, InterpolationMode, Normalize, RandomResizedCrop, Resize, ToTensor
from torchvision.transforms import functional as F

from data_modules.images import readable_image
from data_modules.loaders import make_loader
from data_modules.transforms import EvalTransform, TrainTransform, normalize_images

REPOSITORY = Path(__file__).parents[1]
SIDE = 224
BATCH = 32
LARGE = ((1024, 768), (1600, 1200))
FILL = [128, 128, 128]

Row = dict[str, Any]
Batch = Callable[[Sequence[Path]], Tensor]
PlainOperation = Callable[[Image.Image, float, int], Image.Image]


def _affine(image: Image.Image, shift: tuple[float, float], slopes: tuple[float, float]) -> Image.Image:
    degrees = [math.degrees(math.atan(slope)) for slope in slopes]
    pixels = [round(shift[0]), round(shift[1])]
    moved: Image.Image = F.affine(
        image, 0.0, pixels, 1.0, degrees, InterpolationMode.BILINEAR, fill=FILL, center=[0, 0]
    )
    return moved


PLAIN_OPERATIONS: list[PlainOperation] = [
    lambda image, _level, _sign: image,
    lambda image, _level, _sign: F.autocontrast(image),
    lambda image, _level, _sign: F.equalize(image),
    lambda image, level, _sign: F.adjust_brightness(image, 1.8 * level + 0.1),
    lambda image, level, _sign: F.adjust_sharpness(image, 1.8 * level + 0.1),
    lambda image, level, sign: _affine(image, (0, 0), (0.3 * level * sign, 0)),
    lambda image, level, sign: _affine(image, (0, 0), (0, 0.3 * level * sign)),
    lambda image, level, sign: _affine(image, (SIDE * 10 / 224 * level * sign, 0), (0, 0)),
    lambda image, level, sign: _affine(image, (0, SIDE * 10 / 224 * level * sign), (0, 0)),
    lambda image, level, sign: F.rotate(image, 30 * level * sign, InterpolationMode.BILINEAR, fill=FILL),
]


def _plain_rand_augment(image: Image.Image) -> Image.Image:
    for choice in torch.randint(len(PLAIN_OPERATIONS), (2,)).tolist():
        sign = 1 if torch.rand(()) < 0.5 else -1
        image = PLAIN_OPERATIONS[choice](image, 0.5, sign)
    return image


NORMALIZE = [ToTensor(), Normalize(OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)]
PLAIN_CROP = RandomResizedCrop(SIDE, (0.2, 1.0), interpolation=InterpolationMode.BICUBIC)
PLAIN_TRAINING = Compose([PLAIN_CROP, _plain_rand_augment, *NORMALIZE])
PLAIN_RESIZE = Resize((SIDE, SIDE), InterpolationMode.BICUBIC)
PLAIN_WHOLE = Compose([PLAIN_RESIZE, _plain_rand_augment, *NORMALIZE])
PLAIN_EVALUATION = Compose([PLAIN_RESIZE, *NORMALIZE])


def _plain(path: Path, transform: Compose) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_seed(path))
        with Image.open(path) as image:
            pixels: Tensor = transform(image.convert("RGB"))
    return pixels


def _ours(path: Path, transform: TrainTransform | EvalTransform) -> Tensor:
    with readable_image(path, "benchmark") as image:
        return transform(image, _seed(path))


def _seed(path: Path) -> int:
    return int.from_bytes(path.stem.encode()[-8:], "big")


def _plain_batch(transform: Compose) -> Batch:
    return lambda paths: torch.stack([_plain(path, transform) for path in paths])


def _our_batch(transform: TrainTransform | EvalTransform) -> Batch:
    return lambda paths: normalize_images(torch.stack([_ours(path, transform) for path in paths]))


def compare(case: str, photos: Sequence[Path], plain: Batch, ours: Batch, rounds: int) -> Row:
    """Time two ways in turn, batch by batch.

    Args:
        case: What is timed, for the row.
        photos: Files; each round passes over all of them.
        plain: Makes a batch, the usual way.
        ours: Makes the same batch, our way.
        rounds: How often.

    Returns:
        Medians of images a second and of the batches' ratios.
    """
    blocks = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for number, block in enumerate(blocks[:1] + blocks * rounds):
        ways = [("plain", plain), ("ours", ours)]
        for name, way in ways if number % 2 else reversed(ways):
            start = time.process_time()
            way(block)
            if number:  # the first block warms up
                seconds[name].append((time.process_time() - start) / len(block))
    return _row(case, seconds["plain"], seconds["ours"])


def _row(case: str, plain: Sequence[float], ours: Sequence[float]) -> Row:
    return {
        "case": case,
        "plain_images_per_s": 1 / median(plain),
        "ours_images_per_s": 1 / median(ours),
        "ratio": median(one / other for one, other in zip(plain, ours, strict=True)),
    }


class Photos(Dataset[Tensor]):
    """Photos made ready in a worker.

    Args:
        paths: Files.
        load: From a file to pixels.
    """

    def __init__(self, paths: Sequence[Path], load: Callable[[Path], Tensor]) -> None:
        self.paths = paths
        self.load = load

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.load(self.paths[index])


def compare_loaders(photos: Sequence[Path], rounds: int) -> list[Row]:
    """Time whole epochs through loaders with one worker, in turn.

    Args:
        photos: Files of an epoch.
        rounds: Epochs of each loader.

    Returns:
        Our bytes beside the plain pipeline's floats, and beside our own floats.
    """
    ours = TrainTransform(SIDE)
    loads: dict[str, Callable[[Path], Tensor]] = {
        "plain": lambda path: _plain(path, PLAIN_TRAINING),
        "floats": lambda path: normalize_images(_ours(path, ours)),
        "bytes": lambda path: _ours(path, ours),
    }
    loaders = {
        name: make_loader(
            Photos(photos, load),
            batch_size=BATCH,
            num_workers=1,
            sampler=None,
            collate=torch.stack,
            pin_memory=False,
        )
        for name, load in loads.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(rounds + 1):
        for name, loader in loaders.items():
            start = time.perf_counter()
            for batch in loader:
                _ = normalize_images(batch) if name == "bytes" else batch
            if number:  # the first epoch starts the workers
                seconds[name].append((time.perf_counter() - start) / len(photos))
    return [
        _row("one worker: plain floats, our bytes", seconds["plain"], seconds["bytes"]),
        _row("one worker: our floats, our bytes", seconds["floats"], seconds["bytes"]),
    ]


def find_photos(data: Path | None, folder: Path) -> tuple[str, list[Path]]:
    """Find COCO's photos, else draw some.

    Args:
        data: Folder that holds ``coco``; ``None``: ``$CONTEXTBLIP_DATA``, else ``../shared/data``.
        folder: Where drawn ones are written.

    Returns:
        What they are, and the files.
    """
    data = data or Path(os.environ.get("CONTEXTBLIP_DATA", REPOSITORY / ".." / "shared" / "data"))
    if photos := sorted((data / "coco").rglob("*.jpg")):
        return "COCO photos", photos
    rng = np.random.default_rng(0)
    for number in range(64):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.int16)
        grain = rng.normal(0, 6, smooth.shape).astype(np.int16)
        pixels = (smooth + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"drawn{number:08d}.jpg", quality=90)
    return "drawn pictures, 640x480", sorted(folder.glob("drawn*.jpg"))


def enlarge(photos: Sequence[Path], size: tuple[int, int], folder: Path) -> list[Path]:
    """Write enlarged copies of photos.

    Args:
        photos: Files.
        size: Width and height of the copies.
        folder: Where to.

    Returns:
        The copies.
    """
    folder.mkdir()
    for path in photos:
        with Image.open(path) as image:
            large = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        large.save(folder / path.name, quality=90)
    return [folder / path.name for path in photos]


def run(data: Path | None = None, rounds: int = 10) -> list[Row]:
    """Time all cases on one thread.

    Args:
        data: Folder that holds ``coco``; ``None``: ``$CONTEXTBLIP_DATA``, else ``../shared/data``.
        rounds: Passes over the photos.

    Returns:
        One row a case: ``case``, ``plain_images_per_s``, ``ours_images_per_s``, ``ratio``.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # glibc keeps freed blocks up to the largest that it has seen freed. Without one this large both sides
    # would ask the system for new pages at every batch, which tells about the machine alone.
    torch.empty(7_500_000)
    plain, ours = _plain_batch(PLAIN_TRAINING), _our_batch(TrainTransform(SIDE))
    try:
        with TemporaryDirectory() as name:
            label, photos = find_photos(data, Path(name))
            rows = [compare(f"training, {label}", photos, plain, ours, rounds)]
            for width, height in LARGE:
                copies = enlarge(photos[::4], (width, height), Path(name) / f"{width}")
                rows.append(compare(f"training, enlarged to {width}x{height}", copies, plain, ours, rounds))
            whole = _plain_batch(PLAIN_WHOLE), _our_batch(TrainTransform(SIDE, crop_scale_min=1.0))
            rows.append(compare(f"training without crops, {label}", photos, *whole, rounds))
            exact = _plain_batch(PLAIN_EVALUATION), _our_batch(EvalTransform(SIDE))
            rows.append(compare(f"evaluation, {label}", photos, *exact, rounds))
            return rows + compare_loaders(photos, rounds)
    finally:
        torch.set_num_threads(threads)


def table_of(rows: Sequence[Row]) -> Table:
    """Lay the rows out."""
    table = Table("", "plain, images/s", "ours, images/s", "ratio", title=f"{SIDE} px, one thread, medians")
    for row in rows:
        rates = (f"{row[name]:,.0f}" for name in ("plain_images_per_s", "ours_images_per_s"))
        table.add_row(row["case"], *rates, f"{row['ratio']:.2f}")
    return table


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds coco; default $CONTEXTBLIP_DATA")
    parser.add_argument("--rounds", type=int, default=10, help="passes over the photos")
    arguments = parser.parse_args()
    Console().print(table_of(run(arguments.data, arguments.rounds)))


if __name__ == "__main__":
    main()

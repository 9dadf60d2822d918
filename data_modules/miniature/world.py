"""The miniature world: small scenes and texts about them, in the official layouts of the real data sets."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from contextblip.errors import DatasetError
from contextblip.worlds import RECORD
from data_modules.miniature.imagecode import write_imagecode
from data_modules.miniature.vocabulary import vocabulary
from data_modules.miniature.writers import Recipe, write_coco, write_mmvp_vlm, write_visual_genome

GENERATOR_VERSION = 4
"""Counts up when the same seed gives other pictures or texts."""


@dataclass(frozen=True)
class MiniatureSize:
    """How much of each part is drawn; a part of size 0 is written empty or left out.

    Args:
        captions_train: Images of COCO's training split.
        captions_val: Images of COCO's validation split.
        vg_images: Images of Visual Genome.
        sets_train: IMAGECODE's training sets.
        sets_valid: IMAGECODE's validation sets.
        sets_test: IMAGECODE's unlabelled test sets.
        image_size: Width and height of every image in pixels.
        photos: Photographs with rich captions, or clean drawings, as a backbone learns from, with terse
            captions and two full ones.
        most_things: Largest number of things in a captioned scene of a first lesson (`draw_lesson`); 0 draws
            families instead.
    """

    captions_train: int = 4000
    captions_val: int = 400
    vg_images: int = 1000
    sets_train: int = 2000
    sets_valid: int = 480
    sets_test: int = 60
    image_size: int = 64
    photos: bool = True
    most_things: int = 0


BACKBONE_SIZE = MiniatureSize(
    captions_train=48_000,
    captions_val=400,
    vg_images=0,
    sets_train=0,
    sets_valid=220,
    sets_test=0,
    photos=False,
)
"""Many captioned drawings to train a backbone from scratch, and a validation split to see it learn."""


class Preset(NamedTuple):
    """A world that has a name.

    Attributes:
        seed: Of everything drawn.
        size: How much of each part, and in which manner.
    """

    seed: int
    size: MiniatureSize


_BACKBONE_SEED = 7
"""Not the default world's, so that a backbone never sees the scenes it is adapted to or tested on."""
PRESETS: dict[str, Preset] = {
    "default": Preset(0, MiniatureSize()),
    "backbone": Preset(_BACKBONE_SEED, BACKBONE_SIZE),
    "lesson-1": Preset(
        _BACKBONE_SEED, replace(BACKBONE_SIZE, captions_train=24_000, sets_valid=0, most_things=1)
    ),
    "lesson-2": Preset(
        _BACKBONE_SEED, replace(BACKBONE_SIZE, captions_train=24_000, sets_valid=0, most_things=2)
    ),
}
"""A backbone takes both lessons before it sees its families."""


def draw_miniature(root: Path, *, seed: int = 0, size: MiniatureSize | None = None, workers: int = 1) -> Path:
    """Draw the world below a folder, unless it lies there already.

    Args:
        root: Folder to make: ``coco/``, ``visual_genome/``, ``imagecode/``, ``mmvp_vlm/``, ``vocab.txt``, and
            ``miniature.json`` with the seed and the sizes.
        seed: Seed of everything drawn.
        size: How much to draw.
        workers: Processes that draw; the result does not depend on it.

    Returns:
        ``root``.

    Raises:
        DatasetError: ``root`` holds something else: another seed or size, or files of another origin.
    """
    size = size or MiniatureSize()
    record = {"generator": GENERATOR_VERSION, "seed": seed, **asdict(size)}
    if _is_drawn(root, record):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    # Beside the final place, so that the last step is a rename within one file system.
    draft = Path(mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        _draw_by(draft, seed, size, workers)
        (draft / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        draft.chmod(0o755)
        try:
            draft.rename(root)  # replaces an empty folder
        except OSError:
            if not _is_drawn(root, record):  # by another run meanwhile
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


def _is_drawn(root: Path, record: dict[str, int]) -> bool:
    path = root / RECORD
    if not path.is_file():
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            return False
        message = f"{root} holds files but no {RECORD}; name an empty or new folder for the miniature world"
        raise DatasetError(message)
    found = json.loads(path.read_text(encoding="utf-8"))
    differing = [key for key in record if found.get(key) != record[key]]
    if differing:
        what = ", ".join(f"{key} is {found.get(key)}, not {record[key]}" for key in differing)
        message = f"the miniature world in {root} is another one ({what}); remove the folder or name another"
        raise DatasetError(message)
    return True


def _draw_by(root: Path, seed: int, size: MiniatureSize, workers: int) -> None:
    if workers <= 1:
        return _draw(root, seed, size, None)
    # Spawned, not forked: the caller may run threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return _draw(root, seed, size, pool)


def _draw(root: Path, seed: int, size: MiniatureSize, pool: Executor | None) -> None:
    def recipe(folder: str) -> Recipe:
        return Recipe(root / folder, seed, size.image_size, pool, size.photos, size.most_things)

    (root / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    write_coco(recipe("coco"), "train2017", size.captions_train)
    write_coco(recipe("coco"), "val2017", size.captions_val)
    write_visual_genome(recipe("visual_genome"), size.vg_images)
    sets = {"train": size.sets_train, "valid": size.sets_valid, "test": size.sets_test}
    write_imagecode(recipe("imagecode"), sets)
    write_mmvp_vlm(recipe("mmvp_vlm"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_modules.miniature", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--root", type=Path, required=True, help="folder to draw into")
    parser.add_argument("--seed", type=int, help="default: the preset's")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="default", help="sizes to start from")
    for option, meaning in OPTIONS.items():
        parser.add_argument(f"--{option.replace('_', '-')}", type=int, metavar="N", help=meaning)
    return parser


OPTIONS = {
    "captions": "images of COCO's training split",
    "captions_val": "images of COCO's validation split",
    "vg_images": "images of Visual Genome",
    "sets": "IMAGECODE's training sets",
    "sets_valid": "IMAGECODE's validation sets",
    "sets_test": "IMAGECODE's test sets",
    "image_size": "pixels of an image's side",
}
FIELDS = {"captions": "captions_train", "sets": "sets_train"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the world from the command line."""
    options = _parser().parse_args(arguments)
    seed, size = PRESETS[options.preset]
    given = {FIELDS.get(name, name): getattr(options, name) for name in OPTIONS}
    size = replace(size, **{name: value for name, value in given.items() if value is not None})
    start = time.perf_counter()
    try:
        root = draw_miniature(
            options.root,
            seed=seed if options.seed is None else options.seed,
            size=size,
            workers=options.workers,
        )
    except DatasetError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from error
    sys.stdout.write(f"{root} is ready ({time.perf_counter() - start:.0f} s)\n")

"""Writes miniature scenes in the official layouts of COCO captions, Visual Genome, IMAGECODE and MMVP-VLM."""

import csv
import json
import random
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from data_modules.miniature.families import FAMILY_SIZE, captions, draw_family
from data_modules.miniature.pairs import PAIRS_PER_TYPE, TYPES, draw_pair
from data_modules.miniature.render import render
from data_modules.miniature.scenes import Scene, Thing, draw_scene
from data_modules.miniature.statements import names_of, statements

JPEG_QUALITY = 95
CHUNK = 32
"""Families, images or sets that a worker process draws at a time."""
Record = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What the drawing of any part depends on.

    Args:
        root: Folder to write below.
        seed: Seed of the world.
        side: Width and height of the images in pixels.
        pool: Processes that draw; the result does not depend on it.
    """

    root: Path
    seed: int
    side: int
    pool: Executor | None = None

    def rng(self, part: str, number: int) -> random.Random:
        """Randomness of one item alone, so that no item depends on the order of drawing."""
        return random.Random(f"{self.seed}/{part}/{number}")  # noqa: S311

    def save(self, scene: Scene, path: Path) -> None:
        """Draw a scene into a JPEG file."""
        render(scene, self.side).save(path, quality=JPEG_QUALITY)


def write_json(path: Path, content: object, indent: int | None = None) -> None:
    """Write a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")


def map_jobs(recipe: Recipe, work: Any, jobs: list[tuple[Any, ...]]) -> list[Any]:  # noqa: ANN401
    """Call ``work(recipe, *job)`` for each job, in the recipe's processes if it has any."""
    if recipe.pool is None or not jobs:
        return [work(recipe, *job) for job in jobs]
    alone = replace(recipe, pool=None)
    return list(recipe.pool.map(work, [alone] * len(jobs), *zip(*jobs, strict=True)))


def write_coco(recipe: Recipe, split: str, images: int) -> None:
    """Write one split of COCO captions; consecutive images come in families.

    Args:
        recipe: Where and how to draw.
        split: ``train2017`` or ``val2017``.
        images: Number of images, rounded up to whole families.
    """
    (recipe.root / "images" / split).mkdir(parents=True)
    families = -(-images // FAMILY_SIZE)
    jobs = [(split, start, min(start + CHUNK, families)) for start in range(0, families, CHUNK)]
    records = list(chain.from_iterable(map_jobs(recipe, _coco_chunk, jobs)))
    annotations = [
        {"image_id": number, "id": number * 10 + i, "caption": text}
        for number, _, texts in records
        for i, text in enumerate(texts)
    ]
    description = {"description": "Miniature world", "url": "", "version": "1.0", "year": 2024}
    content = {
        "info": {**description, "contributor": "ContextBLIP", "date_created": "2024/01/01"},
        "licenses": [{"url": "http://www.apache.org/licenses/LICENSE-2.0", "id": 1, "name": "Apache-2.0"}],
        "images": [_coco_image(recipe, number, kind) for number, kind, _ in records],
        "annotations": annotations,
    }
    write_json(recipe.root / "annotations" / f"captions_{split}.json", content)


def _coco_image(recipe: Recipe, number: int, kind: str) -> Record:
    return {
        "license": 1,
        "file_name": f"{number:012d}.jpg",
        "height": recipe.side,
        "width": recipe.side,
        "id": number,
        "family": (number - 1) // FAMILY_SIZE,
        "family_differs_in": kind,
    }


def _coco_chunk(recipe: Recipe, split: str, start: int, stop: int) -> list[tuple[int, str, list[str]]]:
    records = []
    for number in range(start, stop):
        rng = recipe.rng(f"coco/{split}", number)
        kind, family = draw_family(rng)
        for i, scene in enumerate(family):
            image_id = number * FAMILY_SIZE + i + 1
            recipe.save(scene, recipe.root / "images" / split / f"{image_id:012d}.jpg")
            texts = [caption.text for caption in captions(rng, family, i, rng.randint(2, 5))]
            records.append((image_id, kind, texts))
    return records


def write_visual_genome(recipe: Recipe, images: int) -> None:
    """Write images with short phrases about regions."""
    for folder in ("VG_100K", "VG_100K_2"):
        (recipe.root / folder).mkdir(parents=True)
    jobs = [(start, min(start + CHUNK, images)) for start in range(0, images, CHUNK)]
    records = list(chain.from_iterable(map_jobs(recipe, _genome_chunk, jobs)))
    write_json(recipe.root / "image_data.json", [data for data, _ in records])
    write_json(recipe.root / "region_descriptions.json", [regions for _, regions in records])


def _genome_chunk(recipe: Recipe, start: int, stop: int) -> list[tuple[Record, Record]]:
    return [_genome_image(recipe, number + 1) for number in range(start, stop)]


def _genome_image(recipe: Recipe, image_id: int) -> tuple[Record, Record]:
    rng = recipe.rng("visual_genome", image_id)
    scene = draw_scene(rng, rng.randint(2, 4), hidden=0.25)
    folder = rng.choice(("VG_100K", "VG_100K_2"))
    recipe.save(scene, recipe.root / folder / f"{image_id}.jpg")
    pool = [
        clause
        for clause in statements(rng, scene, (), names_of(rng, scene))
        if clause.phrases and "neg" not in clause.tags
    ]
    regions: list[Record] = []
    for clause in rng.sample(pool, min(len(pool), rng.randint(3, 8))):
        things = [thing for phrase in clause.phrases for thing in phrase.among(scene)]
        box = _box(things, recipe.side)
        region_id = image_id * 100 + len(regions)
        regions.append({"region_id": region_id, "image_id": image_id, "phrase": clause.label(), **box})
    size = {"width": recipe.side, "height": recipe.side}
    url = f"https://cs.stanford.edu/people/rak248/{folder}/{image_id}.jpg"
    data = {"image_id": image_id, "url": url, **size, "coco_id": None, "flickr_id": None}
    return data, {"id": image_id, "regions": regions}


def _box(things: list[Thing], side: int) -> dict[str, int]:
    left = max(0, round(min(thing.x - thing.radius for thing in things) * side))
    top = max(0, round(min(thing.y - thing.radius for thing in things) * side))
    right = min(side, round(max(thing.x + thing.radius for thing in things) * side))
    bottom = min(side, round(max(thing.y + thing.radius for thing in things) * side))
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def write_mmvp_vlm(recipe: Recipe) -> None:
    """Write fifteen pairs of each pattern."""
    recipe.root.mkdir(parents=True)
    with (recipe.root / "Questions.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("Question ID", "Type", "Statement"))
        for place, pattern in enumerate(TYPES):
            folder = recipe.root / "MLLM_VLM Images" / pattern
            folder.mkdir(parents=True)
            for i in range(PAIRS_PER_TYPE):
                number = place * PAIRS_PER_TYPE + i
                pair = draw_pair(recipe.rng("mmvp_vlm", number), pattern)
                for side in range(2):
                    question = 2 * number + side + 1
                    recipe.save(pair.scenes[side], folder / f"{question}.jpg")
                    rows.writerow((question, pattern, pair.statements[side]))

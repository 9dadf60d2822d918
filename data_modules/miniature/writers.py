"""Writes miniature scenes in the official layouts of COCO captions, Visual Genome, IMAGECODE and MMVP-VLM."""

import csv
import json
import random
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from data_modules.miniature.camera import Camera, draw_camera, photograph
from data_modules.miniature.families import DRAWING_CLAUSES, FAMILY_SIZE, PHOTO_CLAUSES, captions, draw_family
from data_modules.miniature.lessons import CAPTIONS, draw_lesson, full_caption
from data_modules.miniature.pairs import PAIRS_PER_TYPE, TYPES, draw_pair
from data_modules.miniature.render import render
from data_modules.miniature.scenes import Scene, Thing, draw_scene
from data_modules.miniature.statements import names_of, statements
from data_modules.miniature.texts import Description

JPEG_QUALITY = 95
FULL_CAPTIONS = 2
"""Captions of each drawing of a family that tell everything, as those of the lessons do."""
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
        photos: Whether pictures are photographs with rich captions, or clean drawings with terse ones.
        most_things: Largest number of things in a captioned scene of a lesson; 0 means families.
    """

    root: Path
    seed: int
    side: int
    pool: Executor | None = None
    photos: bool = True
    most_things: int = 0

    def rng(self, part: str, number: int) -> random.Random:
        """Randomness of one item alone, so that no item depends on the order of drawing."""
        return random.Random(f"{self.seed}/{part}/{number}")  # noqa: S311

    def camera(self, rng: random.Random) -> Camera | None:
        """Draw a camera by lot; ``None`` (and no lot) for drawings."""
        return draw_camera(rng) if self.photos else None

    def save(self, scene: Scene, path: Path, camera: Camera | None) -> None:
        """Put a scene into a JPEG file: a photograph by this camera, or without one a drawing."""
        picture = render(scene, self.side)
        if camera is not None:
            picture = photograph(picture, camera)
        picture.save(path, quality=JPEG_QUALITY)


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
        kind, family = _draw_four(recipe, rng)
        for i, scene in enumerate(family):
            image_id = number * FAMILY_SIZE + i + 1
            path = recipe.root / "images" / split / f"{image_id:012d}.jpg"
            recipe.save(scene, path, recipe.camera(rng))
            texts = [caption.text for caption in _captions(recipe, rng, family, i)]
            records.append((image_id, kind, texts))
    return records


def _draw_four(recipe: Recipe, rng: random.Random) -> tuple[str, list[Scene]]:
    if recipe.most_things:
        return "everything", draw_lesson(rng, recipe.most_things, FAMILY_SIZE)
    return draw_family(rng)


def _captions(recipe: Recipe, rng: random.Random, family: list[Scene], index: int) -> list[Description]:
    if recipe.most_things:
        return [full_caption(rng, family[index]) for _ in range(CAPTIONS)]
    if recipe.photos:
        return captions(rng, family, index, rng.randint(2, 5), lengths=PHOTO_CLAUSES)
    full = [full_caption(rng, family[index]) for _ in range(FULL_CAPTIONS)]
    return [*captions(rng, family, index, rng.randint(1, 3), lengths=DRAWING_CLAUSES), *full]


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
    recipe.save(scene, recipe.root / folder / f"{image_id}.jpg", recipe.camera(rng))
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
        named = {"region_id": region_id, "image_id": image_id, "phrase": clause.label()}
        regions.append({**named, **box, "things": len(things)})
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
                rng = recipe.rng("mmvp_vlm", number)
                pair, camera = draw_pair(rng, pattern), recipe.camera(rng)
                for side in range(2):
                    question = 2 * number + side + 1
                    recipe.save(pair.scenes[side], folder / f"{question}.jpg", camera)
                    rows.writerow((question, pattern, pair.statements[side]))

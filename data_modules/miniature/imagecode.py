"""Writes miniature candidate sets in IMAGECODE's official layout."""

import random
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from data_modules.miniature.camera import Camera
from data_modules.miniature.sets import CANDIDATES, CandidateSet, Query, draw_set
from data_modules.miniature.writers import CHUNK, Recipe, map_jobs, write_json

CODES = ("con", "q", "s", "neg", "v", "n", "cor", "col", "t", "img")
TOPICS = ("birthday", "camping", "christmas", "wedding")
STATIC_OF_25 = 7
"""How many of 25 consecutive sets are static."""
Named = tuple[str, CandidateSet]


def write_imagecode(recipe: Recipe, sizes: dict[str, int]) -> None:
    """Write all splits, the images, the annotations of the validation split and the ground truth.

    Args:
        recipe: Where and how to draw.
        sizes: Number of sets of ``train``, ``valid`` and ``test``.
    """
    (recipe.root / "image-sets").mkdir(parents=True)
    splits = {split: _draw_split(recipe, split, sets) for split, sets in sizes.items()}
    for split in ("train", "valid"):
        write_json(
            recipe.root / f"{split}_data.json", {name: _by_rank(each) for name, each in splits[split]}, 2
        )
    unlabelled = {name: [query.description.text for query in each.queries] for name, each in splits["test"]}
    write_json(recipe.root / "test_data_unlabeled.json", unlabelled, 2)
    targets = {name: [query.target for query in each.queries] for name, each in splits["test"]}
    write_json(recipe.root / "test_targets.json", targets, 1)
    write_json(recipe.root / "valid_split.json", _propositions(splits["valid"]), 2)
    write_json(recipe.root / "test_model_split_2.json", _propositions(splits["test"]), 2)
    _write_annotation(recipe.root / "manual_annotation_valid.yaml", splits["valid"])
    truth = {name: _truth(split, each) for split, sets in splits.items() for name, each in sets}
    write_json(recipe.root / "ground_truth.json", truth, 1)


def _draw_split(recipe: Recipe, split: str, sets: int) -> list[Named]:
    jobs = [(split, start, min(start + CHUNK, sets)) for start in range(0, sets, CHUNK)]
    return [named for chunk in map_jobs(recipe, _set_chunk, jobs) for named in chunk]


def _set_chunk(recipe: Recipe, split: str, start: int, stop: int) -> list[Named]:
    return [_write_set(recipe, split, number) for number in range(start, stop)]


def _write_set(recipe: Recipe, split: str, number: int) -> Named:
    rng = recipe.rng(f"imagecode/{split}", number)
    # Spread evenly: every run of 25 sets holds the same number of static ones.
    drawn = draw_set(rng, is_video=number * STATIC_OF_25 % 25 >= STATIC_OF_25)
    name = _set_name(rng, split, number, drawn.is_video)
    folder = recipe.root / "image-sets" / name
    folder.mkdir()
    numbers, camera = _frame_numbers(rng, drawn.is_video), recipe.camera(rng)
    for frame, scene in zip(numbers, drawn.scenes, strict=True):
        recipe.save(scene, folder / f"img{frame}.jpg", camera)
        camera = _next_camera(recipe, rng, camera, drawn.is_video)
    return name, drawn


def _next_camera(recipe: Recipe, rng: random.Random, camera: Camera | None, is_video: bool) -> Camera | None:
    """Another camera for each static picture; frames of a video differ in their noise alone."""
    if camera is None or not is_video:
        return recipe.camera(rng)
    return replace(camera, seed=rng.getrandbits(32))


def _set_name(rng: random.Random, split: str, number: int, is_video: bool) -> str:
    """A name in the manner of the source, unique by its number."""
    number += {"train": 0, "valid": 20_000, "test": 40_000}[split]
    if not is_video:
        return f"open-images-{number}_{rng.getrandbits(64):016x}"
    shot = f"shot{rng.randint(1, 40)}_{rng.randint(0, 12)}"
    source = rng.random()
    if source < 0.12:
        return f"YouCook-video{number:04d}-{shot}"
    if source < 0.5:
        letters = string.ascii_letters + string.digits + "-_"
        youtube = "".join(rng.choice(letters) for _ in range(11))
        return f"video-storytelling-video{rng.choice(TOPICS)}_{youtube}-{shot}"
    part = "TrainVal" if split == "train" else "Test"
    return f"MSR-VTT-video{part}Video_video{number}-{shot}"


def _frame_numbers(rng: random.Random, is_video: bool) -> list[int]:
    if not is_video:
        return list(range(CANDIDATES))
    # From few to many frames apart, so that names have one to three digits and sort wrongly as text.
    start = rng.choice((0, 0, rng.randint(1, 9), rng.randint(10, 120)))
    numbers = [start]
    for _ in range(CANDIDATES - 1):
        numbers.append(numbers[-1] + rng.randint(1, 18))
    return numbers


def _by_rank(drawn: CandidateSet) -> dict[str, str]:
    return {str(query.target): query.description.text for query in drawn.queries}


def _propositions(sets: list[Named]) -> dict[str, list[str]]:
    descriptions = [query.description for _, each in sets for query in each.queries]
    return {description.text: list(description.propositions) for description in descriptions}


def _write_annotation(path: Path, sets: list[Named]) -> None:
    content: dict[str, dict[str, dict[str, str]]] = {}
    position = 0
    for name, drawn in sets:
        content[name] = {}
        for query in drawn.queries:
            codes = [code for code in CODES if code in query.description.phenomena]
            codes += _groups(drawn, query)
            content[name][str(query.target)] = {
                "description": query.description.text,
                "annotation": ",".join(codes),
                "visualization_id": str(position),
            }
            position += 1
    text = yaml.safe_dump(content, sort_keys=False, default_style='"', allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")


def _groups(drawn: CandidateSet, query: Query) -> list[str]:
    """Further groups in which accuracy is counted: what changes in a video, and what resolves the text."""
    by = "candidates" if any(c.needs_candidates for c in query.description.clauses) else "text"
    return [*(f"change_{kind}" for kind in drawn.kinds), f"resolved_by_{by}"]


def _truth(split: str, drawn: CandidateSet) -> dict[str, Any]:
    queries = [
        {
            "target": query.target,
            "text": query.description.text,
            "clauses": [type(clause).__name__ for clause in query.description.clauses],
            "phenomena": list(query.description.phenomena),
            "needs_candidates": any(clause.needs_candidates for clause in query.description.clauses),
        }
        for query in drawn.queries
    ]
    return {"split": split, "is_video": drawn.is_video, "kinds": list(drawn.kinds), "queries": queries}

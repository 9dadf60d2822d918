"""Pairs of miniature scenes after MMVP-VLM's nine patterns: a statement is true of its own picture only."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from data_modules.miniature.clauses import Absent, Clause, Count, Exists, Total, View
from data_modules.miniature.phrases import Phrase
from data_modules.miniature.places import Beside, Place
from data_modules.miniature.scenes import (
    COLOURS,
    DIRECTIONS,
    FULL_SHAPES,
    LETTERS,
    SHAPES,
    Scene,
    Thing,
    draw_scene,
    place,
    seen_from,
)

PAIRS_PER_TYPE = 15


@dataclass(frozen=True)
class ScenePair:
    """Two scenes, a statement about each, and its wording."""

    scenes: tuple[Scene, Scene]
    clauses: tuple[Clause, Clause]
    statements: tuple[str, str]


def _scene(rng: random.Random, least: int = 1) -> Scene:
    return draw_scene(rng, rng.randint(least, 3), twins=0, detail=0)


def _pair(scenes: tuple[Scene, Scene], clauses: tuple[Clause, Clause]) -> ScenePair:
    return ScenePair(scenes, clauses, (clauses[0].label(), clauses[1].label()))


def _replaced(rng: random.Random, first: Thing, second: Thing) -> tuple[Scene, Scene, Thing]:
    scene = _scene(rng)
    while True:
        old = rng.choice(scene.things)
        a, b = (replace(t, x=old.x, y=old.y, key=old.key) for t in (first, second))
        rest = [thing for thing in scene.things if thing.key != old.key]
        if all(t.gap(other) > 1.05 for t in (a, b) for other in rest):
            return scene.with_thing(a), scene.with_thing(b), old
        scene = _scene(rng)


def _orientation(rng: random.Random) -> ScenePair:
    colour = rng.choice(tuple(COLOURS))
    ways = rng.sample(DIRECTIONS, 2)
    first, second = (Thing("arrow", colour, direction=way) for way in ways)
    one, two, _ = _replaced(rng, first, second)
    a, b = (Exists(Phrase("arrow", colour, direction=way)) for way in ways)
    return _pair((one, two), (a, b))


def _presence(rng: random.Random) -> ScenePair:
    scene = _scene(rng, 2)
    gone = rng.choice(scene.things)
    without = replace(scene, things=tuple(thing for thing in scene.things if thing is not gone))
    phrase = Phrase(gone.shape, gone.colour) if rng.random() < 0.5 else Phrase(gone.shape)
    pair = _pair((scene, without), (Exists(phrase), Absent(phrase)))
    other = rng.choice(without.things)
    shown = Phrase(other.shape, other.colour)
    with_text = f"{shown.indefinite()} and {phrase.indefinite()}"
    return replace(pair, statements=(with_text, f"{shown.indefinite()} without {phrase.indefinite()}"))


def _state(rng: random.Random) -> ScenePair:
    shape = rng.choice([shape for shape in FULL_SHAPES if shape != "circle"])
    colour = rng.choice(tuple(COLOURS))
    one, two, _ = _replaced(rng, Thing(shape, colour), Thing(shape, colour, detail="hollow"))
    return _pair(
        (one, two),
        (Exists(Phrase(shape, colour, detail="filled")), Exists(Phrase(shape, colour, detail="hollow"))),
    )


def _quantity(rng: random.Random) -> ScenePair:
    shape, colour = rng.choice(SHAPES), rng.choice(tuple(COLOURS))
    numbers = rng.sample((1, 2, 3, 4), 2)
    while True:
        placed = place(rng, [Thing(shape, colour, rng.choice(("small", "large")))] * max(numbers))
        if placed:
            break
    ground = _scene(rng)
    one, two = (replace(ground, things=tuple(placed[:number])) for number in numbers)
    phrase = Phrase(shape, colour)
    if rng.random() < 0.3:
        pair = _pair((one, two), (Total(numbers[0]), Total(numbers[1])))
    else:
        pair = _pair((one, two), (Count(phrase, numbers[0]), Count(phrase, numbers[1])))
    return pair


def _spatial(rng: random.Random) -> ScenePair:
    while True:
        scene = _scene(rng, 2)
        a, b = scene.things[:2]
        swapped = scene.with_thing(a.moved(b.x, b.y)).with_thing(b.moved(a.x, a.y))
        first, second = Phrase(a.shape, a.colour), Phrase(b.shape, b.colour)
        upright = abs(a.y - b.y) > abs(a.x - b.x)
        sides = ("above", "below") if upright else ("left", "right")
        options: list[tuple[Clause, Clause]] = [
            (Beside(first, second, side), Beside(first, second, back)) for side, back in (sides, sides[::-1])
        ]
        where = ("left", "right", "top", "bottom")
        options += [(Place(first, one), Place(first, two)) for one in where for two in where if one != two]
        rng.shuffle(options)
        for clauses in options:
            if _tell_apart((scene, swapped), clauses):
                return _pair((scene, swapped), clauses)


def _colour(rng: random.Random) -> ScenePair:
    shape = rng.choice(SHAPES)
    colours = rng.sample(tuple(COLOURS), 2)
    one, two, _ = _replaced(rng, Thing(shape, colours[0]), Thing(shape, colours[1]))
    return _pair((one, two), (Exists(Phrase(shape, colours[0])), Exists(Phrase(shape, colours[1]))))


def _structure(rng: random.Random) -> ScenePair:
    shape = rng.choice(FULL_SHAPES)
    colour = rng.choice([colour for colour in COLOURS if colour != "black"])
    details = rng.sample(("dot", "stripe", "border"), 2)
    first, second = (Thing(shape, colour, detail=detail) for detail in details)
    one, two, _ = _replaced(rng, first, second)
    a, b = (Exists(Phrase(shape, colour, detail=detail)) for detail in details)
    return _pair((one, two), (a, b))


def _text(rng: random.Random) -> ScenePair:
    letters = rng.sample(LETTERS, 2)
    colour = rng.choice(tuple(COLOURS))
    one, two, _ = _replaced(rng, *(Thing("letter", colour, letter=letter) for letter in letters))
    a, b = (Exists(Phrase("letter", letter=letter)) for letter in letters)
    pair = _pair((one, two), (a, b))
    if rng.random() < 0.5:
        return replace(
            pair, statements=(f'the letter "{letters[0]}" is in it', f'the letter "{letters[1]}" is in it')
        )
    return pair


def _perspective(rng: random.Random) -> ScenePair:
    scene = _scene(rng)
    scene = replace(scene, things=tuple(replace(thing, size="large") for thing in scene.things))
    name = Phrase(scene.things[0].shape, scene.things[0].colour).indefinite()
    pair = _pair((seen_from(scene, "close"), seen_from(scene, "far")), (View("close"), View("far")))
    return replace(pair, statements=(f"{name} {pair.statements[0]}", f"{name} {pair.statements[1]}"))


TYPES: dict[str, Callable[[random.Random], ScenePair]] = {
    "Orientation": _orientation,
    "Presence": _presence,
    "State": _state,
    "Quantity": _quantity,
    "Spatial": _spatial,
    "Color": _colour,
    "Structural Character": _structure,
    "Text": _text,
    "Camera Perspective": _perspective,
}


def _tell_apart(scenes: tuple[Scene, Scene], clauses: tuple[Clause, Clause]) -> bool:
    return all(clauses[i].holds(scenes, i) and not clauses[i].holds(scenes, 1 - i, 0.05) for i in range(2))


def draw_pair(rng: random.Random, pattern: str) -> ScenePair:
    """Draw a pair by lot.

    Args:
        rng: Source of randomness.
        pattern: A key of `TYPES`.
    """
    while True:
        pair = TYPES[pattern](rng)
        if _tell_apart(pair.scenes, pair.clauses):
            return (
                pair
                if rng.random() < 0.5
                else ScenePair(pair.scenes[::-1], pair.clauses[::-1], pair.statements[::-1])
            )

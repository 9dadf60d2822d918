"""The miniature world: what a scene of a few coloured shapes consists of, and how scenes are drawn by lot."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "diamond")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 35),
    "green": (25, 145, 50),
    "blue": (35, 75, 220),
    "yellow": (250, 205, 0),
    "orange": (250, 120, 0),
    "purple": (130, 40, 170),
    "pink": (255, 125, 190),
    "black": (20, 20, 25),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (252, 252, 252),
    "grey": (205, 205, 208),
    "pale blue": (200, 225, 246),
    "pale green": (208, 236, 206),
    "pale yellow": (248, 241, 198),
}
RADII = {"small": 0.115, "large": 0.185}
LETTERS = "CEFHKLNQTUVXZ"
DIRECTIONS = ("left", "right", "up", "down")
LOOKS = ("dark", "blurred", "faded")
"""What can be odd about a picture as a whole."""
VIEWS = {"close": 2.1, "far": 0.52, "very far": 0.34}
PATTERNS = ("dot", "stripe", "border", "hollow")
"""Small details; ``hollow`` shapes are drawn as an outline."""
FULL_SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond")
COVERING_SHAPES = ("circle", "square")
"""Shapes without notches: what lies under them at ``HIDDEN_GAP`` is surely covered in part."""
HIDDEN_GAP = 0.68
"""Largest distance of two centres, in sums of radii, at which the upper one surely hides a part."""
APART_GAP = 1.08
"""Smallest distance of two centres, in sums of radii, at which both are surely free."""


@dataclass(frozen=True)
class Thing:
    """One shape on the canvas; places and radii are fractions of the canvas, y points down."""

    shape: str
    colour: str
    size: str = "large"
    x: float = 0.5
    y: float = 0.5
    detail: str = ""
    direction: str = ""
    letter: str = ""
    scale: float = 1.0
    key: int = 0

    @property
    def radius(self) -> float:
        """Half the extent of the shape as a fraction of the canvas."""
        return RADII[self.size] * self.scale

    def gap(self, other: "Thing") -> float:
        """Distance of the two centres in sums of their radii."""
        return math.dist((self.x, self.y), (other.x, other.y)) / (self.radius + other.radius)

    def moved(self, x: float, y: float) -> "Thing":
        """The same thing at another place."""
        return replace(self, x=x, y=y)


@dataclass(frozen=True)
class Scene:
    """Things in painting order (later ones lie on top) before a background.

    ``shake`` moves everything by a fraction of a pixel or so when it is drawn, as a hand-held camera does;
    no description depends on it.
    """

    things: tuple[Thing, ...]
    background: str = "white"
    view: str = ""
    look: str = ""
    shake: tuple[float, float] = (0.0, 0.0)

    def of_key(self, key: int) -> Thing | None:
        """The thing that carries ``key``, if it is there."""
        return next((thing for thing in self.things if thing.key == key), None)

    def with_thing(self, thing: Thing) -> "Scene":
        """The same scene in which the thing of the same key is replaced."""
        return replace(self, things=tuple(thing if old.key == thing.key else old for old in self.things))

    def hides(self, cover: Thing, hidden: Thing, gap: float = HIDDEN_GAP) -> bool:
        """Whether ``cover`` is painted after ``hidden``, at most ``gap`` sums of radii away."""
        return self.things.index(cover) > self.things.index(hidden) and cover.gap(hidden) <= gap


def details_of(shape: str, colour: str) -> tuple[str, ...]:
    """The details that a shape of this colour can carry and that can be told apart."""
    if shape in ("arrow", "letter"):
        return ()
    border = () if colour == "black" else ("border",)
    if shape in ("ring", "cross"):
        return border
    # A hollow circle is a ring.
    return ("dot", "stripe", *border) if shape == "circle" else ("dot", "stripe", *border, "hollow")


def draw_thing(
    rng: random.Random,
    shapes: Sequence[str] = SHAPES,
    colours: Sequence[str] = tuple(COLOURS),
    detail: float = 0.25,
) -> Thing:
    """Draw a thing by lot, not yet placed.

    Args:
        rng: Source of randomness.
        shapes: Shapes to choose from; may hold ``arrow`` and ``letter``.
        colours: Colours to choose from.
        detail: Probability of a detail.
    """
    shape, colour = rng.choice(shapes), rng.choice(colours)
    possible = details_of(shape, colour)
    return Thing(
        shape=shape,
        colour=colour,
        size="large" if shape in ("arrow", "letter") else rng.choice(("small", "large", "large")),
        detail=rng.choice(possible) if possible and rng.random() < detail else "",
        direction=rng.choice(DIRECTIONS) if shape == "arrow" else "",
        letter=rng.choice(LETTERS) if shape == "letter" else "",
    )


def is_free(thing: Thing, others: Sequence[Thing], gap: float = APART_GAP) -> bool:
    """Whether the thing lies on the canvas and keeps its distance from the others."""
    margin = thing.radius + 0.01
    if not (margin <= thing.x <= 1 - margin and margin <= thing.y <= 1 - margin):
        return False
    return all(thing.gap(other) >= gap for other in others)


def place(rng: random.Random, things: Sequence[Thing], fixed: Sequence[Thing] = ()) -> list[Thing] | None:
    """Put things at random free places, numbered by their order.

    Args:
        rng: Source of randomness.
        things: Things to place.
        fixed: Things that are placed already and are kept clear of.

    Returns:
        The placed things, or ``None`` if no room was found.
    """
    placed: list[Thing] = []
    for thing in things:
        margin = thing.radius + 0.015
        for _ in range(40):
            candidate = thing.moved(rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin))
            if is_free(candidate, [*fixed, *placed]):
                placed.append(replace(candidate, key=len(fixed) + len(placed)))
                break
        else:
            return None
    return placed


def draw_scene(
    rng: random.Random,
    count: int,
    shapes: Sequence[str] = SHAPES,
    colours: Sequence[str] = tuple(COLOURS),
    *,
    twins: float = 0.2,
    detail: float = 0.25,
    hidden: float = 0.0,
) -> Scene:
    """Draw a scene by lot.

    Args:
        rng: Source of randomness.
        count: Number of things, 1-4.
        shapes: Shapes to choose from.
        colours: Colours to choose from.
        twins: Probability that a thing repeats shape and colour of an earlier one.
        detail: Probability of a detail, each thing.
        hidden: Probability that one thing is partly hidden by another.
    """
    while True:
        things: list[Thing] = []
        for _ in range(count):
            thing = draw_thing(rng, shapes, colours, detail)
            if things and rng.random() < twins:
                thing = rng.choice(things)
            things.append(thing)
        placed = place(rng, things)
        if placed is None:
            continue
        scene = Scene(tuple(placed), background=rng.choice(tuple(BACKGROUNDS)))
        if count > 1 and rng.random() < hidden:
            return cover_one(rng, scene) or scene
        return scene


def cover_one(rng: random.Random, scene: Scene) -> Scene | None:
    """Push the last thing over the first so that it hides a part of it; ``None`` if there is no room."""
    target, cover = scene.things[0], scene.things[-1]
    colour = rng.choice([colour for colour in COLOURS if colour != target.colour])
    shape = rng.choice(COVERING_SHAPES)
    cover = replace(cover, shape=shape, colour=colour, size="large", detail="", direction="", letter="")
    for _ in range(20):
        moved = put_over(rng, cover, target)
        if is_free(moved, scene.things[1:-1]):
            return replace(scene, things=(*scene.things[:-1], moved))
    return None


def put_over(rng: random.Random, cover: Thing, target: Thing) -> Thing:
    """Place ``cover`` so close to ``target`` that it hides a part of it but leaves it recognisable."""
    angle = rng.uniform(0, 2 * math.pi)
    distance = rng.uniform(0.56, 0.66) * (cover.radius + target.radius)
    return cover.moved(target.x + distance * math.cos(angle), target.y + distance * math.sin(angle))


def seen_from(scene: Scene, view: str) -> Scene:
    """The scene from another distance: everything grows or shrinks about the middle of the canvas.

    Args:
        scene: Scene at normal distance.
        view: A key of ``VIEWS``; empty for the normal distance.
    """
    zoom = VIEWS.get(view, 1.0)
    things = tuple(
        replace(thing, x=0.5 + zoom * (thing.x - 0.5), y=0.5 + zoom * (thing.y - 0.5), scale=zoom)
        for thing in scene.things
    )
    return replace(scene, things=things, view=view)

"""Families of miniature scenes that differ in exactly one property, and their captions."""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from data_modules.miniature.clauses import Clause
from data_modules.miniature.scenes import (
    COLOURS,
    DIRECTIONS,
    LETTERS,
    LOOKS,
    SHAPES,
    VIEWS,
    Scene,
    Thing,
    details_of,
    draw_scene,
    is_free,
    place,
    put_over,
    seen_from,
)
from data_modules.miniature.statements import names_of, statements
from data_modules.miniature.texts import SLACK, VERBS, Description, compose, repeats, weight

FAMILY_SIZE = 4
"""Number of consecutive images that differ in one property only."""
DRAWING_CLAUSES = {1: 9, 2: 8, 3: 2}
"""Number of statements in a drawing's caption, and how often: terse, as texts of the web are."""
PHOTO_CLAUSES = {1: 2, 2: 7, 3: 7, 4: 3}
"""The same for a photograph's caption, which people wrote to describe it."""
Family = list[Scene]


def _base(rng: random.Random, least: int = 1, twins: float = 0.2) -> Scene:
    count = rng.choices((1, 2, 3, 4), (2, 4, 4, 2))[0]
    return draw_scene(rng, max(count, least), twins=twins)


def _with(scene: Scene, things: Sequence[Thing]) -> Family:
    return [scene.with_thing(thing) for thing in things]


def _colour(rng: random.Random) -> Family | None:
    scene = _base(rng)
    thing = rng.choice(scene.things)
    if thing.detail == "border":
        return None
    others = rng.sample([colour for colour in COLOURS if colour != thing.colour], 3)
    return _with(scene, [replace(thing, colour=colour) for colour in (thing.colour, *others)])


def _shape(rng: random.Random) -> Family | None:
    scene = _base(rng)
    thing = rng.choice(scene.things)
    shapes = [
        shape for shape in SHAPES if not thing.detail or thing.detail in details_of(shape, thing.colour)
    ]
    if thing.shape not in shapes or len(shapes) < FAMILY_SIZE:
        return None
    others = rng.sample([shape for shape in shapes if shape != thing.shape], 3)
    return _with(scene, [replace(thing, shape=shape) for shape in (thing.shape, *others)])


def _detail(rng: random.Random) -> Family | None:
    scene = _base(rng)
    thing = rng.choice(scene.things)
    details = ["", *details_of(thing.shape, thing.colour)]
    if len(details) < FAMILY_SIZE:
        return None
    return _with(scene, [replace(thing, detail=detail) for detail in rng.sample(details, FAMILY_SIZE)])


def _size(rng: random.Random) -> Family | None:
    scene = _base(rng, least=2)
    first, second = rng.sample(scene.things, 2)
    family = [
        scene.with_thing(replace(first, size=a)).with_thing(replace(second, size=b))
        for a, b in itertools.product(("small", "large"), repeat=2)
    ]
    return family if all(_is_clear(each) for each in family) else None


def _is_clear(scene: Scene) -> bool:
    return all(is_free(thing, [o for o in scene.things if o is not thing]) for thing in scene.things)


def _move(rng: random.Random) -> Family | None:
    """One thing in four quite different places."""
    scene = _base(rng)
    thing = rng.choice(scene.things)
    return _places(rng, scene, thing, lambda a, b: max(abs(a.x - b.x), abs(a.y - b.y)) > 0.33)


def _places(
    rng: random.Random, scene: Scene, thing: Thing, differ: Callable[[Thing, Thing], bool]
) -> Family | None:
    others = [other for other in scene.things if other.key != thing.key]
    found: list[Thing] = []
    for _ in range(60):
        moved = thing.moved(rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9))
        if is_free(moved, others) and all(differ(moved, other) for other in found):
            found.append(moved)
            if len(found) == FAMILY_SIZE:
                return _with(scene, found)
    return None


def _nudge(rng: random.Random) -> Family | None:
    """One thing in four places along the axes, an eighth to a quarter of the canvas apart."""
    scene = _base(rng)
    thing = rng.choice(scene.things)
    others = [other for other in scene.things if other.key != thing.key]
    step = rng.choice((0.24, 0.24, 0.15))
    ways = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (2, 0), (-2, 0), (0, 2), (0, -2)]
    moved = [thing.moved(thing.x + step * x, thing.y + step * y) for x, y in ways]
    free = [each for each in moved if is_free(each, others)]
    return _with(scene, rng.sample(free, FAMILY_SIZE)) if len(free) >= FAMILY_SIZE else None


def _count(rng: random.Random) -> Family | None:
    """One to four things of the same kind."""
    rest = draw_scene(rng, rng.choice((1, 2)), twins=0)
    model = replace(draw_scene(rng, 1).things[0], size=rng.choice(("small", "small", "large")))
    if any(thing.shape == model.shape or thing.colour == model.colour for thing in rest.things):
        return None
    others = rest.things[: 1 if rng.random() < 0.7 else 0]
    placed = place(rng, [model] * FAMILY_SIZE, others)
    if placed is None:
        return None
    return [replace(rest, things=(*others, *placed[: number + 1])) for number in range(FAMILY_SIZE)]


def _relation(rng: random.Random) -> Family | None:
    """Two things, each once left of, right of, above and below the other, or three that swap places."""
    if rng.random() < 0.5:
        scene = draw_scene(rng, 3, twins=0)
        spots = [(thing.x, thing.y) for thing in scene.things]
        orders = rng.sample(list(itertools.permutations(spots)), FAMILY_SIZE)
        family = [
            replace(scene, things=tuple(t.moved(*spot) for t, spot in zip(scene.things, order, strict=True)))
            for order in orders
        ]
        return family if all(_is_clear(each) for each in family) else None
    scene = draw_scene(rng, 2, twins=0)
    x, y, half = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.24)
    first, second = scene.things
    family = [
        replace(scene, things=(first.moved(x - dx, y - dy), second.moved(x + dx, y + dy)))
        for dx, dy in ((half, 0), (-half, 0), (0, half), (0, -half))
    ]
    return family if all(_is_clear(each) for each in family) else None


def _hidden(rng: random.Random) -> Family | None:
    """Two overlapping things: either on top, or beside each other."""
    scene = draw_scene(rng, 2, ("circle", "square"), twins=0, detail=0)
    first, second = (replace(thing, size="large") for thing in scene.things)
    if first.colour == second.colour:
        return None
    first = first.moved(rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65))
    second = put_over(rng, second, first)
    away = second.moved(first.x - 1.9 * (second.x - first.x), first.y - 1.9 * (second.y - first.y))
    other_side = second.moved(2 * first.x - second.x, 2 * first.y - second.y)
    if not all(is_free(thing, ()) for thing in (first, second, away, other_side)):
        return None
    arrangements = [(first, second), (second, first), (first, away), (other_side, first)]
    return [replace(scene, things=things) for things in arrangements]


def _background(rng: random.Random) -> Family | None:
    scene = _base(rng)
    colours = ("white", "grey", "pale blue", "pale green", "pale yellow")
    return [replace(scene, background=colour) for colour in rng.sample(colours, FAMILY_SIZE)]


def _look(rng: random.Random) -> Family | None:
    scene = _base(rng)
    return [replace(scene, look=look) for look in ("", *LOOKS)]


def _special(rng: random.Random, shape: str) -> tuple[Scene, Thing] | None:
    scene = _base(rng, twins=0)
    old = rng.choice(scene.things)
    thing = replace(old, shape=shape, size="large", detail="")
    free = is_free(thing, [other for other in scene.things if other.key != old.key])
    return (scene, thing) if free else None


def _direction(rng: random.Random) -> Family | None:
    drawn = _special(rng, "arrow")
    return _with(drawn[0], [replace(drawn[1], direction=way) for way in DIRECTIONS]) if drawn else None


def _letter(rng: random.Random) -> Family | None:
    drawn = _special(rng, "letter")
    letters = rng.sample(LETTERS, FAMILY_SIZE)
    return _with(drawn[0], [replace(drawn[1], letter=letter) for letter in letters]) if drawn else None


def _view(rng: random.Random) -> Family | None:
    scene = draw_scene(rng, rng.randint(1, 3))
    scene = replace(scene, things=tuple(replace(thing, size="large") for thing in scene.things))
    return [seen_from(scene, view) for view in ("", *VIEWS)] if _is_clear(scene) else None


FAMILIES: dict[str, tuple[Callable[[random.Random], Family | None], float]] = {
    # Property: its drawing, and how often it is drawn.
    "colour": (_colour, 10),
    "shape": (_shape, 8),
    "detail": (_detail, 8),
    "size": (_size, 9),
    "move": (_move, 16),
    "nudge": (_nudge, 16),
    "count": (_count, 8),
    "relation": (_relation, 10),
    "hidden": (_hidden, 7),
    "background": (_background, 2),
    "direction": (_direction, 4),
    "letter": (_letter, 4),
    "view": (_view, 3),
    "look": (_look, 2),
}


def draw_family(rng: random.Random) -> tuple[str, Family]:
    """Draw `FAMILY_SIZE` scenes by lot that differ pairwise in one property.

    Returns:
        Name of the property, and the scenes in random order.
    """
    name = rng.choices(list(FAMILIES), [share for _, share in FAMILIES.values()])[0]
    while True:
        family = FAMILIES[name][0](rng)
        if family is not None:
            rng.shuffle(family)
            return name, family


def _differs(family: Sequence[Scene], name: str) -> bool:
    keys = {thing.key for scene in family for thing in scene.things}
    return any(
        len({getattr(thing, name) for scene in family if (thing := scene.of_key(key))}) > 1 for key in keys
    )


def captions(
    rng: random.Random,
    family: Sequence[Scene],
    index: int,
    number: int,
    mention: float = 0.85,
    lengths: Mapping[int, int] = DRAWING_CLAUSES,
) -> list[Description]:
    """Caption one scene of a family; most captions tell it apart from its siblings.

    Args:
        rng: Source of randomness.
        family: All scenes of the family.
        index: Which one to caption.
        number: How many captions.
        mention: Share of captions that must mention the property in which the family differs.
        lengths: Numbers of statements and how often each is sought.
    """
    siblings = [i for i in range(len(family)) if i != index]
    names = ("colour", "shape", "size", "detail", "direction", "letter")
    differing = [name for name in names if _differs(family, name)] if rng.random() < 0.85 else []
    names_here = names_of(rng, family[index], always=differing)
    pool = statements(rng, family[index], [family[i] for i in siblings], names_here)
    excluded = [sum(not clause.holds(family, i, SLACK) for i in siblings) for clause in pool]
    telling = [
        (clause, count**2 * weight(clause)) for clause, count in zip(pool, excluded, strict=True) if count
    ]
    made: list[Description] = []
    for _ in range(number):
        chosen: list[Clause] = []
        if telling and rng.random() < mention:
            chosen.append(rng.choices([c for c, _ in telling], [w for _, w in telling])[0])
        wanted = rng.choices(tuple(lengths), tuple(lengths.values()))[0]
        for clause in rng.sample(pool, len(pool)):
            if len(chosen) == wanted:
                break
            if not repeats(clause, chosen):
                chosen.append(clause)
        made.append(_called_photo(rng, compose(rng, chosen)))
    return made


def _called_photo(rng: random.Random, description: Description) -> Description:
    """Begin with ``a photo of`` now and then, if the text begins with the name of a thing."""
    words = description.text.split(".")[0].split()
    is_name = words[0].lower() in ("a", "an", "two", "three", "four") and description.clauses[0].phrases
    if not is_name or not VERBS.isdisjoint(words) or rng.random() < 0.6:
        return description
    start = rng.choice(("a photo of", "a picture of"))
    text = description.text
    return replace(description, text=f"{start} {text[0].lower()}{text[1:]}")

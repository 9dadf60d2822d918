"""Candidate sets of the miniature world: ten different scenes, or ten frames with small changes."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from data_modules.miniature.scenes import (
    COLOURS,
    COVERING_SHAPES,
    LOOKS,
    SHAPES,
    Scene,
    Thing,
    draw_scene,
    is_free,
    place,
)
from data_modules.miniature.texts import Description, describe

CANDIDATES = 10
MAX_TRIES = 30
RANK_WEIGHTS = (0.1, 0.4, 1.25, 1.25, 1.25, 1.25, 1.2, 1.25, 0.8, 0.5)
"""How often a description of a video set is first sought at each rank.

With it the targets are spread as IMAGECODE's; the first ranks are the easiest to describe.
"""
TEXTS_WEIGHTS = (0.2, 0.38, 0.42)
COMPARING = 0.6
"""Share of the queries of video sets that may compare the frame with the others."""
SHAKE, SHAKE_STEP = 3, 1 / 192
"""Largest shake in steps, and a step as a fraction of the canvas: a third of a pixel at 64 pixels."""
COVER_KEY = 9
HIDING_GAPS = (
    (1.5, 1.4, 1.28, 1.14, 0.67, 0.62, 0.57, 0.62, 0.67, 1.14),
    (1.5, 1.42, 1.35, 1.28, 1.2, 1.12, 0.66, 0.58, 0.66, 1.12),
    (1.5, 1.5, 1.36, 1.24, 1.12, 0.66, 0.6, 0.56, 0.56, 0.56),
    (1.3, 1.12, 0.64, 1.12, 1.2, 1.28, 1.36, 1.44, 1.5, 1.5),
)
"""Distance of a cover from what it hides, frame by frame, in sums of radii; never where it is hard to say."""
Frames = list[Scene]


@dataclass(frozen=True)
class Query:
    """One description of a set and the rank of the scene it describes."""

    target: int
    description: Description


@dataclass(frozen=True)
class CandidateSet:
    """Ten scenes, what changes between them, and the descriptions of some."""

    is_video: bool
    scenes: tuple[Scene, ...]
    kinds: tuple[str, ...]
    queries: tuple[Query, ...]


def draw_set(rng: random.Random, is_video: bool) -> CandidateSet:
    """Draw a set by lot, with one to three descriptions that are each true of exactly one candidate."""
    wanted = rng.choices((1, 2, 3), TEXTS_WEIGHTS)[0]
    comparing = [is_video and rng.random() < COMPARING for _ in range(wanted)]
    while True:
        kinds = _draw_kinds(rng) if is_video else ()
        # The same kinds again if no text told the frames apart, so that the hard ones do not become rare.
        for _ in range(MAX_TRIES):
            scenes = _video(rng, kinds) if is_video else _static(rng)
            queries = _queries(rng, scenes, comparing, is_video) if scenes else []
            if queries:
                return CandidateSet(is_video, tuple(scenes), tuple(dict.fromkeys(kinds)), tuple(queries))


def _shaken(rng: random.Random, scenes: Frames) -> Frames:
    """Give every frame a shift of its own, so that no two frames are the same picture."""
    shifts = rng.sample(list(product(range(-SHAKE, SHAKE + 1), repeat=2)), CANDIDATES)
    return [
        replace(scene, shake=(x * SHAKE_STEP, y * SHAKE_STEP))
        for scene, (x, y) in zip(scenes, shifts, strict=True)
    ]


def _queries(
    rng: random.Random, scenes: Sequence[Scene], comparing: Sequence[bool], is_video: bool
) -> list[Query]:
    weights = RANK_WEIGHTS if is_video else (1.0,) * CANDIDATES
    start = rng.choices(range(CANDIDATES), weights)[0]
    order = rng.sample(range(CANDIDATES), CANDIDATES)
    if is_video and rng.random() < 0.85:
        # Described frames of a video mostly follow one another.
        order.sort(key=lambda rank: abs(rank - start))
    queries: list[Query] = []
    for compare in comparing:
        found = _first_describable(rng, scenes, order[: 3 if is_video else CANDIDATES], compare)
        if found is None:
            return []
        order.remove(found.target)
        queries.append(found)
    rng.shuffle(queries)
    return queries if len({query.description.text for query in queries}) == len(queries) else []


def _first_describable(
    rng: random.Random, scenes: Sequence[Scene], ranks: Sequence[int], compare: bool
) -> Query | None:
    for rank in ranks:
        for _ in range(2):
            description = describe(rng, scenes, rank, compare=compare)
            if description:
                return Query(rank, description)
    return None


def _static(rng: random.Random) -> Frames:
    shapes = rng.sample(SHAPES, 5)
    colours = rng.sample(tuple(COLOURS), 5)
    base = draw_scene(rng, rng.randint(2, 3), shapes, colours, detail=0.3)
    scenes: Frames = []
    while len(scenes) < CANDIDATES:
        scene = draw_scene(rng, rng.randint(1, 4), shapes, colours, detail=0.3, hidden=0.35)
        if rng.random() < 0.45:
            # A relative of the base: one of its things among other things elsewhere.
            kept = rng.choice(base.things)
            new = place(rng, [*scene.things[:-1], kept])
            if new is None:
                continue
            scene = replace(scene, things=tuple(new), background=base.background)
        scenes.append(scene)
    return scenes


def _runs(rng: random.Random, values: Sequence[str]) -> list[str]:
    """Ten values in runs, each value of ``values`` in turn."""
    cuts = sorted(rng.sample(range(1, CANDIDATES), len(values) - 1))
    edges = [0, *cuts, CANDIDATES]
    return [value for i, value in enumerate(values) for _ in range(edges[i + 1] - edges[i])]


def _steps(rng: random.Random, way: float, moves: int) -> list[float]:
    """Ten distances along a way that is done in so many uneven moves, with rests between them."""
    sizes = [rng.uniform(0.8, 1.2) for _ in range(moves)]
    reached = [sum(sizes[:i]) / sum(sizes) * way for i in range(moves + 1)]
    return [reached[int(i)] for i in _runs(rng, [str(i) for i in range(moves + 1)])]


def _apply(frames: Frames, things: Sequence[Thing]) -> Frames | None:
    for frame, thing in zip(frames, things, strict=True):
        if not is_free(thing, [other for other in frame.things if other.key != thing.key], 1.03):
            return None
    return [frame.with_thing(thing) for frame, thing in zip(frames, things, strict=True)]


def _travel(rng: random.Random, frames: Frames, key: int, way: float, moves: int) -> Frames | None:
    thing = frames[0].of_key(key)
    if thing is None:
        return None
    for _ in range(25):
        margin = thing.radius + 0.015
        free = 1 - 2 * margin - way
        if free < 0:
            return None
        along, aside = margin + rng.uniform(0, free), rng.uniform(margin, 1 - margin)
        steps = [along + step for step in _steps(rng, way, moves)]
        if rng.random() < 0.5:
            steps = [2 * along + way - step for step in steps]
        upright = rng.random() < 0.35
        moved = _apply(frames, [thing.moved(aside, s) if upright else thing.moved(s, aside) for s in steps])
        if moved:
            return moved
    return None


def _across(rng: random.Random, frames: Frames, key: int) -> Frames | None:
    return _travel(rng, frames, key, rng.uniform(0.52, 0.64), rng.randint(4, 7))


def _slight(rng: random.Random, frames: Frames, key: int) -> Frames | None:
    return _travel(rng, frames, key, rng.uniform(0.16, 0.32), rng.randint(2, 4))


def _presence(frames: Frames, key: int, shown: Sequence[str]) -> Frames:
    return [
        frame if here else replace(frame, things=tuple(thing for thing in frame.things if thing.key != key))
        for frame, here in zip(frames, shown, strict=True)
    ]


def _enter(rng: random.Random, frames: Frames, key: int) -> Frames | None:
    return _presence(frames, key, _runs(rng, ("", "yes", "", "yes")[: rng.randint(2, 4)]))


def _leave(rng: random.Random, frames: Frames, key: int) -> Frames | None:
    return _presence(frames, key, _runs(rng, ("yes", "", "yes", "")[: rng.randint(2, 4)]))


def _colour(rng: random.Random, frames: Frames, key: int) -> Frames | None:
    thing = frames[0].of_key(key)
    if thing is None or thing.detail == "border":
        return None
    others = rng.sample([colour for colour in COLOURS if colour != thing.colour], rng.randint(2, 5))
    colours = _runs(rng, [thing.colour, *others])
    return [frame.with_thing(replace(thing, colour=c)) for frame, c in zip(frames, colours, strict=True)]


def _size(rng: random.Random, frames: Frames, key: int) -> Frames | None:
    thing = frames[0].of_key(key)
    if thing is None:
        return None
    sizes = (
        ["small", "large", "small", "large"]
        if thing.size == "small"
        else ["large", "small", "large", "small"]
    )
    return _apply(frames, [replace(thing, size=size) for size in _runs(rng, sizes[: rng.randint(2, 4)])])


def _hidden(rng: random.Random, frames: Frames, key: int) -> Frames | None:
    """A large circle or square slides over the thing, and perhaps back."""
    old = frames[0].of_key(key)
    if old is None or frames[0].of_key(COVER_KEY):
        return None
    colours = [colour for colour in COLOURS if colour not in {thing.colour for thing in frames[0].things}]
    cover = Thing(rng.choice(COVERING_SHAPES), rng.choice(colours), "large", key=COVER_KEY)
    reach = cover.radius + old.radius
    way = rng.choice(((1, 0), (-1, 0), (0, 1), (0, -1)))
    gaps = rng.choice(HIDING_GAPS)[:: rng.choice((1, -1))]
    for _ in range(30):
        hidden = old.moved(*(rng.uniform(0.2, 0.8) - 0.28 * step for step in way))
        covers = [
            cover.moved(hidden.x + way[0] * gap * reach, hidden.y + way[1] * gap * reach) for gap in gaps
        ]
        if not all(is_free(thing, ()) for thing in covers):
            continue
        shown = _apply(frames, [hidden] * CANDIDATES)
        if shown and all(
            is_free(thing, [other for other in frame.things if other.key != key])
            for frame, thing in zip(shown, covers, strict=True)
        ):
            return [replace(f, things=(*f.things, t)) for f, t in zip(shown, covers, strict=True)]
    return None


def _look(rng: random.Random, frames: Frames, key: int) -> Frames | None:
    """The picture as a whole turns dark, blurred or faded; the thing itself stays as it is."""
    if frames[0].of_key(key) is None or any(frame.look for frame in frames):
        return None
    odd = rng.choice(LOOKS)
    looks = _runs(rng, ["", odd, ""] if rng.random() < 0.6 else rng.sample(["", odd], 2))
    return [replace(frame, look=look) for frame, look in zip(frames, looks, strict=True)]


KINDS: dict[str, tuple[Callable[[random.Random, Frames, int], Frames | None], float]] = {
    # Kind of change: how it is drawn, and how often; from plain to subtle.
    "across": (_across, 5),
    "slight": (_slight, 4),
    "enter": (_enter, 2),
    "leave": (_leave, 2),
    "colour": (_colour, 2.5),
    "size": (_size, 2.5),
    "hidden": (_hidden, 4),
    "look": (_look, 2),
}


def _draw_kinds(rng: random.Random) -> tuple[str, ...]:
    """One thing changes, or two do, in the same manner or in two."""
    names, weights = list(KINDS), [share for _, share in KINDS.values()]
    first = rng.choices(names, weights)[0]
    more = rng.choices(((), (first,), tuple(rng.choices(names, weights))), (1, 1, 2))[0]
    return (first, *more)


def _video(rng: random.Random, kinds: Sequence[str]) -> Frames:
    """Ten frames with these changes; none if there was no room for them."""
    scene = draw_scene(rng, rng.randint(len(kinds), 3), twins=0.1)
    frames: Frames = [scene] * CANDIDATES
    for key, kind in enumerate(kinds):
        changed = KINDS[kind][0](rng, frames, key)
        if changed is None:
            return []
        frames = changed
    return _shaken(rng, frames) if all(frame.things for frame in frames) else []

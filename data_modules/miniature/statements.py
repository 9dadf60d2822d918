"""Collects what can truthfully be said of a miniature scene, alone or among the frames of its set."""

import random
from collections.abc import Sequence
from dataclasses import replace

from data_modules.miniature.clauses import (
    Absent,
    Background,
    Clause,
    Count,
    Detailed,
    Exists,
    Look,
    Total,
    View,
)
from data_modules.miniature.comparisons import Closest, Event, Extreme, Halfway
from data_modules.miniature.phrases import Phrase
from data_modules.miniature.places import PLACES, Beside, Distance, Hidden, InLine, Place, Unhidden
from data_modules.miniature.scenes import COLOURS, SHAPES, Scene, Thing

Names = dict[int, Phrase]


def phrase_of(
    rng: random.Random,
    scene: Scene,
    thing: Thing,
    *,
    never: Sequence[str] = (),
    always: Sequence[str] = (),
) -> Phrase:
    """Name a thing, with as many properties as its scene asks for and some more by lot.

    Args:
        rng: Source of randomness.
        scene: Scene in which the thing should be unique if possible.
        thing: Thing to name.
        never: Names of properties that must not be used (they change).
        always: Names of properties that must be used if the thing has them.
    """
    chances = {"shape": 0.92, "colour": 0.75, "size": 0.2, "detail": 0.45, "direction": 0.7, "letter": 1.0}
    possible = {name: getattr(thing, name) for name in chances if getattr(thing, name) and name not in never}
    if scene.view:
        possible.pop("size")
    if "detail" in always and not thing.detail:
        possible["detail"] = "plain"
    known = {
        name: value for name, value in possible.items() if name in always or rng.random() < chances[name]
    }
    if not known.keys() & {"shape", "colour"}:
        known["shape"] = thing.shape
    if "detail" in known or thing.shape == "letter":
        known["shape"] = thing.shape
    phrase = Phrase(**known, variant=rng.randrange(6))
    for name, value in possible.items():
        if phrase.only(scene):
            break
        phrase = replace(phrase, **{name: value})
    return phrase


def names_of(rng: random.Random, scene: Scene, always: Sequence[str] = ()) -> Names:
    """Name every thing of a scene (see `phrase_of`), by its key; a text calls it by this name all along."""
    return {thing.key: phrase_of(rng, scene, thing, always=always) for thing in scene.things}


def statements(rng: random.Random, scene: Scene, others: Sequence[Scene], names: Names) -> list[Clause]:
    """Collect statements that are true of a scene by itself.

    Args:
        rng: Source of randomness.
        scene: Scene to speak of.
        others: Scenes to tell it apart from; they suggest what to call absent.
        names: What to call each thing, by its key.
    """
    named = [(thing, names[thing.key]) for thing in scene.things]
    hollow = {thing.shape for other in others for thing in other.things if thing.detail == "hollow"}
    clauses: list[Clause] = [*_counts(rng, scene), *_absences(rng, scene, others)]
    overlaps = any(_overlaps(each) for each in (scene, *others))
    for thing, phrase in named:
        clauses.append(Exists(phrase))
        if phrase.detail is None and phrase.shape:
            details = (thing.detail, "filled" if thing.shape in hollow and thing.detail != "hollow" else "")
            clauses += [Detailed(phrase, detail) for detail in details if detail]
        if not scene.view:
            clauses += [place for where in PLACES if (place := Place(phrase, where)).fits(thing)]
        if overlaps:
            clauses.append(Unhidden(phrase))
    alone = [phrase for _, phrase in named if phrase.only(scene)]
    pairs = [(a, b) for a in alone for b in alone if a is not b]
    for first, second in pairs:
        clauses += _relations(first, second)
    if any(other.background != scene.background for other in others) or rng.random() < 0.3:
        clauses.append(Background(scene.background))
    if scene.view or any(other.view for other in others):
        clauses.append(View(scene.view))
    if scene.look or any(other.look for other in others):
        clauses.append(Look(scene.look))
    true = [clause for clause in clauses if clause.holds([scene], 0)]
    return [_worded(rng, clause, scene) for clause in true]


def _relations(first: Phrase, second: Phrase) -> list[Clause]:
    return [
        *(Beside(first, second, side) for side in ("left", "right", "above", "below")),
        *(InLine(first, second, upright) for upright in (True, False)),
        *(Distance(first, second, close) for close in (True, False)),
        Hidden(first, second),
    ]


def _overlaps(scene: Scene) -> bool:
    things = scene.things
    return any(a.gap(b) < 1 for i, a in enumerate(things) for b in things[:i])


def _counts(rng: random.Random, scene: Scene) -> list[Clause]:
    clauses: list[Clause] = [Total(len(scene.things))]
    for thing in scene.things:
        if thing.shape == "letter":
            continue
        for phrase in (
            Phrase(thing.shape, thing.colour),
            Phrase(thing.shape),
            Phrase(None, thing.colour, variant=rng.randrange(3)),
        ):
            number = len(phrase.among(scene))
            if number > 1 or rng.random() < 0.3:
                clauses.append(Count(phrase, number))
    return clauses


def _absences(rng: random.Random, scene: Scene, others: Sequence[Scene]) -> list[Clause]:
    elsewhere = [thing for other in others for thing in other.things] or [
        Thing(rng.choice(SHAPES), rng.choice(tuple(COLOURS)))
    ]
    clauses: list[Clause] = []
    for thing in rng.sample(elsewhere, min(5, len(elsewhere))):
        options = [Phrase(thing.shape, thing.colour), Phrase(None, thing.colour, variant=rng.randrange(3))]
        if thing.shape != "letter":
            options.append(Phrase(thing.shape))
        clauses.append(Absent(rng.choice(options)))
    return [clause for clause in clauses if clause.holds([scene], 0)]


def _worded(rng: random.Random, clause: Clause, scene: Scene) -> Clause:
    definite = bool(clause.phrases) and all(phrase.only(scene) for phrase in clause.phrases)
    return replace(clause, wording=rng.randrange(60), definite=definite)


def comparisons(rng: random.Random, scenes: Sequence[Scene], index: int, names: Names) -> list[Clause]:
    """Collect statements that are true of a frame among its set.

    Args:
        rng: Source of randomness.
        scenes: All frames in order.
        index: Rank of the frame to speak of.
        names: What to call each thing of this frame; what changes is left out of the names here.
    """
    clauses: list[Clause] = []
    keys = sorted({thing.key for scene in scenes for thing in scene.things})
    changed = {key: _changes(scenes, key) for key in keys}
    names = {key: _lasting_name(rng, scenes, names.get(key), key, changed[key]) for key in keys}
    for key in keys:
        if not changed[key]:
            continue
        name = names[key]
        clauses += [Extreme(name, side) for side in ("left", "right", "up", "down")]
        clauses.append(Halfway(name))
        others = [names[other] for other in keys if other != key]
        clauses += [Closest(name, other) for other in others]
        for ahead in (False, True):
            clauses += [
                Event(name, kind, ahead) for kind in ("appear", "disappear", "start", "grow", "shrink")
            ]
            clauses += [
                Event(name, kind, ahead, other=other) for kind in ("pass", "hide") for other in others
            ]
            colours = sorted({thing.colour for scene in scenes if (thing := scene.of_key(key))})
            clauses += [Event(name, "turn", ahead, value=colour) for colour in colours]
        clauses.append(Event(name, "stop"))
    true = [clause for clause in clauses if clause.holds(scenes, index)]
    return [replace(clause, wording=rng.randrange(60), definite=True) for clause in true]


def _changes(scenes: Sequence[Scene], key: int) -> set[str]:
    things = [scene.of_key(key) for scene in scenes]
    seen = [thing for thing in things if thing]
    changed = {name for name in ("colour", "size", "x", "y") if len({getattr(t, name) for t in seen}) > 1}
    return changed | ({"presence"} if None in things else set())


def _lasting_name(
    rng: random.Random, scenes: Sequence[Scene], name: Phrase | None, key: int, changed: set[str]
) -> Phrase:
    """The name without what changes; another one if that does not name the thing alone."""
    shown = [(scene, thing) for scene in scenes if (thing := scene.of_key(key))]
    if name is not None:
        colour = None if "colour" in changed else name.colour
        name = replace(name, colour=colour, size=None if "size" in changed else name.size)
        if all(name.only(scene) for scene, _ in shown):
            return name
    scene, thing = shown[0]
    return phrase_of(rng, scene, thing, never=sorted(changed))

"""First lessons for a backbone: scenes of one or two things, and captions that tell everything about them.

From scratch, shapes and places are hard to learn from crowded scenes and terse captions; alone on the canvas
and fully described they are learnt in a few hundred steps.
"""

import random
from collections.abc import Sequence

from data_modules.miniature.phrases import Phrase
from data_modules.miniature.places import PLACES, Place
from data_modules.miniature.scenes import SHAPES, Scene, Thing, draw_scene
from data_modules.miniature.texts import Description, compose

SPECIAL_SHAPES = ("arrow", "letter")
CAPTIONS = 3
"""Captions of each image, which differ in order and wording."""
_CORNERS = ("top left", "top right", "bottom left", "bottom right")
_SIDES = ("left", "right", "top", "bottom")


def draw_lesson(rng: random.Random, most: int, number: int) -> list[Scene]:
    """Draw scenes that have nothing to do with one another.

    Args:
        rng: Source of randomness.
        most: Largest number of things in a scene.
        number: How many scenes.

    Returns:
        The scenes.
    """
    # Arrows and letters are rare elsewhere but have to be learnt as well.
    shapes = (*SHAPES, *SPECIAL_SHAPES)
    return [draw_scene(rng, rng.randint(1, most), shapes) for _ in range(number)]


def full_caption(rng: random.Random, scene: Scene) -> Description:
    """Tell what each thing of a scene is and where, in any order.

    Args:
        rng: Source of randomness.
        scene: What to describe.

    Returns:
        One statement a thing.
    """
    things = rng.sample(scene.things, len(scene.things))
    return compose(rng, [_statement(rng, thing) for thing in things])


def _statement(rng: random.Random, thing: Thing) -> Place:
    """Name a thing with all it has (its size now and then) and the narrowest place that fits."""
    # What is seen from close up or far away has no size that could be told.
    size = thing.size if thing.scale == 1 and rng.random() < 0.6 else None
    phrase = Phrase(
        thing.shape,
        thing.colour,
        size,
        thing.detail or None,
        thing.direction or None,
        thing.letter or None,
        variant=rng.randrange(6),
    )
    fitting = [where for where in PLACES if Place(phrase, where).fits(thing)]
    return Place(phrase, rng.choice(_narrowest(fitting)), wording=rng.randrange(60))


def _narrowest(fitting: Sequence[str]) -> Sequence[str]:
    corners = [where for where in fitting if where in _CORNERS]
    return corners or [where for where in fitting if where not in _SIDES] or fitting

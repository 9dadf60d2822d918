"""Statements about where things are in a miniature scene: places, relations, distances, occlusion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from data_modules.miniature.clauses import Predicate
from data_modules.miniature.phrases import Phrase
from data_modules.miniature.scenes import APART_GAP, HIDDEN_GAP, Scene, Thing

SIDES: dict[str, Callable[[Thing], float]] = {
    # How far the thing is beyond the border of the side; negative: it is not there.
    "left": lambda thing: 0.38 - thing.x,
    "right": lambda thing: thing.x - 0.62,
    "top": lambda thing: 0.38 - thing.y,
    "bottom": lambda thing: thing.y - 0.62,
    "very left": lambda thing: 0.03 - (thing.x - thing.radius),
    "very right": lambda thing: 0.03 - (1 - thing.x - thing.radius),
    "very top": lambda thing: 0.03 - (thing.y - thing.radius),
    "very bottom": lambda thing: 0.03 - (1 - thing.y - thing.radius),
    "middle": lambda thing: 0.11 - max(abs(thing.x - 0.5), abs(thing.y - 0.5)),
    "middle across": lambda thing: 0.06 - abs(thing.x - 0.5),
    "middle down": lambda thing: 0.06 - abs(thing.y - 0.5),
    "left of the middle": lambda thing: 0.06 - abs(thing.x - 0.39),
    "right of the middle": lambda thing: 0.06 - abs(thing.x - 0.61),
    "above the middle": lambda thing: 0.06 - abs(thing.y - 0.39),
    "below the middle": lambda thing: 0.06 - abs(thing.y - 0.61),
}
PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # Name: the sides that must all be true, and the wordings.
    "left": (("left",), ("on the left", "on the left side", "in the left part")),
    "right": (("right",), ("on the right", "on the right side", "in the right part")),
    "top": (("top",), ("at the top", "in the upper part", "near the top")),
    "bottom": (("bottom",), ("at the bottom", "in the lower part", "near the bottom")),
    "top left": (("left", "top"), ("in the top left", "in the upper left", "in the top left corner")),
    "top right": (("right", "top"), ("in the top right", "in the upper right", "in the top right corner")),
    "bottom left": (
        ("left", "bottom"),
        ("in the bottom left", "in the lower left", "in the bottom left corner"),
    ),
    "bottom right": (
        ("right", "bottom"),
        ("in the bottom right", "in the lower right", "in the bottom right corner"),
    ),
    "middle": (("middle",), ("in the middle", "in the center", "in the middle of the picture")),
    "very left": (("very left",), ("at the left edge", "touching the left edge", "at the very left")),
    "very right": (("very right",), ("at the right edge", "touching the right edge", "at the very right")),
    "very top": (("very top",), ("at the upper edge", "touching the top edge", "at the very top")),
    "very bottom": (
        ("very bottom",),
        ("at the lower edge", "touching the bottom edge", "at the very bottom"),
    ),
    "middle across": (("middle across",), ("halfway between left and right", "neither left nor right")),
    "middle down": (("middle down",), ("halfway between top and bottom", "halfway up")),
    "left of the middle": (
        ("left of the middle",),
        ("a little left of the middle", "just left of the center"),
    ),
    "right of the middle": (
        ("right of the middle",),
        ("a little right of the middle", "just right of the center"),
    ),
    "above the middle": (("above the middle",), ("a little above the middle", "just above the center")),
    "below the middle": (("below the middle",), ("a little below the middle", "just below the center")),
}


@dataclass(frozen=True)
class Place(Predicate):
    """A thing is in a part of the picture."""

    thing: Phrase
    where: str
    phenomena: ClassVar[tuple[str, ...]] = ("s",)

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.thing,)

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """See the base class."""
        return any(self.fits(thing, slack) for thing in self.thing.among(scenes[index]))

    def fits(self, thing: Thing, slack: float = 0.0) -> bool:
        """Whether this thing is there."""
        return all(SIDES[side](thing) + slack >= 0 for side in PLACES[self.where][0])

    def predicate(self) -> str:
        """See the base class."""
        words = PLACES[self.where][1]
        return words[self.wording // 7 % len(words)]


@dataclass(frozen=True)
class Pair(Predicate):
    """A statement about two things, first and second."""

    first: Phrase
    second: Phrase

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.first, self.second)

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """See the base class."""
        scene = scenes[index]
        seconds = self.second.among(scene)
        return any(
            self.fits(scene, first, second, slack)
            for first in self.first.among(scene)
            for second in seconds
            if first is not second
        )

    def fits(self, scene: Scene, first: Thing, second: Thing, slack: float = 0.0) -> bool:
        """Whether these two things stand so."""
        raise NotImplementedError

    def other(self) -> str:
        """The second thing with an article."""
        return self.name(self.second)


@dataclass(frozen=True)
class Beside(Pair):
    """The first thing is left of, right of, above or below the second."""

    side: str
    phenomena: ClassVar[tuple[str, ...]] = ("s",)

    def fits(self, scene: Scene, first: Thing, second: Thing, slack: float = 0.0) -> bool:
        """See the base class."""
        del scene
        dx, dy = second.x - first.x, second.y - first.y
        ahead = {"left": dx, "right": -dx, "above": dy, "below": -dy}[self.side]
        aside = abs(dy) if self.side in ("left", "right") else abs(dx)
        # At least a tenth of the canvas, and the main direction of the two.
        return ahead + slack >= 0.1 and ahead + 2 * slack >= 0.8 * aside

    def predicate(self) -> str:
        """See the base class."""
        words = {
            "left": ("left of", "to the left of", "on the left of"),
            "right": ("right of", "to the right of", "on the right of"),
            "above": ("above", "over", "higher than"),
            "below": ("below", "under", "lower than"),
        }[self.side]
        return f"{words[self.wording // 7 % 3]} {self.other()}"


@dataclass(frozen=True)
class InLine(Pair):
    """The two things are at the same height, or one is straight above the other."""

    upright: bool
    phenomena: ClassVar[tuple[str, ...]] = ("s", "n")

    def fits(self, scene: Scene, first: Thing, second: Thing, slack: float = 0.0) -> bool:
        """See the base class."""
        del scene
        dx, dy = abs(first.x - second.x), abs(first.y - second.y)
        aside, along = (dx, dy) if self.upright else (dy, dx)
        return aside <= 0.035 + slack * 0.8 and along >= 0.2 - slack

    def predicate(self) -> str:
        """See the base class."""
        words = (
            ("in one column with", "in the same column as")
            if self.upright
            else ("at the same height as", "level with", "in one row with")
        )
        return f"{words[self.wording // 7 % len(words)]} {self.other()}"


@dataclass(frozen=True)
class Distance(Pair):
    """The two things are close together or far apart."""

    close: bool
    phenomena: ClassVar[tuple[str, ...]] = ("s",)

    def fits(self, scene: Scene, first: Thing, second: Thing, slack: float = 0.0) -> bool:
        """See the base class."""
        del scene
        between = (first.gap(second) - 1) * (first.radius + second.radius)
        return between <= 0.09 + slack if self.close else between >= 0.38 - slack

    def predicate(self) -> str:
        """See the base class."""
        words = ("close to", "next to", "right beside") if self.close else ("far from", "far away from")
        return f"{words[self.wording // 7 % len(words)]} {self.other()}"


@dataclass(frozen=True)
class Hidden(Pair):
    """The first thing is partly hidden by the second."""

    phenomena: ClassVar[tuple[str, ...]] = ("v",)

    def fits(self, scene: Scene, first: Thing, second: Thing, slack: float = 0.0) -> bool:
        """See the base class."""
        return scene.hides(second, first, APART_GAP if slack else HIDDEN_GAP)

    def predicate(self) -> str:
        """See the base class."""
        words = ("partly hidden by", "partly covered by", "half behind", "partly behind")
        return f"{words[self.wording // 7 % len(words)]} {self.other()}"


@dataclass(frozen=True)
class Unhidden(Predicate):
    """Nothing lies over the thing."""

    thing: Phrase
    phenomena: ClassVar[tuple[str, ...]] = ("v", "neg")

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.thing,)

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """See the base class."""
        scene, gap = scenes[index], HIDDEN_GAP if slack else APART_GAP - 0.03
        return any(
            not any(other is not thing and scene.hides(other, thing, gap) for other in scene.things)
            for thing in self.thing.among(scene)
        )

    def predicate(self) -> str:
        """See the base class."""
        words = ("not hidden", "not covered by anything", "fully visible")
        return words[self.wording // 7 % len(words)]

"""Statements about a frame that are only true or false among the other frames of its set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from data_modules.miniature.clauses import Clause
from data_modules.miniature.phrases import Phrase
from data_modules.miniature.scenes import APART_GAP, HIDDEN_GAP, Scene, Thing

STEP = 0.03
"""Smallest difference of places between two frames, as a fraction of the canvas, that counts."""
Track = list[Thing | None]


def track(phrase: Phrase, scenes: Sequence[Scene]) -> Track:
    """The thing that the phrase names in each frame; ``None`` where there is none or more than one."""
    return [phrase.only(scene) for scene in scenes]


def _moved(before: Thing | None, after: Thing | None) -> bool:
    return before is not None and after is not None and _offset(before, after) >= STEP


def _offset(before: Thing, after: Thing) -> float:
    return max(abs(before.x - after.x), abs(before.y - after.y))


class Comparison(Clause):
    """A clause about the first phrase that needs the other candidates."""

    needs_candidates: ClassVar[bool] = True

    def predicate(self) -> str:
        """What follows the subject, with its verb."""
        raise NotImplementedError

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        name = self.name(self.phrases[0], always=True)
        return (f"{name} {self.predicate()}",)

    def going_on(self) -> str | None:
        """See the base class."""
        return f"it {self.predicate()}"

    def _word(self, *words: str) -> str:
        return words[self.wording // 7 % len(words)]


def _is_extreme(values: Sequence[float | None], index: int, slack: float) -> bool:
    """Whether the value at ``index`` is the largest: by a step if it must be clear, else nearly."""
    value = values[index]
    others = [other for i, other in enumerate(values) if i != index and other is not None]
    if value is None or len(others) < 3:
        return False
    return value >= max(others) + (-0.6 * STEP if slack else STEP)


@dataclass(frozen=True)
class Extreme(Comparison):
    """The thing is further to one side than in any other frame."""

    thing: Phrase
    side: str
    phenomena: ClassVar[tuple[str, ...]] = ("con", "s")

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.thing,)

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """See the base class."""
        value: Callable[[Thing], float] = {
            "left": lambda thing: -thing.x,
            "right": lambda thing: thing.x,
            "up": lambda thing: -thing.y,
            "down": lambda thing: thing.y,
        }[self.side]
        values = [value(thing) if thing else None for thing in track(self.thing, scenes)]
        return _is_extreme(values, index, slack)

    def predicate(self) -> str:
        """See the base class."""
        more = {"left": "further left", "right": "further right", "up": "higher", "down": "lower"}[self.side]
        far = {"left": "far left", "right": "far right", "up": "high", "down": "low"}[self.side]
        return self._word(
            f"is as {far} as it gets", f"is {more} than in any other picture", f"was never {more}"
        )


@dataclass(frozen=True)
class Closest(Comparison):
    """The two things are closer together than in any other frame."""

    first: Phrase
    second: Phrase
    phenomena: ClassVar[tuple[str, ...]] = ("con", "s")

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.first, self.second)

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """See the base class."""
        pairs = zip(track(self.first, scenes), track(self.second, scenes), strict=True)
        values = [-_distance(a, b) if a and b else None for a, b in pairs]
        return _is_extreme(values, index, slack)

    def predicate(self) -> str:
        """See the base class."""
        noun = self.second.noun()
        return self._word(
            f"is as close to the {noun} as it gets", f"is closer to the {noun} than in any other picture"
        )


def _distance(first: Thing, second: Thing) -> float:
    return float(((first.x - second.x) ** 2 + (first.y - second.y) ** 2) ** 0.5)


@dataclass(frozen=True)
class Halfway(Comparison):
    """The thing is halfway between where it is first and where it is last."""

    thing: Phrase
    phenomena: ClassVar[tuple[str, ...]] = ("con", "t")

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.thing,)

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """See the base class."""
        things = track(self.thing, scenes)
        first, last = things[0], things[-1]
        if first is None or last is None or _offset(first, last) < 6 * STEP:
            return False
        middle = first.moved((first.x + last.x) / 2, (first.y + last.y) / 2)
        return _is_extreme([-_distance(each, middle) if each else None for each in things], index, slack)

    def predicate(self) -> str:
        """See the base class."""
        return self._word("is halfway on its way", "has done half of its way", "is in the middle of its way")


EVENTS: dict[str, tuple[str, str]] = {
    # Kind: what has just happened, what is about to happen.
    "appear": ("appeared", "appear"),
    "disappear": ("disappeared", "disappear"),
    "turn": ("turned {value}", "turn {value}"),
    "grow": ("grown", "grow"),
    "shrink": ("shrunk", "shrink"),
    "start": ("started to move", "start moving"),
    "stop": ("come to rest", "come to rest"),
    "pass": ("passed the {other}", "pass the {other}"),
    "hide": ("been covered in part by the {other}", "be covered in part by the {other}"),
}


@dataclass(frozen=True)
class Event(Comparison):
    """Something happens to the thing between this frame and the one before (or, ``ahead``, the next).

    ``value`` is the colour it turns; ``other`` the thing it passes or is hidden by.
    """

    thing: Phrase
    kind: str
    ahead: bool = False
    value: str = ""
    other: Phrase | None = None

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.thing, self.other) if self.other else (self.thing,)

    @property
    def tags(self) -> tuple[str, ...]:
        """See the base class."""
        of_kind = {"turn": ("col",), "hide": ("v",), "pass": ("s",)}.get(self.kind, ())
        return (*super().tags, "con", "t", *of_kind)

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """See the base class."""
        after = index + 1 if self.ahead else index
        return 1 <= after < len(scenes) and self._happens(scenes, after, slack)

    def _happens(self, scenes: Sequence[Scene], after: int, slack: float) -> bool:
        things = track(self.thing, scenes)
        before, now = things[after - 1], things[after]
        if self.kind == "appear":
            return now is not None and not self.thing.among(scenes[after - 1])
        if self.kind == "disappear":
            return before is not None and not self.thing.among(scenes[after])
        if self.kind == "start":
            return _moved(before, now) and _rests(things[:after])
        if self.kind == "stop":
            return after < len(things) - 1 and _moved(before, now) and _rests(things[after:])
        return before is not None and now is not None and self._changes(scenes, after, before, now, slack)

    def _changes(self, scenes: Sequence[Scene], after: int, before: Thing, now: Thing, slack: float) -> bool:
        if self.other is not None:
            mark_before, mark_now = self.other.only(scenes[after - 1]), self.other.only(scenes[after])
            if mark_before is None or mark_now is None:
                return False
            if self.kind == "pass":
                return _passes(before, now, mark_now, 0.0 if slack else 0.012)
            covers = scenes[after].hides(mark_now, now, APART_GAP if slack else HIDDEN_GAP)
            return covers and before.gap(mark_before) > (HIDDEN_GAP if slack else APART_GAP - 0.03)
        return {
            "turn": before.colour != self.value == now.colour,
            "grow": before.radius < now.radius,
            "shrink": before.radius > now.radius,
        }[self.kind]

    def predicate(self) -> str:
        """See the base class."""
        done, coming = EVENTS[self.kind]
        other = self.other.noun() if self.other else ""
        if self.ahead:
            return self._word("is about to ", "will soon ") + coming.format(value=self.value, other=other)
        return "has just " + done.format(value=self.value, other=other)


def _passes(before: Thing, now: Thing, mark: Thing, margin: float) -> bool:
    """Whether the coordinate that changes more crosses that of the mark, by a margin on both sides."""
    if abs(now.x - before.x) >= abs(now.y - before.y):
        start, end, border = before.x, now.x, mark.x
    else:
        start, end, border = before.y, now.y, mark.y
    way = 1 if end > start else -1
    return abs(end - start) > STEP and way * (border - start) > margin and way * (end - border) > margin


def _rests(things: Track) -> bool:
    return all(thing is not None for thing in things) and not any(
        _moved(before, after) for before, after in pairwise(things)
    )

"""Statements about one miniature scene: how they are worded, what they are about, and when they are true."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from data_modules.miniature.phrases import POSTFIX, Phrase
from data_modules.miniature.scenes import Scene

NUMBERS = ("no", "one", "two", "three", "four", "five")


@dataclass(frozen=True, kw_only=True)
class Clause:
    """A statement that is true or false of a scene among the candidates of its set.

    Args:
        wording: Which of the possible wordings to use, any number.
        definite: The things may be called ``the``: there is only one of each in the scene described.
        known: Things that the text has mentioned already and that are called ``the`` therefore.
    """

    wording: int = field(default=0, compare=False)
    definite: bool = field(default=False, compare=False)
    known: tuple[Phrase, ...] = field(default=(), compare=False)
    phenomena: ClassVar[tuple[str, ...]] = ()
    needs_candidates: ClassVar[bool] = False
    """Whether the truth depends on the other candidates."""

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """The noun phrases of the statement."""
        return ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Codes of the phenomena, as in the annotation of IMAGECODE's validation split."""
        return (*(tag for phrase in self.phrases for tag in phrase.tags), *self.phenomena)

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """Decide whether the statement is true.

        Args:
            scenes: All candidates in order.
            index: Rank of the candidate in question.
            slack: Leniency about places as a fraction of the canvas: 0 demands that it is clearly true.
        """
        raise NotImplementedError

    def wordings(self) -> tuple[str, ...]:
        """All ways to word the statement, without a capital and a full stop."""
        raise NotImplementedError

    def text(self) -> str:
        """The statement in words."""
        wordings = self.wordings()
        return wordings[self.wording % len(wordings)]

    def label(self) -> str:
        """The statement as a noun phrase, for regions and pairs."""
        return self.wordings()[0]

    def going_on(self) -> str | None:
        """The statement about the subject of the clause before (``it …``), if that can be said."""
        return None

    def name(self, phrase: Phrase, always: bool = False) -> str:
        """A phrase with its article, ``the`` if it is known, or the only one and ``always``."""
        certain = self.definite and (always or self.wording // 3 % 2 == 1)
        return f"the {phrase.noun()}" if phrase in self.known or certain else phrase.indefinite()


class PlainClause(Clause):
    """A clause that needs neither the other candidates nor leniency."""

    def is_true(self, scene: Scene) -> bool:
        """Whether the statement is true of the scene."""
        raise NotImplementedError

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """See the base class."""
        del slack
        return self.is_true(scenes[index])


@dataclass(frozen=True)
class Exists(PlainClause):
    """There is such a thing."""

    thing: Phrase

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.thing,)

    def is_true(self, scene: Scene) -> bool:
        """See the base class."""
        return bool(self.thing.among(scene))

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        noun = self.thing.indefinite()
        return (noun, f"there is {noun}", f"{noun} is in the picture", f"you can see {noun}", noun)


@dataclass(frozen=True)
class Detailed(PlainClause):
    """There is such a thing, and it has a small detail (or none, or is ``filled``)."""

    thing: Phrase
    detail: str
    phenomena: ClassVar[tuple[str, ...]] = ("n",)

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.thing,)

    def is_true(self, scene: Scene) -> bool:
        """See the base class."""
        return bool(replace(self.thing, detail=self.detail).among(scene))

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        noun = replace(self.thing, detail=self.detail).indefinite()
        told = f"{self.name(self.thing)} {self._has()}"
        return (told,) if self.thing in self.known else (noun, told, f"there is {noun}")

    def going_on(self) -> str | None:
        """See the base class."""
        return f"it {self._has()}"

    def _has(self) -> str:
        detail = POSTFIX.get(self.detail)
        return detail.replace("with", "has") if detail else f"is {self.detail}"


@dataclass(frozen=True)
class Count(PlainClause):
    """There are exactly so many such things."""

    things: Phrase
    number: int
    phenomena: ClassVar[tuple[str, ...]] = ("q",)

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.things,)

    def is_true(self, scene: Scene) -> bool:
        """See the base class."""
        return len(self.things.among(scene)) == self.number

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        if self.number == 1:
            one = f"one {self.things.noun()}"
            return (f"only {one}", f"there is only {one}", f"just {one}", f"there is just {one}")
        many = f"{NUMBERS[self.number]} {self.things.noun(plural=True)}"
        return (many, f"there are {many}", f"you can see exactly {many}", f"exactly {many}")


@dataclass(frozen=True)
class Total(PlainClause):
    """There are so many things in all."""

    number: int
    phenomena: ClassVar[tuple[str, ...]] = ("q",)

    def is_true(self, scene: Scene) -> bool:
        """See the base class."""
        return len(scene.things) == self.number

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        if self.number == 1:
            return ("only one shape", "there is only one shape", "there is just one shape")
        number = NUMBERS[self.number]
        return (f"{number} shapes", f"there are {number} shapes in all", f"there are {number} shapes")


@dataclass(frozen=True)
class Absent(PlainClause):
    """There is no such thing."""

    things: Phrase
    phenomena: ClassVar[tuple[str, ...]] = ("neg",)

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        """See the base class."""
        return (self.things,)

    def is_true(self, scene: Scene) -> bool:
        """See the base class."""
        return not self.things.among(scene)

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        noun = self.things.noun()
        none = f"no {noun}" if self.things.letter else f"no {self.things.noun(plural=True)}"
        return (f"no {noun}", f"there is no {noun}", f"no {noun} is visible", f"you can see {none}")


@dataclass(frozen=True)
class Background(PlainClause):
    """The colour of the ground."""

    colour: str
    phenomena: ClassVar[tuple[str, ...]] = ("col",)

    def is_true(self, scene: Scene) -> bool:
        """See the base class."""
        return scene.background == self.colour

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        colour = self.colour
        return (f"a {colour} background", f"the background is {colour}", f"on a {colour} background")


@dataclass(frozen=True)
class Look(PlainClause):
    """What the picture as a whole looks like; empty for an ordinary one."""

    look: str
    phenomena: ClassVar[tuple[str, ...]] = ("img",)

    def is_true(self, scene: Scene) -> bool:
        """See the base class."""
        return scene.look == self.look

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        look = self.look or "sharp and bright"
        return (f"a {look} picture", f"the picture is {look}", f"the whole image is {look}")


@dataclass(frozen=True)
class View(PlainClause):
    """The distance from which everything is seen."""

    view: str
    phenomena: ClassVar[tuple[str, ...]] = ("img",)

    def is_true(self, scene: Scene) -> bool:
        """See the base class."""
        return scene.view == self.view

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        if not self.view:
            return ("seen from a normal distance", "neither close nor far away")
        place = "close up" if self.view == "close" else f"{self.view} away"
        return (f"seen from {place}", f"a view from {place}", f"everything is seen from {place}")


class Predicate(Clause):
    """A clause with a subject and a predicate after ``is``; the first phrase is the subject."""

    def predicate(self) -> str:
        """What follows the subject, without ``is``."""
        raise NotImplementedError

    def wordings(self) -> tuple[str, ...]:
        """See the base class."""
        rest, thing = self.predicate(), self.phrases[0]
        if thing in self.known:
            return (f"the {thing.noun()} is {rest}",)
        noun, name = thing.indefinite(), self.name(thing)
        return (f"{noun} {rest}", f"there is {noun} {rest}", f"{name} is {rest}", f"{name} is {rest}")

    def going_on(self) -> str | None:
        """See the base class."""
        return f"it is {self.predicate()}"

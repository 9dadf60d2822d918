"""Noun phrases that name things of a miniature scene, more or less exactly."""

from dataclasses import dataclass, field

from data_modules.miniature.scenes import Scene, Thing

SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
POSTFIX = {"dot": "with a white dot", "stripe": "with a white stripe", "border": "with a black border"}


@dataclass(frozen=True)
class Phrase:
    """A noun phrase; what is ``None`` is left open.

    ``detail`` may also be ``filled`` (not hollow) or ``plain`` (without any).
    """

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    detail: str | None = None
    direction: str | None = None
    letter: str | None = None
    variant: int = field(default=0, compare=False)

    def matches(self, thing: Thing) -> bool:
        """Whether the phrase names this thing truthfully."""
        # Asked hundreds of times for each text, so the properties that differ most come first.
        if self.colour not in (None, thing.colour) or self.shape not in (None, thing.shape):
            return False
        if self.detail not in (None, thing.detail):
            is_bare = (self.detail == "filled" and thing.detail != "hollow") or (
                self.detail == "plain" and not thing.detail
            )
            if not is_bare:
                return False
        return (
            self.size in (None, thing.size)
            and self.direction in (None, thing.direction)
            and self.letter in (None, thing.letter)
        )

    def among(self, scene: Scene) -> list[Thing]:
        """All things of the scene that the phrase names."""
        return [thing for thing in scene.things if self.matches(thing)]

    def only(self, scene: Scene) -> Thing | None:
        """The thing that the phrase names, if there is exactly one."""
        found = self.among(scene)
        return found[0] if len(found) == 1 else None

    def noun(self, plural: bool = False) -> str:
        """The phrase without an article."""
        word = self.shape or ("shape", "thing", "object")[self.variant % 3]
        if plural:
            word += "es" if word.endswith("s") else "s"
        size = SIZE_WORDS[self.size][self.variant // 3 % 2] if self.size else None
        detail = self.detail if self.detail in ("hollow", "filled", "plain") else None
        after = [f'"{self.letter}"'] if self.letter else []
        after += [f"pointing {self.direction}"] if self.direction else []
        after += [POSTFIX[self.detail]] if self.detail in POSTFIX else []
        return " ".join(part for part in (size, detail, self.colour, word, *after) if part)

    def indefinite(self) -> str:
        """The phrase with ``a`` or ``an`` (a bare letter takes ``the``)."""
        noun = self.noun()
        if noun.startswith("letter"):
            return f"the {noun}"
        return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Phenomena that the phrase itself brings in."""
        return (*(("col",) if self.colour else ()), *(("n",) if self.detail or self.direction else ()))

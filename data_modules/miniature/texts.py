"""Descriptions of miniature scenes: chooses statements that tell a scene apart and words them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data_modules.miniature.clauses import Absent, Background, Clause, Count, Exists, Total
from data_modules.miniature.comparisons import Comparison
from data_modules.miniature.phrases import Phrase
from data_modules.miniature.places import Hidden, Pair, Place
from data_modules.miniature.scenes import Scene
from data_modules.miniature.statements import comparisons, names_of, statements

SLACK = 0.045
"""How much more leniently places of the other candidates are judged, as a fraction of the canvas."""
MAX_CLAUSES = 5
VERBS = {"is", "are", "has", "can", "will", "was"}
MAX_WORDS = 34


@dataclass(frozen=True)
class Description:
    """A text and the statements it consists of."""

    text: str
    clauses: tuple[Clause, ...]
    propositions: tuple[str, ...]
    phenomena: tuple[str, ...]

    def holds(self, scenes: Sequence[Scene], index: int, slack: float = 0.0) -> bool:
        """Whether every statement is true of the candidate (see `Clause.holds`)."""
        return all(clause.holds(scenes, index, slack) for clause in self.clauses)


def describe(
    rng: random.Random, scenes: Sequence[Scene], index: int, *, compare: bool = False
) -> Description | None:
    """Describe one candidate so that the text is true of it and of no other.

    Args:
        rng: Source of randomness.
        scenes: All candidates in order.
        index: Rank of the candidate to describe.
        compare: Statements that depend on the other candidates may be used.

    Returns:
        The description, or ``None`` if the candidate could not be told apart.
    """
    others = [scene for i, scene in enumerate(scenes) if i != index]
    if not compare and any(_alike(other, scenes[index]) for other in others):
        return None
    names = names_of(rng, scenes[index])
    pool = statements(rng, scenes[index], others, names)
    if compare:
        pool += comparisons(rng, scenes, index, names)
    alike = {
        id(clause): {i for i in range(len(scenes)) if i != index and clause.holds(scenes, i, SLACK)}
        for clause in pool
    }
    chosen: list[Clause] = []
    left = set(range(len(scenes))) - {index}
    while left:
        useful = [c for c in pool if left - alike[id(c)] and not repeats(c, chosen)]
        if not useful or len(chosen) == MAX_CLAUSES:
            return None
        weights = [len(left - alike[id(c)]) ** 1.5 * weight(c) for c in useful]
        chosen.append(rng.choices(useful, weights)[0])
        left &= alike[id(chosen[-1])]
    _pad(rng, chosen, pool, rng.randint(8, 22))
    description = compose(rng, chosen)
    return description if len(description.text.split()) <= MAX_WORDS else None


def _alike(one: Scene, two: Scene) -> bool:
    return (one.things, one.background, one.look) == (two.things, two.background, two.look)


def weight(clause: Clause) -> float:
    """How gladly a statement is made, other things being equal."""
    if isinstance(clause, Comparison | Hidden):
        return 1.5
    if isinstance(clause, Pair):
        return 0.6
    return 0.5 if isinstance(clause, Place | Absent | Background) else 1.0


def _pad(rng: random.Random, chosen: list[Clause], pool: Sequence[Clause], words: int) -> None:
    others = rng.sample(pool, len(pool))
    if rng.random() < 0.5:
        # Rather more about what is spoken of already, as people do.
        others.sort(key=lambda clause: not any(clause.phrases[:1] == c.phrases[:1] for c in chosen))
    for clause in others:
        if sum(len(c.text().split()) + 1 for c in chosen) >= words or len(chosen) == MAX_CLAUSES:
            return
        if not repeats(clause, chosen):
            chosen.append(clause)


def repeats(clause: Clause, chosen: Sequence[Clause]) -> bool:
    """Whether a statement says again, or nearly, what is said already."""
    for other in chosen:
        same_kind = type(clause) is type(other)
        if same_kind and (not clause.phrases or clause.phrases[:1] == other.phrases[:1]):
            return True
        if same_kind and isinstance(clause, Pair) and set(clause.phrases) == set(other.phrases):
            return True
        known = other.phrases if isinstance(clause, Exists) and not isinstance(other, Absent | Count) else ()
        if any(_within(clause.phrases[0], phrase) for phrase in known):
            return True
        if isinstance(clause, Count | Absent) and isinstance(other, Count | Absent | Exists):
            one, two = clause.phrases[0], other.phrases[0]
            if _within(one, two) or _within(two, one):
                return True
    return False


def _within(less: Phrase, more: Phrase) -> bool:
    names = ("shape", "colour", "size", "detail", "direction", "letter")
    return all(getattr(less, name) in (None, getattr(more, name)) for name in names)


def compose(rng: random.Random, clauses: Sequence[Clause]) -> Description:
    """Join statements to one text of one or several sentences."""
    sentences: list[str] = []
    phenomena: list[str] = []
    said: list[Clause] = []
    for clause in _in_order(clauses):
        before = said[-1] if said else None
        words = _go_on(rng, before, clause) if before else None
        if words:
            phenomena.append("cor")
        if isinstance(clause, Total) and clause.number == 1 and said and rng.random() < 0.6:
            words = "nothing else is in the picture"
        words = words or _known(clause, said).text()
        phenomena += clause.tags
        said.append(clause)
        joint = _joint(rng, sentences[-1], words) if sentences else ""
        if joint:
            sentences[-1] += joint + words
        else:
            sentences.append(words)
    capital, stop = rng.random() < 0.75, "." if rng.random() < 0.7 else ""
    if capital:
        sentences = [sentence[0].upper() + sentence[1:] for sentence in sentences]
    propositions = tuple(clause.text() for clause in said)
    return Description(
        ". ".join(sentences) + stop, tuple(said), propositions, tuple(dict.fromkeys(phenomena))
    )


def _in_order(clauses: Sequence[Clause]) -> list[Clause]:
    """Statements about the first subject first, statements about the whole picture last."""
    first = next((clause.phrases[0] for clause in clauses if clause.phrases), None)

    def rank(clause: Clause) -> int:
        if not clause.phrases:
            return 2
        return 0 if clause.phrases[0] == first else 1

    return sorted(clauses, key=rank)


def _known(clause: Clause, said: Sequence[Clause]) -> Clause:
    mentioned = [phrase for before in said if not isinstance(before, Absent) for phrase in before.phrases]
    return replace(clause, known=tuple(p for p in clause.phrases if clause.definite and p in mentioned))


def _go_on(rng: random.Random, before: Clause, clause: Clause) -> str | None:
    """The statement with ``it`` if it is about the same thing as the one before."""
    same = before.definite and clause.definite and before.phrases[:1] == clause.phrases[:1]
    if not same or isinstance(before, Count | Absent) or rng.random() < 0.15:
        return None
    return _known(clause, [before]).going_on()


def _joint(rng: random.Random, sentence: str, words: str) -> str:
    """What joins two statements to one sentence; empty for a new sentence."""
    if rng.random() < 0.4 or sum(sentence.count(joint) for joint in (",", " and ", " while ")) > 1:
        return ""
    if _is_sentence(sentence) != _is_sentence(words):
        return ", " if rng.random() < 0.5 else ""
    joints = [" and ", " and ", ", ", ", and "]
    if _is_sentence(words) and not words.startswith("it "):
        joints.append(" while ")
    return rng.choice(joints)


def _is_sentence(words: str) -> bool:
    return not VERBS.isdisjoint(words.split())

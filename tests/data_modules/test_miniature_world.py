import itertools
import random
import re
from pathlib import Path

import numpy as np
import pytest

from data_modules.miniature.clauses import Count, Exists
from data_modules.miniature.comparisons import Event, Extreme
from data_modules.miniature.families import FAMILIES, FAMILY_SIZE, captions, draw_family
from data_modules.miniature.lessons import draw_lesson, full_caption
from data_modules.miniature.pairs import TYPES, draw_pair
from data_modules.miniature.phrases import Phrase
from data_modules.miniature.places import Beside, Hidden, Place, Unhidden
from data_modules.miniature.render import render
from data_modules.miniature.scenes import COLOURS, Scene, Thing, draw_scene
from data_modules.miniature.sets import CANDIDATES, KINDS, CandidateSet, draw_set
from data_modules.miniature.statements import names_of, statements
from data_modules.miniature.texts import SLACK
from data_modules.miniature.vocabulary import SPECIAL_TOKENS, VOCABULARY_SIZE, vocabulary
from data_modules.miniature.writers import Recipe

PUNCTUATION = re.compile(r"[,.'!?\"()*#:;~]")


def lot(part: str, number: int) -> random.Random:
    return Recipe(Path(), 0, 64).rng(part, number)


@pytest.fixture(scope="module")
def sets() -> list[CandidateSet]:
    return [draw_set(lot("test", i), is_video=i % 4 > 0) for i in range(240)]


def test_every_query_is_true_of_its_target_alone(sets: list[CandidateSet]) -> None:
    assert sum(len(each.queries) for each in sets) > 400
    check_queries(sets)


@pytest.mark.slow
def test_thousands_of_queries_are_true_of_their_target_alone() -> None:
    drawn = [draw_set(lot("many", i), is_video=i % 4 > 0) for i in range(2_000)]
    assert sum(len(each.queries) for each in drawn) > 4_000
    check_queries(drawn)


def check_queries(sets: list[CandidateSet]) -> None:
    for each, query in [(drawn, query) for drawn in sets for query in drawn.queries]:
        lenient = [query.description.holds(each.scenes, i, SLACK) for i in range(CANDIDATES)]
        assert query.description.holds(each.scenes, query.target), query.description.text
        assert lenient == [i == query.target for i in range(CANDIDATES)], query.description.text


def test_lenient_truth_includes_strict_truth(sets: list[CandidateSet]) -> None:
    for each in sets:
        for query, rank in itertools.product(each.queries, range(CANDIDATES)):
            for clause in query.description.clauses:
                assert not clause.holds(each.scenes, rank) or clause.holds(each.scenes, rank, SLACK), clause


def test_descriptions_are_varied(sets: list[CandidateSet]) -> None:
    descriptions = [query.description for each in sets for query in each.queries]
    words = [len(description.text.split()) for description in descriptions]
    assert max(words) <= 34
    assert np.mean(np.array(words) >= 8) > 0.9
    codes = {code for description in descriptions for code in description.phenomena}
    assert codes == {"con", "q", "s", "neg", "v", "n", "cor", "col", "t", "img"}
    assert 0.25 < np.mean([". " in description.text for description in descriptions]) < 0.75
    assert all(len(d.propositions) == len(d.clauses) for d in descriptions)
    of_videos = [q.description for each in sets if each.is_video for q in each.queries]
    comparing = np.mean([any(c.needs_candidates for c in description.clauses) for description in of_videos])
    assert 0.4 < comparing < 0.8


def test_targets_are_bell_shaped_in_videos_and_every_kind_of_change_occurs(sets: list[CandidateSet]) -> None:
    targets = [query.target for each in sets if each.is_video for query in each.queries]
    counts = np.bincount(targets, minlength=CANDIDATES)
    assert counts[3:7].mean() > 1.3 * counts[[0, 9]].mean()
    assert {kind for each in sets for kind in each.kinds} == set(KINDS)
    assert all(len(each.kinds) in (1, 2) for each in sets if each.is_video)
    assert all(len({query.target for query in each.queries}) == len(each.queries) for each in sets)


def test_frames_of_a_video_differ_a_little_and_static_scenes_much(sets: list[CandidateSet]) -> None:
    def spread(each: CandidateSet) -> float:
        pixels = np.stack([np.asarray(render(scene, 64), dtype=float) for scene in each.scenes])
        assert all(not np.array_equal(a, b) for a, b in itertools.combinations(pixels, 2))
        return float(np.abs(pixels - pixels.mean(0)).mean())

    videos = [spread(each) for each in sets[:80] if each.is_video]
    static = [spread(each) for each in sets[:80] if not each.is_video]
    assert np.mean(videos) < 0.6 * np.mean(static)


SQUARE = Thing("square", "red", "large", 0.3, 0.5, key=0)
STAR = Thing("star", "blue", "small", 0.7, 0.5, key=1)


def test_checkers_on_scenes_made_by_hand() -> None:
    scene = [Scene((SQUARE, STAR))]
    square, star = Phrase("square"), Phrase("star", "blue")
    assert Beside(square, star, "left").holds(scene, 0)
    assert not Beside(square, star, "right").holds(scene, 0, SLACK)
    assert Place(square, "left").holds(scene, 0)
    assert not Place(square, "top").holds(scene, 0, SLACK)
    assert Count(Phrase(None, "red"), 1).holds(scene, 0)
    assert not Count(Phrase("ring"), 1).holds(scene, 0)
    assert Unhidden(star).holds(scene, 0)
    assert not Exists(Phrase("star", "blue", size="large")).holds(scene, 0)
    covered = [Scene((STAR, SQUARE.moved(0.55, 0.5)))]
    assert Hidden(star, square).holds(covered, 0)
    assert not Hidden(square, star).holds(covered, 0, SLACK)
    assert not Unhidden(star).holds(covered, 0, SLACK)


def test_comparing_checkers_on_frames_made_by_hand() -> None:
    places = (0.3, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.8, 0.8, 0.8)
    star = STAR.moved(0.56, 0.2)
    frames = [Scene((SQUARE.moved(x, 0.7), star) if i < 9 else (star,)) for i, x in enumerate(places)]
    square, mark = Phrase("square"), Phrase("star")
    expected = {
        Event(square, "start"): [2],
        Event(square, "start", ahead=True): [1],
        Event(square, "stop"): [],
        Event(square, "disappear"): [9],
        Event(square, "disappear", ahead=True): [8],
        Event(square, "pass", other=mark): [4],
        Extreme(square, "left"): [],
        Extreme(mark, "left"): [],
    }
    for clause, ranks in expected.items():
        assert [i for i in range(CANDIDATES) if clause.holds(frames, i)] == ranks, clause
    stays = [Scene((SQUARE.moved(x, 0.7),)) for x in places]
    assert [i for i in range(CANDIDATES) if Event(square, "stop").holds(stays, i)] == [6]
    moved = [*stays[:9], Scene((SQUARE.moved(0.85, 0.7),))]
    assert [i for i in range(CANDIDATES) if Extreme(square, "right").holds(moved, i)] == [9]


def differing(first: Scene, second: Scene) -> set[str]:
    if first.view != second.view:
        return {"view"}
    whole = {name for name in ("background", "look") if getattr(first, name) != getattr(second, name)}
    if len(first.things) != len(second.things):
        return whole | {"count"}
    if [t.key for t in first.things] != [t.key for t in second.things]:
        return whole | {"hidden"}
    names = ("shape", "colour", "size", "detail", "direction", "letter")
    for a, b in zip(first.things, second.things, strict=True):
        whole |= {name for name in names if getattr(a, name) != getattr(b, name)}
        whole |= {"place"} if (a.x, a.y) != (b.x, b.y) else set()
    return whole


@pytest.mark.parametrize("kind", FAMILIES)
def test_family_differs_in_exactly_one_property(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_modules.miniature.families.FAMILIES", {kind: FAMILIES[kind]})
    expected = {"place"} if kind in ("move", "nudge", "relation") else {kind}
    for i in range(20):
        rng = lot(kind, i)
        name, family = draw_family(rng)
        assert name == kind
        assert len(family) == FAMILY_SIZE
        for one, two in itertools.combinations(family, 2):
            # Which of two overlapping things lies on top shows as an order or as a place.
            allowed = [{"hidden"}, {"place"}] if kind == "hidden" else [expected]
            assert differing(one, two) in allowed


def test_most_captions_tell_a_scene_from_a_sibling() -> None:
    telling: list[bool] = []
    for i in range(150):
        rng = lot("captions", i)
        _, family = draw_family(rng)
        for index in range(FAMILY_SIZE):
            made = captions(rng, family, index, 3)
            assert all(caption.holds(family, index) for caption in made)
            others = [j for j in range(FAMILY_SIZE) if j != index]
            telling += [not all(caption.holds(family, j, SLACK) for j in others) for caption in made]
    assert np.mean(telling) > 0.75


@pytest.mark.parametrize("most", [1, 2])
def test_lessons_name_every_thing_and_where_it_is(most: int) -> None:
    rng = lot("lesson", most)
    scenes = draw_lesson(rng, most, 200)
    assert {len(scene.things) for scene in scenes} == set(range(1, most + 1))
    assert {"arrow", "letter"} <= {thing.shape for scene in scenes for thing in scene.things}
    for scene in scenes:
        caption = full_caption(rng, scene)
        assert caption.holds([scene], 0), caption.text
        assert len(caption.clauses) == len(scene.things)
        for thing in scene.things:
            assert thing.shape in caption.text.lower()
            assert thing.colour in caption.text.lower()
            assert (thing.direction or thing.letter.lower()) in caption.text.lower()


def test_statements_are_true_where_they_are_made() -> None:
    for i in range(60):
        rng = lot("statements", i)
        scene = draw_scene(rng, rng.randint(1, 4), hidden=0.3)
        made = statements(rng, scene, [draw_scene(rng, 3)], names_of(rng, scene))
        assert len(made) > 4
        assert all(clause.holds([scene], 0) for clause in made)


def test_pictures_show_the_colour_where_the_scene_says() -> None:
    for i in range(40):
        scene = draw_scene(lot("pixels", i), 3, ("circle", "square", "heart", "cross"), detail=0)
        pixels = np.asarray(render(scene, 64), dtype=int)
        for thing in scene.things:
            found = pixels[int(thing.y * 64), int(thing.x * 64)]
            assert np.abs(found - COLOURS[thing.colour]).max() < 8


@pytest.mark.parametrize("pattern", TYPES)
def test_pair_statements_hold_for_their_own_picture_only(pattern: str) -> None:
    for i in range(20):
        pair = draw_pair(lot(pattern, i), pattern)
        assert pair.statements[0] != pair.statements[1]
        for own, clause in enumerate(pair.clauses):
            assert [clause.holds(pair.scenes, j, SLACK) for j in range(2)] == [j == own for j in range(2)]


def test_vocabulary_has_every_word_as_one_token(sets: list[CandidateSet]) -> None:
    tokens = vocabulary()
    assert len(set(tokens)) == len(tokens) == VOCABULARY_SIZE == 510
    assert tuple(tokens[:5]) == SPECIAL_TOKENS
    texts = [query.description.text for each in sets for query in each.queries]
    for i in range(400):
        rng = lot("words", i)
        _, family = draw_family(rng)
        texts += [caption.text for j in range(FAMILY_SIZE) for caption in captions(rng, family, j, 3)]
        texts += [f"a photo of {text}" for text in draw_pair(rng, list(TYPES)[i % 9]).statements]
    words = {word for text in texts for word in PUNCTUATION.sub("", text.lower()).split()}
    assert words <= set(tokens), sorted(words - set(tokens))
    assert len(texts) > 5000

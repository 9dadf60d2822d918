"""What is not compared, and what is said about it."""

from collections.abc import Callable
from typing import Any

import pytest

from contextblip.comparison import compare_runs
from contextblip.comparison.words import sentences
from contextblip.errors import ConfigurationError
from contextblip.runs import Run, read_run

WriteRun = Callable[..., Run]
Rows = Callable[..., list[dict[str, Any]]]


def refusal(*runs: Run, common: bool = False) -> str:
    with pytest.raises(ConfigurationError) as caught:
        compare_runs(runs[:1], runs[1:], common=common)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_other_queries(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("110101")), write_run("b", answers("1101"))
    assert refusal(a, b) == (
        f"the runs answered different queries: 2 queries only in {a.folder} (first: set2:0); "
        "--common compares the 4 of both"
    )
    lone = write_run("lone", [*answers("11"), *answers("10", set="other")[:1]])
    message = refusal(b, lone)
    assert f"2 queries only in {b.folder} (first: set1:0)" in message
    assert f"1 query only in {lone.folder} (first: other:0)" in message


def test_nothing_in_common(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("11")), write_run("b", answers("11", set="other"))
    assert refusal(a, b, common=True) == "the runs have no query in common"


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": 0}, "target differs in 1 query (first: set1:0, 1 and 0)"),
        ({"text": "a blue ball"}, "text differs in 1 query (first: set1:0, 'a red ball' and 'a blue ball')"),
        ({"logits": [1.0, 2.0]}, "number of candidates differs in 1 query (first: set1:0, 3 and 2)"),
        ({"is_video": True}, "kind (video or static) differs in 1 query (first: set1:0, False and True)"),
    ],
)
def test_other_content(
    write_run: WriteRun, answers: Rows, changed: dict[str, Any], said: str, common: bool
) -> None:
    rows = answers("1101")
    other = [*rows[:2], rows[2] | changed, rows[3]]
    a, b = write_run("a", rows), write_run("b", other)
    message = refusal(a, b, common=common)
    assert f"{a.folder} and {b.folder} are not on the same data: {said}" in message


@pytest.mark.parametrize(
    ("keys", "origin"),
    [
        ({"test_split": "test"}, "IMAGECODE test (real images)"),
        ({"root": "miniature:images"}, "IMAGECODE valid (miniature images)"),
        ({"data": "MMVPVLM"}, "MMVP-VLM mmvp_vlm (real images)"),
    ],
)
@pytest.mark.parametrize("common", [False, True])
def test_other_data(
    write_run: WriteRun, answers: Rows, keys: dict[str, str], origin: str, common: bool
) -> None:
    a, b = write_run("a", answers("11")), write_run("b", answers("11"), **keys)
    message = refusal(a, b, common=common)
    assert message.startswith(
        f"{a.folder} is on IMAGECODE valid (real images), {b.folder} on {origin}; only runs on"
    )


def test_unlabelled_answers(write_run: WriteRun, answers: Rows) -> None:
    rows = [*answers("11"), answers("111", target=None)[2]]
    a = write_run("a", rows)
    message = refusal(a, write_run("b", answers("111")))
    assert message.startswith(f"{a.folder}: 1 of 3 queries have no target")
    assert "secret" in message


def test_answers_that_a_later_predict_replaced(write_run: WriteRun, answers: Rows) -> None:
    a = write_run("a", answers("111", target=None))
    assert refusal(a, write_run("b", answers("111"))) == (
        f"{a.folder}: 3 of 3 queries have no target, so a later `lightning predict` replaced the answers of "
        "its test; test again"
    )


def test_the_settings_compared_are_those_of_the_answers(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("1101")), write_run("b", answers("1101"))
    config = (a.folder / "config.yaml").read_text()
    (a.folder / "config_test.yaml").write_text(config.replace("mask_ratio: 0.25", "mask_ratio: 0.5"))
    assert read_run(a.folder).model["mask_ratio"] == 0.5
    (a.folder / "configs.json").write_text('{"predictions.jsonl": "config.yaml"}')
    assert compare_runs([read_run(a.folder)], [b]).settings == {}


def test_broken_predictions(write_run: WriteRun, answers: Rows) -> None:
    good = write_run("good", answers("11"))
    assert "holds no predictions" in refusal(write_run("empty", []), good)
    twice = write_run("twice", [*answers("11"), *answers("1")])
    assert "1 query more than once among the predictions (first: set0:0)" in refusal(twice, good)
    rows = answers("11")
    del rows[1]["logits"]
    assert "the predictions have no 'logits' in row 2" in refusal(write_run("old", rows), good)


def test_groups(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("11")), write_run("b", answers("11"))
    assert "is named more than once" in refusal(a, a)
    assert "is named more than once" in refusal(a, b, b)
    assert refusal(a).startswith("B has no run")


def test_unlike_runs_are_no_seeds_of_one_group(write_run: WriteRun, answers: Rows) -> None:
    a = write_run("a", answers("11"))
    tuned = write_run("tuned", answers("11"), task="FineTuning", seed=10)
    ranked = write_run("ranked", answers("11"), task="InterContext", seed=10)
    assert refusal(a, tuned, ranked) == (
        f"B: {tuned.folder} and {ranked.folder} differ in more than their seeds (model.class_path FineTuning "
        "-> InterContext); give runs of one configuration to each of A and B"
    )
    halved = write_run("halved", answers("11"), model={"mask_ratio": 0.5}, max_words=20)
    assert "(model.mask_ratio 0.25 -> 0.5, data.max_words - -> 20)" in refusal(tuned, a, halved)


def test_what_follows_the_seed_makes_no_run_unlike(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("11")), []
    for seed in (1, 2):
        base = write_run(f"base{seed}", answers("11"), seed=seed, task="Pretraining")
        checkpoint = str(base.folder / "checkpoints" / f"epoch={seed}.ckpt")
        model: dict[str, object] = {"init_from": checkpoint, "backbone": str(base.folder / "backbone")}
        b.append(write_run(f"b{seed}", answers("11"), model=model, seed=seed))
    assert compare_runs([a], b).doubts == ()
    fresh = write_run("fresh", answers("11"), model={"init_from": None, "backbone": "backbone"})
    assert "(model.init_from a checkpoint -> -)" in refusal(a, b[0], fresh)


def test_sources_that_are_unlike_are_named(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("11")), []
    for name, ratio in (("quarter", 0.25), ("half", 0.5)):
        base = write_run(name, answers("11"), task="Pretraining", model={"mask_ratio": ratio})
        model: dict[str, object] = {"init_from": str(base.folder / "checkpoints" / "last.ckpt")}
        b.append(write_run(f"from_{name}", answers("11"), model=model))
    (doubt,) = compare_runs([a], b).doubts
    assert doubt.startswith("The runs of B are not alike: they started from ")
    assert doubt.endswith("which differ in more than their seeds (model.mask_ratio 0.25 -> 0.5).")
    assert doubt in sentences(compare_runs([a], b))

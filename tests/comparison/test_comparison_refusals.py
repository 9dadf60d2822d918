"""What is not compared, and what is said about it."""

from collections.abc import Callable
from typing import Any

import pytest

from contextblip.comparison import compare_runs
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

"""What a comparison says: sentences, tables, Markdown, JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contextblip.comparison import Row, compare_runs
from contextblip.comparison.settings import show_settings
from contextblip.comparison.tables import print_terminal, to_markdown, write_json
from contextblip.comparison.words import p_value, points, sentences, short_p, subset_name, verdict
from contextblip.estimates import Interval
from contextblip.runs import Run

WriteRun = Callable[..., Run]
Rows = Callable[..., list[dict[str, Any]]]


def row(section: str = "", name: str = "all", **changed: Any) -> Row:  # noqa: ANN401
    some = Interval(0.1, 0.2)
    values: dict[str, Any] = {
        "accuracy_a": 0.3,
        "interval_a": some,
        "accuracy_b": 0.312,
        "interval_b": some,
        "n": 2302,
    }
    values |= {"difference": 0.012, "interval": Interval(-0.006, 0.03), "only_a": 141, "only_b": 169}
    return Row(section, name, **(values | {"p": 0.21, "p_holm": None, "smallest": 0.0156} | changed))


def test_the_verdict() -> None:
    assert verdict(row(), "query") == (
        "A and B cannot be told apart: 1.2 points, 95% interval -0.6 to 3.0, p = 0.21 "
        "(2,302 queries, 310 flips)."
    )
    better = row(p=0.0004, interval=Interval(0.004, 0.02))
    assert verdict(better, "query").startswith(
        "B is better than A: 1.2 points, 95% interval 0.4 to 2.0, p < 0.001"
    )
    worse = row(p=0.0004, difference=-0.012, interval=Interval(-0.02, -0.004))
    assert verdict(worse, "query").startswith(
        "A is better than B: 1.2 points, 95% interval 0.4 to 2.0, p < 0.001"
    )
    few = row(interval=None, n=1, only_a=0, only_b=1, difference=1.0, p=1.0)
    assert verdict(few, "pair") == "A and B cannot be told apart: 100.0 points, p = 1.00 (1 pair, 1 flip)."
    same = row(only_a=0, only_b=0, interval=None, difference=0.0, p=1.0)
    assert verdict(same, "query") == "A and B cannot be told apart: they are right on the same 2,302 queries."


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (1.0, "1.00"),
        (0.214, "0.21"),
        (0.0312, "0.031"),
        (0.0499, "<0.05"),
        (0.0501, "0.050"),
        (0.00049, "<0.001"),
    ],
)
def test_p_values(p: float, shown: str) -> None:
    assert short_p(p) == shown
    assert p_value(p) == (f"p < {shown[1:]}" if shown.startswith("<") else f"p = {shown}")


def test_points_have_no_negative_zero() -> None:
    assert points(-0.0004) == "0.0"
    assert points(0.3125) == "31.2"


def test_names_of_subsets() -> None:
    names = [
        ("propositions", "1"),
        ("propositions", "6"),
        ("words", "41+"),
        ("phenomenon", "meta_properties"),
    ]
    shown = [subset_name(row(*name)) for name in names]
    assert shown == ["1 proposition", "6 propositions", "41+ words", "meta properties"]


def test_one_point_on_the_validation_split_is_noise(write_run: WriteRun, answers: Rows) -> None:
    a = write_run("a", answers("1" * 141 + "0" * 169 + "1" * 600 + "0" * 1392))
    b = write_run("b", answers("0" * 141 + "1" * 169 + "1" * 600 + "0" * 1392))
    said = sentences(compare_runs([a], [b]))
    assert said[0].startswith("A and B cannot be told apart: 1.2 points, 95% interval -0.")
    assert said[0].endswith("p = 0.13 (2,302 queries, 310 flips).")
    assert said[1].startswith("One run each: how much another seed would change is not known")
    assert said[2] == (
        "With 310 flips on 2,302 queries, a difference below 1.6 points cannot be told from noise (p < 0.05)."
    )
    assert said[3] == "Of 2 subsets, p corrected for their number (Holm), none tells A and B apart."


def test_few_flips_are_said_to_show_nothing(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("0" * 5 + "1" * 9)), write_run("b", answers("1" * 14))
    assert "5 flips can show no difference, not even all in one direction." in sentences(
        compare_runs([a], [b])
    )


def test_better_subsets_are_named(write_run: WriteRun, query: Callable[..., dict[str, Any]]) -> None:
    def rows(right: bool) -> list[dict[str, Any]]:
        return [query(n, n >= 9 or right, is_video=n < 9) for n in range(30)]

    a, b = write_run("a", rows(False)), write_run("b", rows(True))
    (said,) = [line for line in sentences(compare_runs([a], [b])) if line.startswith("Of 3 subsets")]
    assert "better is B on video (100.0 points, n = 9), B on 1-10 words (30.0 points, n = 30)" in said
    assert said.endswith("1 cannot tell A and B apart.")


def test_seeds_have_their_say(write_run: WriteRun, answers: Rows) -> None:
    patterns = {"a1": "0" * 12, "a2": "1" * 4 + "0" * 8, "b1": "1" * 12, "b2": "1" * 6 + "0" * 6}
    runs = {name: write_run(name, answers(text), seed=int(name[1])) for name, text in patterns.items()}
    both = sentences(compare_runs([runs["a1"], runs["a2"]], [runs["b1"], runs["b2"]]))
    assert both[0].startswith("On these runs B is better than A: 58.3 points")
    assert both[1].startswith(
        "Over runs: A 16.7 ± 23.6 (2 runs), B 75.0 ± 35.4 (2 runs); B - A is 58.3 points"
    )
    assert "seeds alone may explain it" in both[1]
    one = sentences(compare_runs([runs["a1"]], [runs["b1"], runs["b2"]]))
    assert "A 0.0 (1 run), B 75.0 ± 35.4 (2 runs); A is one run" in one[1]


@pytest.fixture
def flipped(write_run: WriteRun, answers: Rows) -> tuple[Run, Run]:
    text = "a *red* ball\n[left] of | it"
    a, b = answers("1" * 4 + "0" * 12, text=text), answers("0" * 4 + "1" * 12, text=text)
    return write_run("a", a), write_run("b", b)


def test_the_table_fits_and_lists_flips(flipped: tuple[Run, Run], capsys: pytest.CaptureFixture[str]) -> None:
    found = compare_runs([flipped[0]], [flipped[1]])
    print_terminal(found)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 110
    assert lines[0] == "IMAGECODE valid (real images); B - A in percentage points"
    (whole,) = [line.split() for line in lines if line.startswith(" all ")]
    assert whole[1:3] == ["16", "25.0"]
    assert whole[-2:] == ["4:12", "0.077"]
    assert "McNemar's exact test" in shown
    assert "Flips (set" not in shown
    print_terminal(found, flips=2)
    listed = [line for line in capsys.readouterr().out.splitlines() if " only: set" in line]
    assert listed == [
        f"  {better} only: {name} target 1, {predictions}: a *red* ball [left] of | it"
        for better, name, predictions in (
            ("A", "set0:0", "A 1, B 2"),
            ("A", "set1:0", "A 1, B 2"),
            ("B", "set2:0", "A 2, B 1"),
            ("B", "set5:0", "A 2, B 1"),
        )
    ]


def test_markdown_is_a_table_and_texts_stay_texts(flipped: tuple[Run, Run]) -> None:
    text = to_markdown(compare_runs([flipped[0]], [flipped[1]]), flips=1)
    lines = text.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0] == "| subset | n | A % | B % | B - A | flips | p | Holm p |"
    assert {line.count("|") for line in table} == {9}
    assert lines[lines.index(table[0]) - 1] == ""
    assert "**A and B cannot be told apart: 50.0 points" in text
    assert r"- A only: set0:0 target 1, A 1, B 2: a \*red\* ball \[left\] of \| it" in lines


def test_json_has_all(flipped: tuple[Run, Run], tmp_path: Path) -> None:
    found = compare_runs([flipped[0]], [flipped[1]])
    path = tmp_path / "new" / "found.json"
    write_json(found, path)
    content = json.loads(path.read_text())
    whole = content["rows"][0]
    assert (whole["name"], whole["n"], whole["difference"], whole["better"]) == ("all", 16, 0.5, None)
    assert content["a"]["over_seeds"] == {"mean": 0.25, "sd": None, "n": 1}
    assert len(content["flips"]) == 16
    assert content["words"] == sentences(found)


def test_settings_are_shown_on_a_line() -> None:
    settings: dict[str, tuple[Any, Any]] = {
        "model.class_path": ("contextblip.tasks.ZeroShot", "contextblip.tasks.FineTuning")
    }
    settings |= {f"model.key{n}": (None, str(n)) for n in range(3)}
    assert (
        show_settings(settings, 2) == "model.class_path ZeroShot -> FineTuning, model.key0 - -> 0, and 2 more"
    )

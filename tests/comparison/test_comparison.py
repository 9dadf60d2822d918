"""Numbers of a comparison against hand counts, scipy and the metrics."""

import itertools
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import stats

from contextblip.comparison import Row, compare_runs
from contextblip.estimates import mcnemar_exact, wilson_of_share
from contextblip.metrics import RetrievalAccuracy
from contextblip.runs import Run
from contextblip.types import Query

WriteRun = Callable[..., Run]
Rows = Callable[..., list[dict[str, Any]]]


def by_name(rows: tuple[Row, ...]) -> dict[str, Row]:
    return {f"{row.section} {row.name}".strip(): row for row in rows}


def test_two_runs_by_hand(write_run: WriteRun, answers: Rows) -> None:
    # 20 queries: 8 right in both, 1 in A alone, 9 in B alone, 2 in neither
    a = write_run("a", answers("1" * 8 + "1" + "0" * 9 + "00"))
    b = write_run("b", answers("1" * 8 + "0" + "1" * 9 + "00"))
    row = compare_runs([a], [b]).rows[0]
    assert (row.n, row.accuracy_a, row.accuracy_b) == (20, 0.45, 0.85)
    assert row.difference == pytest.approx(0.4)
    assert (row.only_a, row.only_b, row.flips) == (1, 9, 10)
    assert row.p == pytest.approx(2 * (1 + 10) / 1024)
    assert row.p == mcnemar_exact(1, 9)
    assert row.interval_a == wilson_of_share(0.45, 20)
    assert row.better == "B"
    assert row.smallest == pytest.approx(8 / 20)  # 9 : 1 is p = 0.021, 8 : 2 is p = 0.11
    assert row.interval is not None
    assert 0.1 <= row.interval.low < 0.4 < row.interval.high <= 0.65


def test_swapped_runs_give_the_mirrored_answer(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("110000000011")), write_run("b", answers("101111111111"))
    there, back = compare_runs([a], [b]).rows[0], compare_runs([b], [a]).rows[0]
    assert (there.better, back.better) == ("B", "A")
    assert back.difference == -there.difference
    assert back.p == there.p
    assert (back.only_a, back.only_b) == (there.only_b, there.only_a)


def test_runs_that_are_right_on_the_same_queries_do_not_differ(write_run: WriteRun, answers: Rows) -> None:
    rows = answers("110100110101")
    other = [row | {"prediction": 0} if row["prediction"] == 2 else row for row in rows]
    row = compare_runs([write_run("a", rows)], [write_run("b", other)]).rows[0]
    assert (row.flips, row.p, row.interval, row.smallest, row.better) == (0, 1.0, None, None, None)


def test_queries_are_paired_by_id_and_not_by_row(write_run: WriteRun, answers: Rows) -> None:
    rows = answers("1100101")
    found = compare_runs([write_run("a", rows)], [write_run("b", reversed(rows))])
    assert found.rows[0].flips == 0


def test_subsets_are_those_of_the_metrics(write_run: WriteRun) -> None:
    dice = np.random.default_rng(4)
    rows = []
    for n in range(60):
        phenomena = dice.permutation(["spatial", "negation", "temporal"])[: dice.integers(3)].tolist()
        words = int(dice.choice([1, 10, 11, 20, 21, 30, 31, 40, 41, 60]))
        rows.append(
            {
                "set": f"set{n}",
                "query_index": 0,
                "text": " ".join(["word"] * words),
                "target": 0,
                "logits": [1.0, 0.0],
                "prediction": int(dice.integers(2)),
                "is_video": bool(dice.random() < 0.7),
                "phenomena": phenomena,
                "n_propositions": [None, 1, 2, 6][dice.integers(4)],
                "challenging": bool(dice.random() < 0.3),
            }
        )
    flipped = [row | {"prediction": int(dice.integers(2))} for row in rows]
    found = by_name(compare_runs([write_run("a", rows)], [write_run("b", flipped)]).rows)
    metric = RetrievalAccuracy()
    more: dict[str, Any] = {"frames": [], "samples": []}  # other groups of the metrics rest on these
    queries = [cast(Query, row | more | {"set_name": row["set"]}) for row in rows]
    correct = torch.tensor([row["prediction"] == 0 for row in rows])
    metric.update_queries(correct, torch.tensor([row["is_video"] for row in rows]), queries)
    names = {"accuracy": "all", "accuracy_video": "subset video", "accuracy_static": "subset static"}
    names["accuracy/challenging"] = "subset challenging"
    counted = {
        group: share
        for group, share in metric.compute().items()
        if group.startswith("accuracy") and "sample" not in group
    }
    for group, share in counted.items():
        name = group.removeprefix("accuracy/")
        part, _, rest = name.partition("_")
        listed = part in ("propositions", "words")
        row = found[names.get(group) or (f"{part} {rest}" if listed else f"phenomenon {name}")]
        assert row.n == share.n
        assert row.accuracy_a == pytest.approx(share.value)
    assert len(found) == len(counted)


def test_p_of_subsets_is_corrected_by_holm(write_run: WriteRun, query: Callable[..., dict[str, Any]]) -> None:
    # video: 0 against 6 flips, p = 1/32; static: 0 against 7, p = 1/64; both have fewer than 11 words
    def rows(right: bool) -> list[dict[str, Any]]:
        return [query(n, right, is_video=n < 6) for n in range(13)]

    found = by_name(compare_runs([write_run("a", rows(False))], [write_run("b", rows(True))]).rows)
    assert found["all"].p_holm is None
    assert found["words 1-10"].p_holm == pytest.approx(3 * 2 / 2**13)
    assert found["subset static"].p_holm == pytest.approx(2 / 64)
    assert found["subset video"].p_holm == pytest.approx(1 / 32)
    assert found["subset video"].better == "B"


def test_correction_takes_a_finding_back(write_run: WriteRun, query: Callable[..., dict[str, Any]]) -> None:
    def rows(right: bool) -> list[dict[str, Any]]:
        return [query(n, n >= 6 or right, is_video=n < 6) for n in range(30)]

    found = by_name(compare_runs([write_run("a", rows(False))], [write_run("b", rows(True))]).rows)
    video = found["subset video"]
    assert video.p == pytest.approx(1 / 32)
    assert video.p_holm == pytest.approx(3 / 32)
    assert found["all"].better == "B"
    assert video.better is None


def test_annotations_that_one_run_lacks_come_from_the_other(
    write_run: WriteRun, query: Callable[..., dict[str, Any]]
) -> None:
    old = [query(n, True) for n in range(4)]
    for row in old:
        del row["challenging"], row["n_propositions"]
    new = [query(n, True, challenging=True, n_propositions=2, phenomena=["negation"]) for n in range(4)]
    found = by_name(compare_runs([write_run("a", old)], [write_run("b", new)]).rows)
    assert {found[name].n for name in ("subset challenging", "propositions 2", "phenomenon negation")} == {4}


def test_pairs_are_right_as_a_whole(write_run: WriteRun, pair: Rows) -> None:
    good, bad, tie = ([1.0, 0.0], [0.0, 1.0]), ([1.0, 0.0], [1.0, 0.0]), ([1.0, 0.0], [1.0, 1.0])
    lost: tuple[list[float | None], list[float | None]] = ([1.0, None], [1.0, None])
    found: tuple[list[float | None], list[float | None]] = ([1.0, None], [None, 1.0])
    a = [*pair("1-2", "Color", *good), *pair("3-4", "Color", *bad), *pair("5-6", "Text", *tie)]
    b = [*pair("1-2", "Color", *good), *pair("3-4", "Color", *good), *pair("5-6", "Text", *good)]
    a += pair("7-8", "Text", *lost)
    b += pair("7-8", "Text", *found)
    runs = [write_run(name, rows, data="MMVPVLM") for name, rows in (("a", a), ("b", b))]
    result = compare_runs([runs[0]], [runs[1]])
    rows = by_name(result.rows)
    assert result.unit == "pair"
    assert (rows["all"].n, rows["all"].accuracy_a, rows["all"].accuracy_b) == (4, 0.25, 1.0)
    assert (rows["all"].only_a, rows["all"].only_b) == (0, 3)
    assert list(rows) == ["all", "type Color", "type Text"]
    assert (rows["type Color"].only_b, rows["type Text"].only_b) == (1, 2)
    assert [flip.set_name for flip in result.flips] == ["3-4", "5-6", "7-8"]
    assert [statement["text"] for statement in result.flips[0].statements] == ["statement 0", "statement 1"]


def test_pooled_seeds_by_hand(write_run: WriteRun, answers: Rows) -> None:
    # B's shares minus A's, times 2 * 2: 2, 0, -2, 4
    a = [write_run("a1", answers("1110"), seed=1), write_run("a2", answers("0010"), seed=2)]
    b = [write_run("b1", answers("1001"), seed=1), write_run("b2", answers("1111"), seed=2)]
    found = compare_runs(a, b)
    row = found.rows[0]
    assert (row.n, row.accuracy_a, row.accuracy_b) == (4, 0.5, 0.75)
    assert (row.only_a, row.only_b) == (1, 2)
    patterns = [2 * x + 2 * y + 4 * z for x, y, z in itertools.product((-1, 1), repeat=3)]
    assert row.p == pytest.approx(sum(abs(total) >= 4 for total in patterns) / 8)
    assert found.a.over_seeds.mean == pytest.approx(0.5)
    assert found.b.accuracies == (0.5, 1.0)
    welch = stats.ttest_ind([0.5, 1.0], [0.75, 0.25], equal_var=False).confidence_interval(0.95)
    assert found.seed_interval == pytest.approx((welch.low, welch.high))


def test_copies_of_a_run_add_no_certainty(write_run: WriteRun, answers: Rows) -> None:
    dice = np.random.default_rng(3)
    rows_a, rows_b = (answers("".join(dice.choice(["0", "1"], 60))) for _ in "ab")
    single = compare_runs([write_run("a", rows_a)], [write_run("b", rows_b)]).rows[0]
    a, b = (
        [write_run(f"{name}{n}", rows, seed=n) for n in (1, 2, 3)]
        for name, rows in (("a", rows_a), ("b", rows_b))
    )
    pooled = compare_runs(a, b).rows[0]
    assert pooled.p == pytest.approx(single.p)
    assert pooled.interval == pytest.approx(single.interval)
    assert pooled.interval_a == single.interval_a
    assert pooled.smallest == pytest.approx(single.smallest)


def test_queries_of_one_set_can_be_clustered(write_run: WriteRun, answers: Rows) -> None:
    # 8 sets of 2 queries; B wins both in 5 of them
    a, b = write_run("a", answers("0" * 16)), write_run("b", answers("1" * 10 + "0" * 6))
    by_query, by_set = (compare_runs([a], [b], cluster=cluster).rows[0] for cluster in ("query", "set"))
    assert by_query.p == pytest.approx(2 / 2**10)
    assert by_set.p == pytest.approx(2 / 2**5)
    assert by_set.only_b == by_query.only_b == 10
    assert by_set.interval is None  # resampling 8 sets says little


def test_common_keeps_what_all_answered(write_run: WriteRun, answers: Rows) -> None:
    a, b = write_run("a", answers("110101")), write_run("b", answers("1101"))
    found = compare_runs([a], [b], common=True)
    assert found.rows[0].n == 4
    assert found.left_out == {str(a.folder): 2}


def test_common_keeps_whole_pairs(write_run: WriteRun, pair: Rows) -> None:
    good = ([1.0, 0.0], [0.0, 1.0])
    rows = [*pair("1-2", "Color", *good), *pair("3-4", "Color", *good)]
    a, b = (write_run(name, part, data="MMVPVLM") for name, part in (("a", rows), ("b", rows[:3])))
    found = compare_runs([a], [b], common=True)
    assert found.rows[0].n == 1
    assert found.left_out == {str(a.folder): 2, str(b.folder): 1}


def test_settings_that_differ_are_named(write_run: WriteRun, answers: Rows) -> None:
    a = [write_run(f"a{n}", answers("10"), max_words=30, seed=n, num_workers=n) for n in (1, 2)]
    b = write_run("b", answers("10"), max_words=None, flip=True, root="elsewhere")
    settings = compare_runs(a, [b]).settings
    assert settings == {"data.max_words": (30, None), "data.flip": (None, True)}

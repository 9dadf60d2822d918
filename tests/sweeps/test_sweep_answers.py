"""Answers in the rows of the results file: the same right and wrong as the run folders hold."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from contextblip.comparison.answers import read_answers
from contextblip.comparison.units import find_units, is_right
from contextblip.errors import ConfigurationError
from contextblip.runs import read_run
from contextblip.sweeps.answers import QUERIES, RANKS, answer_cells, read_ranks
from contextblip.sweeps.plan import Plan, Run
from contextblip.sweeps.results import ResultsFile
from contextblip.sweeps.run_state import mark_done

Write = Callable[..., Path]
PlanOf = Callable[..., Plan]
Row = dict[str, Any]


@pytest.fixture
def run(write: Write, plan_of: PlanOf) -> Run:
    """A zero-shot test."""
    return next(run for run in plan_of(write()).runs.values() if run.stage == "zero_shot")


def answer(n: int, rank: float, *, chosen: bool = False, is_video: bool = False) -> Row:
    """A query of ten candidates whose target has a rank; at a tie it may be the one chosen."""
    target = n % 10
    return {
        "set": f"set{n // 3}",
        "query_index": n % 3,
        "text": "a red ball",
        "target": target,
        "target_rank": rank,
        "prediction": target if rank == 1 or chosen else (target + 1) % 10,
        "logits": [0.0] * 10,
        "is_video": is_video,
    }


ROWS = [
    answer(4, 10.0, is_video=True),
    answer(0, 1.0),
    answer(1, 3.0, is_video=True),
    answer(2, 1.5),
    answer(3, 1.5, chosen=True, is_video=True),
    answer(5, 99.0),
]


def leave(run: Run, rows: Sequence[Row], kind: str = "ImageCoDe", stage: str = "test") -> None:
    """Write what a run leaves in its folder."""
    run.folder.mkdir(parents=True, exist_ok=True)
    config = {
        part: {"class_path": f"x.{name}", "init_args": {}}
        for part, name in {"model": "ZeroShot", "data": f"{kind}DataModule"}.items()
    }
    right = sum(row["prediction"] == row["target"] for row in rows)
    numbers = {f"{stage}/accuracy": right / max(1, len(rows)), f"n/{stage}/accuracy": len(rows)}
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    (run.folder / "metrics.json").write_text(json.dumps(numbers))
    (run.folder / "predictions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    mark_done(run)


def test_ranks_stand_in_the_order_of_queries_and_at_a_tie_only_the_chosen_is_right(run: Run) -> None:
    leave(run, ROWS)
    cells = answer_cells(run)
    # static: queries 0, 2, 5; video: 1, 3, 4
    assert {key: cells[key] for key in RANKS.values()} == {"ranks_static": "12z", "ranks_video": "31a"}
    assert read_ranks(cells, "static") == [1, 2, 35]
    assert read_ranks(cells, "video") == [3, 1, 10]
    found = read_answers(read_run(run.folder))
    right = {unit.keys[0]: is_right(found, unit) for unit in find_units([found])}
    kinds = {key: row["is_video"] for key, row in found.rows.items()}
    for subset in RANKS:
        held = [right[key] for key in sorted(right) if kinds[key] == (subset == "video")]
        assert [rank == 1 for rank in read_ranks(cells, subset)] == held


@pytest.mark.parametrize(
    "change",
    [
        {"target": 9, "prediction": 9},
        {"set": "another"},
        {"query_index": 7},
        {"logits": [0.0] * 9},
        {"is_video": True},
    ],
)
def test_the_fingerprint_is_of_the_queries_and_not_of_the_answers(run: Run, change: Row) -> None:
    leave(run, ROWS)
    first = answer_cells(run)[QUERIES]
    leave(run, [{**row, "target_rank": 2.0, "prediction": -1} for row in reversed(ROWS)])
    assert answer_cells(run)[QUERIES] == first
    leave(run, [*ROWS[:1], ROWS[1] | change, *ROWS[2:]])
    assert answer_cells(run)[QUERIES] != first


def test_only_labelled_retrieval_tests_have_answers(run: Run) -> None:
    assert answer_cells(run) == {}
    leave(run, [row | {"target": None, "target_rank": None} for row in ROWS])
    assert answer_cells(run) == {}
    leave(run, ROWS, kind="MMVPVLM")
    assert answer_cells(run) == {}
    leave(run, ROWS, stage="val")
    assert answer_cells(run) == {}
    leave(run, [*ROWS, ROWS[0]])
    with pytest.raises(ConfigurationError, match="holds a query twice"):
        answer_cells(run)


def test_the_row_of_a_run_holds_its_answers_and_what_it_ran_on(run: Run) -> None:
    leave(run, ROWS)
    results = ResultsFile(Path("kept/results.csv"))
    results.record(run)
    (row,) = results.rows().values()
    assert row.items() >= answer_cells(run).items()
    assert row["configuration"] == run.configuration[:12]
    assert (len(row["backbone"]), row["data"]) == (12, "data")  # weights of a fake; a root that is not there


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ranks_video": "31"}, "ranks_video has 0.5000 of 2 right, but accuracy_video is 0.3333 of 3"),
        ({"ranks_video": "311"}, "ranks_video has 0.6667 of 3 right"),
        ({"ranks_video": "3 a"}, "holds other signs than ranks"),
        ({"ranks_video": "30a"}, "holds other signs than ranks"),
    ],
)
def test_a_damaged_row_is_refused(run: Run, changes: dict[str, str], message: str) -> None:
    leave(run, ROWS)
    numbers = {"accuracy_video": "0.3333333432674408", "n/accuracy_video": "3"}
    row = answer_cells(run) | numbers | {"point": "whole", "seed": "42", "hash": "0" * 64}
    assert read_ranks(row, "video") == [3, 1, 10]
    with pytest.raises(ConfigurationError, match=message) as error:
        read_ranks(row | changes, "video")
    assert "the row of whole, seed 42 (000000000000)" in str(error.value)

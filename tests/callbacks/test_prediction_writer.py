"""What lands in predictions.jsonl."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from callbacks import PredictionWriter
from callbacks.prediction_writer import fault_of, join
from contextblip.errors import DatasetError
from contextblip.run_record import read_record
from contextblip.types import RetrievalBatch


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def loader(batches: list[RetrievalBatch]) -> DataLoader[RetrievalBatch]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list is a data set


@pytest.mark.parametrize("subcommand", ["test", "predict"])
def test_one_row_a_query_of_real_candidates_only(
    subcommand: str,
    task: LightningModule,
    batches: list[RetrievalBatch],
    trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    getattr(trainer(PredictionWriter()), subcommand)(task, loader(batches))
    rows = written(tmp_path)
    assert [(row["set"], row["query_index"]) for row in rows] == [("static", 0), ("static", 1), ("video", 0)]
    assert torch.equal(torch.tensor(rows[0].pop("scores")), torch.tensor([1.5, -2.0]).softmax(0))
    assert rows[0] == {
        "set": "static",
        "query_index": 0,
        "text": "the «0» one",
        "target": 0,
        "logits": [1.5, -2.0],
        "prediction": 0,
        "is_video": False,
        "phenomena": [],
        "n_propositions": 2,
        "challenging": False,
        "target_rank": 1.0,
        "frame_distance": None,
        "samples": ["static_1"],
    }
    assert rows[2]["logits"] == [1.5, -2.0, 9.0]
    assert rows[1]["target_rank"] == 2.0
    assert rows[2]["target"] is rows[2]["target_rank"] is rows[2]["frame_distance"] is None
    assert rows[2]["is_video"] is True
    assert rows[2]["phenomena"] == ["negation"]
    assert rows[2]["n_propositions"] is None
    assert rows[2]["challenging"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_a_later_run_replaces_the_file(
    task: LightningModule, batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    for _ in range(2):
        trainer(PredictionWriter()).test(task, loader(batches), verbose=False)
    assert len(written(tmp_path)) == 3


def test_the_configuration_of_the_answers_is_recorded(
    task: LightningModule, batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    for name in ("config.yaml", "config_predict.yaml"):
        command = Callback()
        command.config_name = name  # type: ignore[attr-defined]  # as the command's own has it
        trainer(PredictionWriter(), command).predict(task, loader(batches))
        assert read_record(tmp_path) == {"predictions.jsonl": name}
        assert len(written(tmp_path)) == 3
    with pytest.raises(RuntimeError, match="half way"):
        trainer(PredictionWriter(), Callback()).predict(Breaking(), loader(batches))
    assert read_record(tmp_path) == {"predictions.jsonl": "config_predict.yaml"}
    assert len(written(tmp_path)) == 3, "what broke changed nothing"


def test_a_number_json_does_not_know_becomes_null(
    task: LightningModule, batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    batches[0]["images"][0, 1, 0, 0, 0] = torch.nan
    trainer(PredictionWriter()).predict(task, loader(batches[:1]))
    assert written(tmp_path)[0]["logits"] == [1.5, None]


class Breaking(LightningModule):
    def predict_step(self, batch: RetrievalBatch, batch_idx: int) -> dict[str, Any]:  # noqa: ARG002
        if batch_idx:
            raise RuntimeError("half way")
        empty = torch.zeros(0, 3)
        return dict.fromkeys(("candidate_logits", "scores"), empty) | {
            "candidate_mask": empty.bool(),
            "prediction": empty[:, 0].long(),
            "target_index": empty[:, 0].long(),
            "is_video": empty[:, 0].bool(),
            "queries": [],
        }


def test_nothing_is_left_of_a_run_that_broke(
    batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="half way"):
        trainer(PredictionWriter()).predict(Breaking(), loader(batches))
    assert list(tmp_path.iterdir()) == []


class Silent(LightningModule):
    def predict_step(self, batch: RetrievalBatch) -> torch.Tensor:
        return batch["images"]


def test_other_outputs_are_passed_over(
    batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer(PredictionWriter()).predict(Silent(), loader(batches))
    assert list(tmp_path.iterdir()) == []


def test_parts_of_several_processes_are_joined_in_order(tmp_path: Path) -> None:
    def row(name: str, index: int) -> str:
        return json.dumps({"set": name, "query_index": index}) + "\n"

    parts = [tmp_path / "0", tmp_path / "1"]
    parts[0].write_text(row("a", 0) + row("b", 0))
    parts[1].write_text(row("a", 1))
    assert join(parts, tmp_path / "whole") == [("a", 0), ("b", 0), ("a", 1)]
    assert (tmp_path / "whole").read_text() == parts[0].read_text() + parts[1].read_text()


ASKED = [("a", 0), ("a", 1), ("b", 0)]


@pytest.mark.parametrize(
    ("answered", "asked", "whole", "said"),
    [
        (ASKED, ASKED, True, None),
        (ASKED[:2], ASKED, False, None),  # a part was asked for
        (ASKED[:2], None, True, None),  # a data set of somebody else's
        (ASKED[:2], ASKED, True, "of 3 queries 1 not answered (query 0 of b)"),
        ([*ASKED, *ASKED[1:]], ASKED, True, "of 3 queries 2 answered more than once (query 1 of a)"),
        (ASKED[:1] * 2, None, True, "of 1 queries 1 answered more than once (query 0 of a)"),
        ([*ASKED, ("c", 4)], ASKED, False, "1 answered, but not among the data (query 4 of c)"),
    ],
)
def test_each_query_is_answered_exactly_once(
    answered: list[tuple[str, int]], asked: list[tuple[str, int]] | None, whole: bool, said: str | None
) -> None:
    fault = fault_of(answered, asked, whole)
    assert fault is None if said is None else fault is not None and said in fault


class Asked(list[RetrievalBatch]):
    """Batches that tell their queries."""

    query_ids: list[tuple[str, int]]


@pytest.mark.parametrize("subcommand", ["test", "predict"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_query_lost_or_repeated_is_one_clear_error(
    subcommand: str,
    lost: bool,
    task: LightningModule,
    batches: list[RetrievalBatch],
    trainer: Callable[..., Trainer],
    tmp_path: Path,
) -> None:
    (tmp_path / "predictions.jsonl").write_text("of an earlier run\n")
    data = Asked(batches if lost else [*batches, batches[0]])
    data.query_ids = [("static", 0), ("static", 1), ("video", 0), *([("lost", 7)] if lost else [])]
    said = (
        r"1 not answered \(query 7 of lost\)" if lost else r"2 answered more than once \(query 0 of static\)"
    )
    with pytest.raises(DatasetError, match=rf"predictions.jsonl: of \d queries {said}.*no file was written"):
        getattr(trainer(PredictionWriter()), subcommand)(task, loader(data))
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]
    assert (tmp_path / "predictions.jsonl").read_text() == "of an earlier run\n"


def test_of_a_limited_run_no_more_is_expected(
    task: LightningModule, batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    data = Asked(batches)
    data.query_ids = [("static", 0), ("static", 1), ("video", 0)]
    limited = trainer(PredictionWriter())
    limited.limit_predict_batches = 1
    limited.predict(task, loader(data))
    assert len(written(tmp_path)) == 2


def test_what_a_killed_run_left_is_no_result(
    batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    (tmp_path / ".predictions.jsonl.part0").write_text("half a row")
    trainer(PredictionWriter()).predict(Silent(), loader(batches))
    assert list(tmp_path.iterdir()) == []

"""What lands in mmvp_vlm.csv."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from callbacks import MMVPWriter, PredictionWriter
from callbacks.mmvp_writer import COLUMNS, answer, pair_rows
from contextblip.errors import DatasetError
from contextblip.metrics import PairAccuracy
from contextblip.types import Query, RetrievalBatch

# Logits of both images for both statements of a pair
RIGHT = [[2.0, 1.0], [-1.0, 3.0]]
SECOND_TIED = [[1.0, 0.0], [0.5, 0.5]]
FIRST_TIED = [[0.5, 0.5], [0.0, 1.0]]
FIRST_WRONG = [[0.0, 1.0], [0.0, 1.0]]


class PairTask(LightningModule):
    """Answers with the logits that the images hold."""

    def test_step(self, batch: RetrievalBatch) -> dict[str, object]:
        logits = batch["images"][:, :, 0, :, 0].flatten(0, 1)
        return {
            "candidate_logits": logits,
            "scores": logits.sigmoid(),
            "prediction": logits.argmax(1),
            "target_index": batch["target_index"],
            "is_video": batch["is_video"],
            "candidate_mask": torch.ones(len(logits), 2, dtype=torch.bool),
            "queries": batch["queries"],
        }

    predict_step = test_step


def pairs(
    logits: dict[str, list[list[float]]], protocol: Literal["retrieval", "pairs"] = "pairs"
) -> RetrievalBatch:
    """A batch of pairs whose "images" ``(S, 2, 1, 2, 1)`` are the logits to answer with."""
    size = 2 * len(logits)
    return RetrievalBatch(
        images=torch.tensor(list(logits.values()))[:, :, None, :, None],
        candidate_mask=torch.ones(len(logits), 2, dtype=torch.bool),
        set_index=torch.arange(size) // 2,
        input_ids=torch.ones(size, 4, dtype=torch.long),
        attention_mask=torch.ones(size, 4, dtype=torch.long),
        target_index=torch.arange(size) % 2,
        is_video=torch.zeros(size, dtype=torch.bool),
        queries=[query(name, index) for name in logits for index in (0, 1)],
        protocol=protocol,
        parts=None,
    )


def query(name: str, index: int) -> Query:
    return Query(
        set_name=name,
        query_index=index,
        text="text",
        phenomena=["Type"],
        n_propositions=None,
        challenging=False,
        frames=[],
        samples=[],
        parts=[],
    )


def loader(*batches: RetrievalBatch) -> DataLoader[RetrievalBatch]:
    return DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]  # a list is a data set


@pytest.mark.parametrize("subcommand", ["test", "predict"])
def test_one_row_a_pair_in_the_order_of_the_ids(
    subcommand: str, trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    batches = loader(pairs({"11-12": RIGHT, "3-4": FIRST_WRONG}), pairs({"1-2": SECOND_TIED}))
    getattr(trainer(PredictionWriter(), MMVPWriter()), subcommand)(PairTask(), batches)
    with (tmp_path / "mmvp_vlm.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["qid1", "qid2", "pred1", "pred2", "gt1", "gt2", "q1score", "q2score"]
    assert [row[:6] for row in rows] == [
        ["1", "2", "img1", "img1", "img1", "img2"],  # a tie is the other image, so that it counts as wrong
        ["3", "4", "img2", "img2", "img1", "img2"],
        ["11", "12", "img1", "img2", "img1", "img2"],
    ]
    scores = [float(cell) for row in rows for cell in row[6:]]
    expected = [1 / (1 + math.exp(-margin)) for margin in (1, 0, -1, -1, 1, -4)]
    assert scores == pytest.approx(expected)
    assert {path.name for path in tmp_path.iterdir()} == {"mmvp_vlm.csv", "predictions.jsonl"}


def test_counting_the_file_gives_the_pair_accuracy(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    batch = pairs({"1-2": RIGHT, "3-4": SECOND_TIED, "5-6": FIRST_TIED, "7-8": FIRST_WRONG})
    trainer(PredictionWriter(), MMVPWriter()).test(PairTask(), loader(batch), verbose=False)
    with (tmp_path / "mmvp_vlm.csv").open(newline="") as file:
        right = [row["pred1"] == row["gt1"] and row["pred2"] == row["gt2"] for row in csv.DictReader(file)]
    metric = PairAccuracy()
    logits = PairTask().test_step(batch)["candidate_logits"]
    assert isinstance(logits, torch.Tensor)
    metric.update_pairs(logits, batch["target_index"], batch["set_index"], batch["queries"])
    share = metric.compute()["pair_accuracy"]
    assert (sum(right) / len(right), len(right)) == (share.value, share.n) == (0.25, 4)


def test_only_pairs_give_the_file(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    writers = PredictionWriter(), MMVPWriter()
    trainer(*writers).test(PairTask(), loader(pairs({"1-2": RIGHT})), verbose=False)
    (tmp_path / "mmvp_vlm.csv").unlink()
    trainer(*writers).test(PairTask(), loader(pairs({"1-2": RIGHT}, "retrieval")), verbose=False)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_statements_of_a_pair_may_stand_apart() -> None:
    """Processes' parts are joined one after another."""
    rows = [
        {"set": "3-4", "query_index": 1, "logits": [0.0, 1.0]},
        {"set": "1-2", "query_index": 0, "logits": [1.0, 0.0]},
        {"set": "3-4", "query_index": 0, "logits": [0.0, 1.0]},
        {"set": "1-2", "query_index": 1, "logits": [1.0, 0.0]},
    ]
    joined = [dict(zip(COLUMNS, row, strict=True)) for row in pair_rows(rows)]
    assert [(row["qid1"], row["pred1"], row["pred2"]) for row in joined] == [
        (1, "img1", "img1"),
        (3, "img2", "img2"),
    ]


@pytest.mark.parametrize(
    ("name", "count", "images"), [("cats", 2, 2), ("1-2", 1, 2), ("1-2", 2, 3), ("1-2-3", 2, 2)]
)
def test_other_sets_are_named(name: str, count: int, images: int) -> None:
    rows = [{"set": name, "query_index": index, "logits": [0.0] * images} for index in range(count)]
    with pytest.raises(DatasetError, match=f"predictions of set {name} are not two statements"):
        pair_rows(json.loads(json.dumps(rows)))


def test_scores_far_apart_and_numbers_that_are_none() -> None:
    assert answer([2000.0, -2000.0], own=0) == ("img1", 1.0)
    assert answer([-2000.0, 2000.0], own=0) == ("img2", 0.0)
    assert answer([None, 1.0], own=0) == ("img2", None)
    assert answer([1.0, None], own=1) == ("img1", None)

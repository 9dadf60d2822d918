"""Writes MMVP-VLM's pairs in the columns of the benchmark's own script."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.prediction_writer import written_rows
from contextblip.errors import DatasetError
from contextblip.replacing import replacing
from contextblip.types import RetrievalBatch, RetrievalOutput

COLUMNS = ("qid1", "qid2", "pred1", "pred2", "gt1", "gt2", "q1score", "q2score")
IMAGES = ("img1", "img2")


class MMVPWriter(Callback):
    """Writes ``mmvp_vlm.csv``, one row a pair in the order of the ids, from ``predictions.jsonl``.

    After ``test`` and ``predict`` on batches of the protocol ``pairs``, with the columns of the MMVP-VLM
    benchmark's script: ``qid1`` and ``qid2``, the ids of the two statements; ``pred1`` and ``pred2``, the
    image each prefers, ``img1`` (the odd id's) or ``img2``; ``gt1`` and ``gt2``, its own image, always
    ``img1`` and ``img2``; ``q1score`` and ``q2score``, the probability of ``img1`` for each statement, the
    softmax of the logits over both images. A pair is right where both predictions equal the truth, so that
    counting the file gives ``pair_accuracy``. A tie, which counts as wrong, is therefore written as the
    other image, beside a score of 0.5; the benchmark's script would call it ``img2``.

    It stands behind `PredictionWriter` in the list of callbacks.

    Args:
        predictions: Name of the file with the predictions in the run folder.
        filename: Name of the file to write there.
    """

    def __init__(self, predictions: str = "predictions.jsonl", filename: str = "mmvp_vlm.csv") -> None:
        self.predictions = predictions
        self.filename = filename
        self._saw_pairs = False

    def on_test_batch_end(  # type: ignore[override]  # our steps return a RetrievalOutput
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        outputs: RetrievalOutput | None,  # noqa: ARG002
        batch: RetrievalBatch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Note whether the data are pairs.

        Args:
            trainer: Unused.
            pl_module: Unused.
            outputs: Unused.
            batch: Names its protocol.
            batch_idx: Unused.
            dataloader_idx: Unused.
        """
        self._saw_pairs = isinstance(batch, dict) and batch.get("protocol") == "pairs"

    on_predict_batch_end = on_test_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write the file.

        Args:
            trainer: Knows the run folder.
            pl_module: Unused.

        Raises:
            DatasetError: The predictions are not those of pairs.
        """
        pairs, self._saw_pairs = self._saw_pairs, False
        predictions = written_rows(trainer, self.predictions) if pairs else []
        if not predictions:
            return
        rows = pair_rows(predictions)
        with (
            replacing(Path(trainer.default_root_dir) / self.filename) as draft,
            draft.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)

    on_predict_end = on_test_end


def pair_rows(predictions: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """Join the two statements of each pair.

    Args:
        predictions: Rows of ``predictions.jsonl`` in any order; a pair's ``set`` is ``<odd id>-<even id>``.

    Returns:
        One row a pair, its cells as in `COLUMNS`, in the order of the ids.

    Raises:
        DatasetError: A set is no pair of two statements about two images.
    """
    pairs: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in predictions:
        pairs.setdefault(row["set"], {})[row["query_index"]] = row
    joined = []
    for name, statements in pairs.items():
        ids = name.split("-")
        whole = len(ids) == 2 and all(part.isdecimal() for part in ids) and set(statements) == {0, 1}
        if not whole or any(len(row["logits"]) != 2 for row in statements.values()):
            raise DatasetError(
                f"predictions of set {name} are not two statements about two images, named by their ids "
                "as 1-2; leave callbacks.MMVPWriter out for such pairs"
            )
        answers = [answer(statements[index]["logits"], own=index) for index in (0, 1)]
        predicted, scores = zip(*answers, strict=True)
        joined.append([int(ids[0]), int(ids[1]), *predicted, *IMAGES, *scores])
    return sorted(joined, key=lambda cells: cells[0])


def answer(logits: list[float | None], own: int) -> tuple[str, float | None]:
    """Say which image a statement prefers.

    Args:
        logits: Of both images; ``None`` where the model gave no finite number.
        own: Index of the image that the statement describes.

    Returns:
        ``img1`` or ``img2``, the other image where neither is preferred, and the first one's probability,
        ``None`` where the logits have none.
    """
    first, second = logits
    if first is None or second is None:
        return IMAGES[1 - own], None
    margin = first - second
    if margin == 0:
        return IMAGES[1 - own], 0.5
    smaller = math.exp(-abs(margin))  # of a negative number, so that it cannot overflow
    return IMAGES[margin < 0], (1 if margin > 0 else smaller) / (1 + smaller)

"""Writes IMAGECODE's leaderboard file after predictions for unlabelled descriptions."""

import json
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.prediction_writer import written_rows
from contextblip.replacing import replacing
from contextblip.submission import make_submission


class SubmissionWriter(Callback):
    """Writes ``submission.json``, ``{set: [predicted index, ...]}``, from ``predictions.jsonl``.

    Only after ``predict``, and only where no description has a label: that is IMAGECODE's test split. It
    stands behind `PredictionWriter` in the list of callbacks.

    Args:
        predictions: Name of the file with the predictions in the run folder.
        filename: Name of the file to write there.
    """

    def __init__(self, predictions: str = "predictions.jsonl", filename: str = "submission.json") -> None:
        self.predictions = predictions
        self.filename = filename

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write the file.

        Args:
            trainer: Knows the run folder.
            pl_module: Unused.
        """
        rows = written_rows(trainer, self.predictions)
        if not rows or any(row["target"] is not None for row in rows):
            return
        with replacing(Path(trainer.default_root_dir) / self.filename) as draft:
            draft.write_text(json.dumps(make_submission(rows), indent=1) + "\n", encoding="utf-8")

"""Writes IMAGECODE's leaderboard file after predictions for unlabelled descriptions."""

import json
import os
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

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
        folder = Path(trainer.default_root_dir)
        source = folder / self.predictions
        if getattr(trainer, "fast_dev_run", False) or not trainer.is_global_zero or not source.is_file():
            return
        with source.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        if not rows or any(row["target"] is not None for row in rows):
            return
        draft = folder / f".{self.filename}.{os.getpid()}"
        draft.write_text(json.dumps(make_submission(rows), indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / self.filename)

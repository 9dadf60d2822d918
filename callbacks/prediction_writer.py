"""Writes what a retrieval model answered, one row a query."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from contextblip.errors import DatasetError
from contextblip.ranking_metrics import fractional_ranks, frame_distances
from contextblip.run_record import current_config, note, read_record
from contextblip.types import RetrievalOutput

QueryId = tuple[str, int]
"""Set of a query and its place in it."""


class PredictionWriter(Callback):
    """Writes ``predictions.jsonl`` into the run folder (``trainer.default_root_dir``) in test and predict.

    Rows are streamed while the run goes on and the file appears under its name when all are there. With
    several processes each writes a part on the shared file system; rank zero joins them in rank order. That a
    query was answered twice, or by nobody though all of the data was asked for, is an error, and no file is
    written. ``configs.json`` names the configuration of the command that wrote them.

    A row has ``set``, ``query_index``, ``text``, ``target`` (null where unlabelled), ``logits``, ``scores``
    (both of the real candidates, in order), ``prediction``, ``target_rank`` (1 is best, those that tie share
    the mean of their ranks; null where unlabelled), ``frame_distance`` (from prediction to target; null where
    unlabelled or no video), ``is_video``, ``phenomena``, ``n_propositions``, ``challenging``, ``samples``.

    Args:
        filename: Name of the file in the run folder.
    """

    def __init__(self, filename: str = "predictions.jsonl") -> None:
        self.filename = filename
        self._part: TextIO | None = None

    def on_test_batch_end(  # type: ignore[override]  # our steps return a RetrievalOutput
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: RetrievalOutput | None,
        batch: object,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Append the batch's rows.

        Args:
            trainer: Knows the run folder.
            pl_module: Unused.
            outputs: What the step returned; anything but a RetrievalOutput is passed over.
            batch: Unused.
            batch_idx: Unused.
            dataloader_idx: Unused.
        """
        if (
            getattr(trainer, "fast_dev_run", False)
            or not isinstance(outputs, dict)
            or "candidate_logits" not in outputs
        ):
            return
        if self._part is None:
            path = self._part_path(trainer, trainer.global_rank)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._part = path.open("w", encoding="utf-8")
        self._part.writelines(
            json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows(outputs)
        )

    on_predict_batch_end = on_test_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Join the parts of all processes under the final name.

        Args:
            trainer: Knows the run folder, the other processes and the data.
            pl_module: Unused.

        Raises:
            DatasetError: A query was answered twice, or not at all.
        """
        self._close()
        trainer.strategy.barrier("predictions are written")
        fault = self._join(trainer) if trainer.is_global_zero else None
        fault = trainer.strategy.broadcast(fault)
        if fault is not None:  # in all processes: none goes on alone
            raise DatasetError(f"{self.filename}: {fault}; no file was written")

    def _join(self, trainer: Trainer) -> str | None:
        """Join the parts, unless there is something wrong with them, which is returned."""
        parts = [self._part_path(trainer, rank) for rank in range(trainer.world_size)]
        parts = [part for part in parts if part.is_file()]
        if not parts:
            return None
        whole = parts[0].with_suffix(".joined")
        try:
            if fault := fault_of(join(parts, whole), *asked_queries(trainer)):
                return fault
            final, config = whole.with_name(self.filename), current_config(trainer)
            if read_record(final.parent).get(self.filename) != config:
                # were the run killed now, there would be no answers rather than some under another's name
                final.unlink(missing_ok=True)
                note(final.parent, self.filename, config)
            whole.replace(final)
        finally:
            for file in (whole, *parts):
                file.unlink(missing_ok=True)
        return None

    on_predict_end = on_test_end

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Forget what a killed run left of this process.

        Args:
            trainer: Knows the run folder.
            pl_module: Unused.
        """
        self._part_path(trainer, trainer.global_rank).unlink(missing_ok=True)

    on_predict_start = on_test_start

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Drop the unfinished rows, so that no part is taken for a result.

        Args:
            trainer: Knows the run folder.
            pl_module: Unused.
            exception: Unused.
        """
        if self._part is not None:
            self._close()
            self._part_path(trainer, trainer.global_rank).unlink(missing_ok=True)

    def _close(self) -> None:
        """Close the part, so that its last rows are on disk."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def _part_path(self, trainer: Trainer, rank: int) -> Path:
        """Name a process's part."""
        return Path(trainer.default_root_dir) / f".{self.filename}.part{rank}"


def rows(outputs: RetrievalOutput) -> Iterator[dict[str, Any]]:
    """Turn a step's output into rows of plain values.

    Args:
        outputs: What the step returned.

    Yields:
        One row a query.
    """
    mask = outputs["candidate_mask"].cpu()
    logits, scores = outputs["candidate_logits"].float().cpu(), outputs["scores"].float().cpu()
    predictions, targets = outputs["prediction"].tolist(), outputs["target_index"].tolist()
    ranks = fractional_ranks(
        outputs["candidate_logits"], outputs["target_index"], outputs["candidate_mask"]
    ).tolist()
    distances = frame_distances(outputs["prediction"], outputs["target_index"], outputs["queries"])
    videos = outputs["is_video"].tolist()
    for row, query in enumerate(outputs["queries"]):
        yield {
            "set": query["set_name"],
            "query_index": query["query_index"],
            "text": query["text"],
            "target": targets[row] if targets[row] >= 0 else None,
            "logits": _numbers(logits[row][mask[row]]),
            "scores": _numbers(scores[row][mask[row]]),
            "prediction": predictions[row],
            "target_rank": ranks[row] if targets[row] >= 0 else None,
            "frame_distance": distances[row],
            "is_video": videos[row],
            "phenomena": query["phenomena"],
            "n_propositions": query["n_propositions"],
            "challenging": query["challenging"],
            "samples": query["samples"],
        }


def written_rows(trainer: Trainer, filename: str) -> list[dict[str, Any]]:
    """Read what the writer left, for callbacks that stand behind it.

    Args:
        trainer: Knows the run folder.
        filename: Name of the file there.

    Returns:
        One row a query in rank zero; nothing in other processes, in a trial run or where no file was written.
    """
    path = Path(trainer.default_root_dir) / filename
    if getattr(trainer, "fast_dev_run", False) or not trainer.is_global_zero or not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def join(parts: Iterable[Path], whole: Path) -> list[QueryId]:
    """Write the parts one after another into one file.

    Args:
        parts: Files of JSON lines.
        whole: The file.

    Returns:
        Set and place of the query of each row.
    """
    ids: list[QueryId] = []
    with whole.open("w", encoding="utf-8") as joined:
        for part in parts:
            with part.open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    ids.append((row["set"], row["query_index"]))
                    joined.write(line)
    return ids


def asked_queries(trainer: Trainer) -> tuple[list[QueryId] | None, bool]:
    """List the queries of the data that a test or prediction runs over.

    Args:
        trainer: Knows the loaders.

    Returns:
        Set and place of each query, ``None`` where a data set does not tell by ``query_ids``, and whether all
        of them are asked for.
    """
    stage = "predict" if trainer.predicting else "test"
    loaders = getattr(trainer, f"{stage}_dataloaders")
    loaders = loaders if isinstance(loaders, list | tuple) else [loaders]
    sets = [getattr(getattr(loader, "dataset", None), "query_ids", None) for loader in loaders]
    limit: int | float = getattr(trainer, f"limit_{stage}_batches")
    whole = isinstance(limit, float) and limit == 1.0  # 1 would be a single batch
    return (None if None in sets else [query for ids in sets for query in ids or ()]), whole


def fault_of(answered: Sequence[QueryId], asked: Sequence[QueryId] | None, whole: bool) -> str | None:
    """Compare the queries that were answered with those that were to be.

    Args:
        answered: One entry a row.
        asked: Of the data; ``None``: unknown.
        whole: Whether all of them were to be answered.

    Returns:
        What is wrong, and the way out; ``None`` where each was answered exactly once.
    """
    counts = Counter(answered)
    faults = {"answered more than once": [query for query, number in counts.items() if number > 1]}
    if asked is not None:
        known = set(asked)
        faults["answered, but not among the data"] = [query for query in counts if query not in known]
        faults["not answered"] = [query for query in asked if whole and query not in counts]
    said = [
        f"{len(queries):,} {what} (query {queries[0][1]} of {queries[0][0]})"
        for what, queries in faults.items()
        if queries
    ]
    if not said:
        return None
    return (
        f"of {len(asked or counts):,} queries {', '.join(said)}; each must reach one process once: give the "
        "loader a sampler without padding, as data_modules.loaders.UnpaddedSampler, and each query an index"
    )


def _numbers(values: Tensor) -> list[float | None]:
    """List fp32 values by their shortest exact digits; what is not finite becomes null, for want of NaN."""
    return [float(str(value)) if math.isfinite(value) else None for value in values.numpy()]

"""The results file: one row a finished run, kept when the run folders are gone."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from contextblip.errors import ConfigurationError
from contextblip.replacing import replacing
from contextblip.sweeps.answers import answer_cells
from contextblip.sweeps.identity import inputs_shown
from contextblip.sweeps.plan import SHOWN_DIGITS, Run
from contextblip.sweeps.run_state import DONE_FILE, measure, read_json, read_metrics

COLUMNS = (
    "time", "sweep", "point", "seed", "stage", "hash", "configuration", "backbone", "data", "seconds",
    "resumed", "revision",
)  # fmt: skip


class ResultsFile:
    """A CSV file with one row for each finished run, whichever sweep ran it.

    A row is appended in one write under a lock; only where a new metric needs a new column, or an old row a
    new cell, is the whole file replaced.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[str, dict[str, str]]:
        """Read the rows.

        Returns:
            Hashes to rows.

        Raises:
            ConfigurationError: The file is no results file.
        """
        _, rows = self._read()
        return rows

    def record(self, run: Run) -> None:
        """Add a finished run's row, or what its row lacks.

        Args:
            run: The run; its folder holds the numbers.

        Raises:
            ConfigurationError: A metric is missing, or the file is no results file.
        """
        row = self._row(run)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            columns, rows = self._read()
            old = rows.get(run.hash)
            new = [column for column in row if column not in columns]
            if old is not None and not any(value and not old.get(column) for column, value in row.items()):
                return
            if old is None and not new and columns:
                self._append(columns, row)
                return
            rows[run.hash] = row if old is None else {**row, **{k: v for k, v in old.items() if v}}
            self._replace([*(columns or COLUMNS), *(c for c in new if columns or c not in COLUMNS)], rows)

    def _row(self, run: Run) -> dict[str, str]:
        """Collect the cells of a run: what it is, its numbers, and the answers of a labelled test."""
        done, metrics, use = read_json(run.folder / DONE_FILE), read_metrics(run), run.used_by[0]
        row = {
            "time": str(done.get("finished", datetime.now(UTC).isoformat(timespec="seconds"))),
            "sweep": use.sweep,
            "point": use.point,
            "seed": "" if use.seed is None else str(use.seed),
            "stage": run.stage,
            "hash": run.hash,
            "configuration": run.configuration[:SHOWN_DIGITS],
            **inputs_shown(run.identity),
            "seconds": str(done.get("seconds", "")),
            "resumed": "yes" if done.get("is_resumed") else "",
            "revision": str(done.get("revision") or ""),
        }
        for name in run.measures:
            value, count = measure(metrics, name)
            row[name] = "" if value is None else repr(value)
            row[f"n/{name}"] = "" if count is None else str(count)
        return row | answer_cells(run)

    def _read(self) -> tuple[list[str], dict[str, dict[str, str]]]:
        if not self.path.is_file():
            return [], {}
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            if columns and "hash" not in columns:
                raise ConfigurationError(f"{self.path} is no results file: it has no column hash")
            # a line cut short by a full disk has no hash of full length; it counts as absent
            rows = {row["hash"]: row for row in reader if len(row["hash"] or "") == 64}
        return columns, rows

    def _append(self, columns: Sequence[str], row: Mapping[str, str]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, columns, restval="", lineterminator="\n").writerow(row)
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            is_whole = file.read(1) == b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, (("" if is_whole else "\n") + text.getvalue()).encode())
        finally:
            os.close(descriptor)

    def _replace(self, columns: Sequence[str], rows: Mapping[str, Mapping[str, str]]) -> None:
        with replacing(self.path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows.values())


def is_recorded(run: Run, rows: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether the file holds all that is asked of a run.

    Args:
        run: The run.
        rows: Hashes to rows.

    Returns:
        True where its row is there with every metric; of one that is not finite its count is enough.
    """
    row = rows.get(run.hash)
    return row is not None and all(row.get(name) or row.get(f"n/{name}") for name in run.measures)

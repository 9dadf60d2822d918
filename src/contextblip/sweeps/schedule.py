"""Runs in their order, several at once, a failed one stopping only what depends on it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from contextblip.errors import ConfigurationError
from contextblip.sweeps.locks import RunLock
from contextblip.sweeps.plan import Run
from contextblip.sweeps.results import ResultsFile
from contextblip.sweeps.revision import revision_beside
from contextblip.sweeps.run_process import COMMAND, GRACE_SECONDS, RunProcess, start
from contextblip.sweeps.run_state import mark_done, measure, read_metrics
from contextblip.sweeps.work import PENDING, Progress, is_settled


class Listener(Protocol):
    """Shows what happens."""

    def changed(self, run: Run, progress: Progress) -> None:
        """Hear that a run's state changed.

        Args:
            run: The run.
            progress: Its new state.
        """

    def tick(self) -> None:
        """Hear that time has passed."""


@dataclass(frozen=True)
class Workplace:
    """Where and with what runs are run.

    Attributes:
        environments: Variables of each worker; their number is that of the workers.
        locks: Folder of the locks.
        results: The results file.
        token: Names this sweep in locks.
        cwd: Where paths begin.
        command: What stands for ``lightning``.
        poll_seconds: Time between two looks at the runs.
    """

    environments: Sequence[Mapping[str, str]]
    locks: Path
    results: ResultsFile
    token: str
    cwd: Path = field(default_factory=Path.cwd)
    command: Sequence[str] = COMMAND
    poll_seconds: float = 0.2


class Scheduler:
    """Works through runs.

    Args:
        runs: The runs, each after the one it starts from.
        progress: Their states; changed in place.
        workplace: Where and with what.
        listener: Shows what happens.
    """

    def __init__(
        self, runs: Mapping[str, Run], progress: dict[str, Progress], workplace: Workplace, listener: Listener
    ) -> None:
        self.runs = runs
        self.progress = progress
        self.workplace = workplace
        self.listener = listener
        self._active: dict[int, tuple[RunProcess, RunLock]] = {}  # by worker
        self._asked: dict[str, float] = {}  # when a lock held elsewhere was last tried

    def work(self) -> None:
        """Run all that is to be done; failures are noted in the states.

        Raises:
            KeyboardInterrupt: After all runs have been stopped.
        """
        try:
            while self._waiting() or self._active:
                self._collect()
                self._start_ready()
                self.listener.tick()
                time.sleep(self.workplace.poll_seconds)
        finally:
            self._stop()

    def _waiting(self) -> list[Run]:
        return [run for run in self.runs.values() if self.progress[run.hash].state in PENDING]

    def _set(self, run: Run, progress: Progress) -> None:
        self.progress[run.hash] = progress
        self.listener.changed(run, progress)

    def _start_ready(self) -> None:
        """Start what can be started, one run for each free worker."""
        for run in self._waiting():
            if self._skip_if_hopeless(run):
                continue
            free = [n for n in range(len(self.workplace.environments)) if n not in self._active]
            if free and self._is_ready(run):
                self._start(run, free[0])

    def _skip_if_hopeless(self, run: Run) -> bool:
        """Skip a run whose predecessor failed."""
        before = self.progress.get(run.upstream or "")
        if before is None or before.state not in ("failed", "skipped"):
            return False
        self._set(run, Progress("skipped", f"{self.runs[run.upstream or ''].name} {before.state}"))
        return True

    def _is_ready(self, run: Run) -> bool:
        """Whether nothing has to come first: a predecessor, or the one run that draws the data."""
        before = self.progress.get(run.upstream or "")
        if before is not None and before.state in (*PENDING, "running"):
            return False
        if run.draws is None or run.draws.is_file():
            return True
        return all(active.run.draws != run.draws for active, _ in self._active.values())

    def _start(self, run: Run, worker: int) -> None:
        """Start a run, unless another sweep is at it."""
        if time.monotonic() - self._asked.get(run.hash, float("-inf")) < 2:
            return
        lock = RunLock(self.workplace.locks / f"{run.name}.json", self.workplace.token)
        if not lock.acquire():
            self._asked[run.hash] = time.monotonic()
            if self.progress[run.hash].state != "elsewhere":
                self._set(run, Progress("elsewhere", lock.holder()))
            return
        try:
            if is_settled(run, self.runs.values(), self.progress):  # another sweep has just finished it
                self._finish(run, 0.0)
                lock.release()
                return
            if run.checkpoint is not None and not run.checkpoint.exists():
                problem = (
                    f"its predecessor left no {run.checkpoint}; set checkpoint: last for stage {run.stage}"
                )
                self._set(run, Progress("failed", problem))
                lock.release()
                return
            process = start(
                run,
                environment=self.workplace.environments[worker],
                cwd=self.workplace.cwd,
                command=self.workplace.command,
            )
        except BaseException:
            lock.release()
            raise
        self._active[worker] = (process, lock)
        lock.hand_to(process.process.pid)
        self._set(run, Progress("running", "resumed" if process.is_resumed else ""))

    def _collect(self) -> None:
        """Look at the runs under way."""
        for worker, (process, lock) in list(self._active.items()):
            progress = self.progress[process.run.hash]
            progress.seconds = process.seconds
            progress.metric = latest_metric(process.run)
            lock.touch()
            if process.process.poll() is None:
                continue
            process.stop(time.monotonic())  # what it may have left behind
            if process.succeeded():
                mark_done(
                    process.run,
                    finished=datetime.now(UTC).isoformat(timespec="seconds"),
                    seconds=round(process.seconds, 1),
                    is_resumed=process.is_resumed,
                    revision=revision_beside(self.workplace.results.path),
                    words=process.run.words,
                )
                self._finish(process.run, process.seconds)
            else:
                self._set(process.run, Progress("failed", process.problem(), process.seconds))
            del self._active[worker]
            lock.release()

    def _finish(self, run: Run, seconds: float) -> None:
        """Record a finished run's numbers."""
        try:
            self.workplace.results.record(run)
        except ConfigurationError as error:
            self._set(run, Progress("failed", f"finished, but {error}", seconds))
        else:
            self._set(run, Progress("finished", "", seconds, latest_metric(run)))

    def _stop(self) -> None:
        """Stop what is under way; its locks are given back."""
        for process, _ in self._active.values():
            process.ask_to_stop()
        deadline = time.monotonic() + GRACE_SECONDS
        for process, lock in self._active.values():
            process.stop(deadline)
            lock.release()
            self._set(process.run, Progress("stopped", "", process.seconds))
        self._active.clear()


def latest_metric(run: Run) -> str:
    """Describe a run's latest number.

    Args:
        run: The run.

    Returns:
        The first of its measures, else the validation's or training's loss; empty before there is one.
    """
    metrics = read_metrics(run)
    for name in (*run.measures, "loss", "train/loss"):
        try:
            value, _ = measure(metrics, name)
        except ConfigurationError:
            continue
        return "" if value is None else f"{name} {value:.3f}"
    return ""

"""What is left to do: which runs of a plan are finished, recorded, needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contextblip.sweeps.plan import Plan, Run
from contextblip.sweeps.results import is_recorded
from contextblip.sweeps.run_state import has_lost, is_done, resumable_checkpoint

State = Literal[
    "finished", "recorded", "not needed", "to do", "to resume", "elsewhere", "running", "failed", "skipped",
    "stopped",
]  # fmt: skip
PENDING: tuple[State, ...] = ("to do", "to resume", "elsewhere")


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        state: Its state.
        error: What went wrong, on one line.
        seconds: How long it ran.
        metric: Its latest number, named.
    """

    state: State
    error: str = ""
    seconds: float = 0.0
    metric: str = ""


def survey(plan: Plan, rows: Mapping[str, Mapping[str, str]]) -> dict[str, Progress]:
    """Find out what is left to do.

    A run is needed for itself, unless its folder or the results file has its numbers; or for its checkpoint,
    where a needed run starts from it and it is not there. A finished training that has lost it is run anew.

    Args:
        plan: The plan.
        rows: Rows of the results file.

    Returns:
        Hashes to progress, in the plan's order.
    """
    targets, states = plan.targets(), {}
    wanted_checkpoints: dict[str, list[Run]] = {}
    for run in reversed(plan.runs.values()):
        state = _state(run, run.hash in targets, wanted_checkpoints.get(run.hash, []), rows)
        states[run.hash] = Progress(state)
        if state in PENDING and run.upstream is not None:
            wanted_checkpoints.setdefault(run.upstream, []).append(run)
    return {key: states[key] for key in plan.runs}


def _state(
    run: Run, is_target: bool, starting_here: list[Run], rows: Mapping[str, Mapping[str, str]]
) -> State:
    done = is_done(run)
    if done and not has_lost(run, _checkpoints(starting_here)):
        return "finished"
    if is_recorded(run, rows) and not starting_here:
        return "recorded"
    if is_target or starting_here:
        # a finished training without the wanted checkpoint would come back from its last one without it
        return "to resume" if resumable_checkpoint(run) and not done else "to do"
    return "not needed"


def _checkpoints(runs: Iterable[Run]) -> list[Path]:
    return [run.checkpoint for run in runs if run.checkpoint is not None]


def is_settled(run: Run, runs: Iterable[Run], progress: Mapping[str, Progress]) -> bool:
    """Whether there is nothing to do for a run, whoever finished it.

    Args:
        run: The run.
        runs: Those that may start from it.
        progress: Hashes to progress.

    Returns:
        True where it is finished and has not lost a checkpoint that a run still to come starts from.
    """
    waiting = [
        other for other in runs if other.upstream == run.hash and progress[other.hash].state in PENDING
    ]
    return is_done(run) and not has_lost(run, _checkpoints(waiting))

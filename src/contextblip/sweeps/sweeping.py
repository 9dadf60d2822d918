"""A sweep from its files to tables and plots: plan, run what is missing, write what came out."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from contextblip.cores import count_cores
from contextblip.errors import ConfigurationError
from contextblip.sweeps.beside_paper import measured_on
from contextblip.sweeps.checks import check_places, missing_weights
from contextblip.sweeps.definition import read_sweeps
from contextblip.sweeps.display import Display, uses
from contextblip.sweeps.figure import draw
from contextblip.sweeps.on_ray import Chain, RayOptions, RayScheduler
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings, make_plan
from contextblip.sweeps.results import ResultsFile
from contextblip.sweeps.run_process import COMMAND, visible_gpus, worker_environments
from contextblip.sweeps.run_state import is_done
from contextblip.sweeps.schedule import Listener, Scheduler, Workplace
from contextblip.sweeps.summary import estimate, write_summary
from contextblip.sweeps.tables import markdown
from contextblip.sweeps.work import PENDING, Progress, survey

LOCKS = ".locks"


@dataclass(frozen=True)
class Options:
    """How a sweep is run.

    Attributes:
        results: The results file; ``None``: in the output folder.
        workers: Runs at once.
        ray: Set to run on a Ray cluster.
        is_dry_run: Whether only the plan is printed.
        command: What stands for ``lightning``.
    """

    results: Path | None = None
    workers: int = 1
    ray: RayOptions | None = None
    is_dry_run: bool = False
    command: Sequence[str] = field(default=COMMAND)


def sweep(file: Path, settings: Settings, options: Options, console: Console | None = None) -> bool:
    """Plan a sweep file, run what is missing, and write summaries, plots and tables.

    Args:
        file: The sweep file.
        settings: What the command line adds to it.
        options: How it is run.
        console: Where to show what happens; ``None`` is standard output.

    Returns:
        Whether everything is there now.

    Raises:
        ConfigurationError: The file, a key or a value cannot be used.
        KeyboardInterrupt: It was interrupted; runs have been stopped and what is there was written.
    """
    console = console or Console(file=sys.stdout, soft_wrap=False)
    results = ResultsFile(options.results or settings.out / "results.csv")
    check_places(settings.out, results.path)
    plan = make_plan(read_sweeps(file), settings)
    progress = survey(plan, results.rows())
    for note in _unmeasured(plan):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    missing = missing_weights(plan.runs[key] for key, each in progress.items() if each.state in PENDING)
    if options.is_dry_run:
        show_plan(plan, progress, console)
        console.print(missing or "", end="\n" * bool(missing), markup=False, highlight=False, soft_wrap=True)
        return True
    if missing:
        raise ConfigurationError(missing)
    settings.out.mkdir(parents=True, exist_ok=True)
    _record_finished(plan, progress, results)
    try:
        _work(plan, progress, results, settings, options, console)
    finally:
        _write_reports(plan, results, settings.out, console)
    return _list_problems(plan, progress, console)


def _unmeasured(plan: Plan) -> list[str]:
    """Say of which sweeps no number is kept."""
    sweeps = [planned.sweep for planned in plan.sweeps if not any(planned.sweep.measures.values())]
    return [f"sweep {each.name} has no measures: nothing will be tabulated or plotted" for each in sweeps]


def _record_finished(plan: Plan, progress: dict[str, Progress], results: ResultsFile) -> None:
    """Add rows of runs that finished under another sweep, results file or set of measures."""
    for key, run in plan.runs.items():
        if progress[key].state == "finished" and is_done(run):
            try:
                results.record(run)
            except ConfigurationError as error:
                progress[key] = Progress("failed", f"finished, but {error}")


def _work(
    plan: Plan,
    progress: dict[str, Progress],
    results: ResultsFile,
    settings: Settings,
    options: Options,
    console: Console,
) -> None:
    """Run what is missing, here or on a cluster."""
    left = {key for key, each in progress.items() if each.state in PENDING}
    if not left:
        console.print(f"All {len(plan.runs)} runs are there; none is run again.", highlight=False)
        return
    token = uuid.uuid4().hex
    locks = settings.out / "runs" / LOCKS
    with Display(plan.runs, progress, console) as display:
        if options.ray is None:
            gpus = visible_gpus() if options.workers > 1 else []
            environments = worker_environments(options.workers, gpus, count_cores())
            place = Workplace(environments, locks, results, token, command=options.command)
            Scheduler(plan.runs, progress, place, display).work()
        else:
            _work_on_ray(plan, progress, (locks, results.path, token), options, display)


def _work_on_ray(
    plan: Plan,
    progress: dict[str, Progress],
    place: tuple[Path, Path, str],
    options: Options,
    listener: Listener,
) -> None:
    """Give each chain to the cluster as a task."""
    if options.ray is None:
        raise ValueError("no cluster is named")
    locks, results, token = place
    left = {key for key, each in progress.items() if each.state in PENDING}
    cwd = Path.cwd()
    chains = [
        Chain(
            runs=tuple(runs),
            states={run.hash: progress[run.hash] for run in runs},
            locks=locks,
            results=results,
            token=token,
            cwd=cwd,
            threads=max(1, int(options.ray.cpus)),
            command=options.command,
        )
        for runs in plan.chains(left)
    ]
    scheduler = RayScheduler(chains, progress, options.ray, listener)
    scheduler.connect()
    scheduler.work()


def _write_reports(plan: Plan, results: ResultsFile, out: Path, console: Console) -> None:
    """Write summary, plot and table of each sweep, with what is there; a terminal shows the table too."""
    rows = results.rows()
    for planned in plan.sweeps:
        estimates = estimate(planned, rows)
        if not any(found.values for found in estimates):
            continue
        folder = out / planned.sweep.name
        folder.mkdir(parents=True, exist_ok=True)
        write_summary(folder / "summary.csv", estimates, planned.sweep.name)
        table = markdown(plan, planned, estimates)
        (folder / "table.md").write_text(table, encoding="utf-8")
        drawn = draw(folder / "plot.png", planned, estimates, measured_on(plan, planned))
        if console.is_terminal and drawn:
            console.print(Markdown(table))
        names = ["summary.csv", "table.md", *(["plot.png"] if drawn else [])]
        console.print(f"{folder}: {', '.join(names)}", markup=False, highlight=False, soft_wrap=True)


def _list_problems(plan: Plan, progress: dict[str, Progress], console: Console) -> bool:
    """List what failed or was skipped."""
    problems = {key: each for key, each in progress.items() if each.state in ("failed", "skipped")}
    for key, each in problems.items():
        run = plan.runs[key]
        line = f"{each.state}: {run.name} ({uses(run)}): {each.error}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return not problems


def show_plan(plan: Plan, progress: dict[str, Progress], console: Console) -> None:
    """Print which runs there are, what each is for and what is left to do.

    Args:
        plan: The plan.
        progress: States of its runs.
        console: Where to print.
    """
    table = Table("run", "for", "state", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for key, run in plan.runs.items():
        table.add_row(*map(Text, (run.name, "; ".join(map(str, run.used_by[:3])), progress[key].state)))
    console.print(table)
    wanted = sum(len(trial.runs) for planned in plan.sweeps for trial in planned.trials)
    shared = sum(len(run.used_by) > 1 for run in plan.runs.values())
    left = sum(each.state in PENDING for each in progress.values())
    trials = sum(len(planned.trials) for planned in plan.sweeps)
    console.print(
        f"{trials} trials of {wanted} stages are {len(plan.runs)} runs, {shared} of them shared; "
        f"{left} to do, {len(plan.runs) - left} there or not needed",
        highlight=False,
        soft_wrap=True,
    )

"""What a sweep shows: a live table on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from contextblip.sweeps.plan import Run
from contextblip.sweeps.work import PENDING, Progress

STYLES = {"running": "bold", "failed": "red", "skipped": "red", "finished": "green", "recorded": "green"}
# In this order where the terminal is too low for all
URGENCY = ("failed", "running", "skipped", "stopped", "elsewhere", "to resume", "to do", "finished")

ROOMY = 90  # columns of a terminal


class Display:
    """Follows the runs of a sweep. Use it as a context.

    Args:
        runs: The runs.
        progress: Their states; read whenever something changes.
        console: Where to show it.
    """

    def __init__(self, runs: Mapping[str, Run], progress: dict[str, Progress], console: Console) -> None:
        self.runs = runs
        self.progress = progress
        self.console = console
        self._begun = time.monotonic()
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._drawn = 0.0

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def changed(self, run: Run, progress: Progress) -> None:
        """Say what happened, where there is no live table.

        Args:
            run: The run.
            progress: Its new state.
        """
        if self._live is not None:
            if progress.state == "failed":
                self.console.print(f"{run.name} failed: {progress.error}", markup=False, soft_wrap=True)
            return
        elapsed = shown_time(time.monotonic() - self._begun)
        parts = [f"{elapsed}  {self._count()}  {run.name}  {uses(run)}: {progress.state}"]
        parts += [f"in {shown_time(progress.seconds)}"] if progress.seconds else []
        parts += [detail for detail in (progress.metric, progress.error) if detail]
        self.console.print(", ".join(parts), markup=False, soft_wrap=True, highlight=False)

    def tick(self) -> None:
        """Redraw the live table, at most twice a second."""
        if self._live is not None and time.monotonic() - self._drawn > 0.5:
            self._drawn = time.monotonic()
            self._live.update(self.render(), refresh=True)

    def _count(self) -> str:
        ended = sum(p.state not in (*PENDING, "running") for p in self.progress.values())
        return f"{ended}/{len(self.progress)}"

    def render(self) -> Group:
        """Draw the runs, the urgent ones first where not all fit.

        Returns:
            A line with the counts, and the table.
        """
        shown = [key for key in self.runs if self.progress[key].state not in ("not needed", "recorded")]
        room = max(3, self.console.height - 6)
        if len(shown) > room:
            shown = sorted(shown, key=lambda key: URGENCY.index(self.progress[key].state))[:room]
        gap = 2 if self.console.width >= ROOMY else 1
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
        for name in ("run", "for", "state", "time", "latest"):  # a row that breaks would push others out
            table.add_column(name, justify="right" if name == "time" else "left", no_wrap=True)
        for key in shown:
            run, progress = self.runs[key], self.progress[key]
            cells = [run.name, uses(run), progress.state, shown_time(progress.seconds), progress.metric]
            table.add_row(*map(Text, cells), style=STYLES.get(progress.state))
        hidden = len(self.runs) - len(shown)
        more = f", {hidden} not shown" if hidden else ""
        elapsed = shown_time(time.monotonic() - self._begun)
        return Group(Text(f"{self._count()} runs ended after {elapsed}{more}"), table)


def uses(run: Run) -> str:
    """Say what a run is for.

    Args:
        run: The run.

    Returns:
        Its first use, and the number of further ones.
    """
    more = len(run.used_by) - 1
    return f"{run.used_by[0]}{f' (+{more})' if more > 0 else ''}"


def shown_time(seconds: float) -> str:
    """Write a time span.

    Args:
        seconds: Its length.

    Returns:
        Hours, minutes and seconds; nothing for no time at all.
    """
    return str(timedelta(seconds=round(seconds))) if seconds else ""

"""Show how far a long verification is: a bar on terminals, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_A_LINE = 30.0

Advance = Callable[[int, int], None]


@contextmanager
def progress(console: Console, total: int) -> Iterator[Advance]:
    """Show progress over images.

    Args:
        console: Where to show it.
        total: Number of images.

    Yields:
        To be called with how many more images are done and how many of them are unreadable.
    """
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task("decoding", total=total, bad=0)
            bad = 0

            def move(done: int, more_bad: int) -> None:
                nonlocal bad
                bad += more_bad
                bar.update(task, advance=done, bad=bad)

            yield move
    else:
        yield _Lines(console, total)


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[bad]} unreadable"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, expand=True)


class _Lines:
    """Print a line when the last one is old enough."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.total = total
        self.done = self.bad = 0
        self.printed_at = time.monotonic()

    def __call__(self, done: int, bad: int) -> None:
        self.done += done
        self.bad += bad
        if time.monotonic() - self.printed_at >= SECONDS_A_LINE:
            self.printed_at = time.monotonic()
            self.console.print(
                f"{self.done:,} of {self.total:,} images, {self.bad:,} unreadable", highlight=False
            )

"""What the user sees: the table, the keys of the fastest setting that fits, and what to know of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from contextblip.planning.experiment import Experiment
from contextblip.planning.memory import GIB
from contextblip.planning.predicting import USABLE_SHARE, Profile, Row, Setting
from contextblip.tasks import BackbonePretraining, InterContext, Pretraining

TRUSTED_MISS = 0.2
"""Further off than this, as a share, the times say more of what else ran than of the micro-batch."""


def print_table(rows: Sequence[Row], title: str, chosen: Row | None) -> None:
    """Print a row a precision and micro-batch; the chosen one is bold.

    Args:
        rows: Of all precisions.
        title: Stands above.
        chosen: The fastest that fits.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("precision", no_wrap=True)
    for name in (
        "micro-\nbatch",
        "accumu-\nlation",
        "memory\nin GiB",
        "seconds\na step",
        "samples\na second",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(
            row.precision,
            str(row.micro_batch),
            str(row.accumulation),
            f"{row.memory / GIB:.2f}",
            _short(row.seconds),
            _short(row.samples_per_second),
            "yes" if row.fits else "no",
            "measured" if row.is_measured else "predicted",
            style="bold" if row is chosen else "",
        )
    console = Console()
    console.print(title, soft_wrap=True, highlight=False)
    console.print(table)


def _short(number: float) -> str:
    """Write three digits, without an exponent."""
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"


def title_of(experiment: Experiment, setting: Setting) -> str:
    """Say what is planned, on what.

    Args:
        experiment: What is planned.
        setting: Where.

    Returns:
        One line.
    """
    kind = "GPU" if experiment.workload.accelerator == "cuda" else "CPU"
    devices = f"{setting.devices} {kind} device{'s' if setting.devices > 1 else ''}"
    return (
        f"{experiment.kind.task.__name__}, global batch {setting.global_batch} on {devices} with "
        f"{setting.memory / GIB:.1f} GiB each, of which {USABLE_SHARE:.0%} count as usable"
    )


def keys_of(row: Row, experiment: Experiment, devices: int | None) -> str:
    """Write a row as keys of `lightning fit`, to be added to those that were given.

    Args:
        row: A row.
        experiment: What is planned.
        devices: Value of ``--devices``.

    Returns:
        Words of a command line; accumulation follows from ``data.global_batch_size``.
    """
    keys = {"data.batch_size": str(row.micro_batch), "trainer.precision": row.precision}
    if devices is not None:
        keys["trainer.devices"] = str(devices)
    if not experiment.names_global_batch:
        keys["data.global_batch_size"] = str(experiment.global_batch)
    if experiment.accumulation != 1:
        keys["trainer.accumulate_grad_batches"] = str(row.accumulation)
    return " ".join(f"--{key} {value}" for key, value in keys.items())


def notes(
    experiment: Experiment, setting: Setting, profiles: Sequence[Profile], chosen: Row | None
) -> Iterator[str]:
    """Say what the numbers leave out and how far to trust them.

    Args:
        experiment: What is planned.
        setting: Where.
        profiles: Costs, one a precision.
        chosen: The fastest row that fits.

    Yields:
        Lines.
    """
    task, workload = experiment.kind.task, experiment.workload
    pairs = task in (Pretraining, BackbonePretraining)
    if pairs:
        scope = (
            "a pass on all devices" if workload.task["init_args"].get("negatives") == "global" else "a pass"
        )
        yield (
            f"The micro-batch changes the method: negatives are drawn among the pairs of {scope}, "
            f"not of the global batch. The experiment has data.batch_size {experiment.batch_size}."
        )
    for profile in profiles:
        sizes = ", ".join(str(point.size) for point in profile.points)
        misses = f"{profile.seconds.miss:.0%} in time and {profile.memory.miss:.0%} in memory"
        if profile.seconds.miss > TRUSTED_MISS:
            misses += "; do not trust the times: try again on an idle machine, or with more --steps"
        yield (
            f"{profile.precision}: straight line through micro-batches {sizes}, "
            f"{f'off by at most {misses}' if len(profile.points) > 2 else 'which two points cannot check'}."
        )
    images = (
        "" if pairs else ", and ten images of its own for every query (data.group_sets lets queries share)"
    )
    yield (
        f"Made-up batches: every text has data.max_tokens {workload.max_tokens} tokens{images}. "
        "Loading data is not measured."
    )
    if task is InterContext:
        yield "The frozen features are computed in every step, as in the first epoch or with data.augment."
    if setting.devices > 1:
        yield "Devices take the time of one: communication is not measured."
    if setting.devices > 1 and workload.accelerator == "cpu":
        yield "The devices of a CPU share its memory and its cores: each is slower than the one measured."
    if chosen is not None and not chosen.is_measured:
        sizes = " ".join(str(size) for size in (*workload.sizes, chosen.micro_batch))
        yield f"The fastest is predicted; to measure it: --sizes {sizes}"

"""Whole steps of the method against two peers, in one run: seconds and peak memory.

    python -m benchmarks.speed [--cases CASE ...] [--rounds N] [--threads N]

``stock`` is transformers' `BlipForImageTextRetrieval` in its usual loop, ``plain`` our own model with every
optimisation off; both compute in fp32. Before the clock starts both sides must have computed the same.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES
from benchmarks.command import make_parser
from benchmarks.data import save
from benchmarks.inputs import write_backbone
from benchmarks.machine import THREADS, refuse_committed, use_threads
from benchmarks.peak import peak_mb
from benchmarks.sides import PRECISIONS, MismatchError, Precision, check_equal
from benchmarks.timing import interleave
from contextblip.errors import ConfigurationError

RESULTS = Path(__file__).with_name("results.json")
KEYS = (
    *("case", "precision", "ours_s", "stock_s", "plain_s", "speedup", "goal"),
    *("ours_peak_mb", "stock_peak_mb", "plain_peak_mb"),
)

Row = dict[str, Any]


def run(
    cases: Sequence[str] = tuple(CASES),
    rounds: int = 5,
    size: str = "base",
    threads: int = THREADS,
    *,
    memory: bool = True,
) -> list[Row]:
    """Compare both sides of each case in each precision.

    Args:
        cases: Names in `benchmarks.cases.CASES`.
        rounds: Pairs of runs that count.
        size: One of `benchmarks.inputs.SIZES`; goals are those of ``base`` alone.
        threads: Of PyTorch.
        memory: Whether peak memory is measured too, in processes of their own.

    Returns:
        One row a case and precision with `KEYS`: medians of seconds, ``speedup``, the peer's over ours, and
        megabytes; ``None`` is what the row has not.

    Raises:
        MismatchError: Two sides computed different things.
    """
    with use_threads(threads), TemporaryDirectory() as folder:
        backbone = write_backbone(size, Path(folder) / "backbone")
        rows = [row for name in cases for row in _times(name, backbone, rounds, with_goals=size == "base")]
        if memory:
            _add_memory(rows, backbone, threads)
    return rows


def _times(name: str, backbone: Path, rounds: int, *, with_goals: bool) -> list[Row]:
    """Check that the sides of a case agree, and time them."""
    case, rows = CASES[name], []
    peer = case.theirs(backbone)
    expected = peer()
    for precision in PRECISIONS:
        ours = case.ours(backbone, precision)
        check_equal(name, precision, ours(), expected)
        seconds = interleave(ours, peer, rounds)
        rows.append(
            dict.fromkeys(KEYS)
            | {
                "case": name,
                "precision": precision,
                "ours_s": seconds.ours,
                f"{case.peer}_s": seconds.peer,
                "speedup": seconds.peer / seconds.ours,
                "goal": case.goals[precision] if with_goals else None,
            }
        )
    return rows


def _add_memory(rows: Sequence[Row], backbone: Path, threads: int) -> None:
    """Measure each case's peer once, since it is the same in all rows, and our side in each precision."""
    peers: dict[str, float] = {}
    for row in rows:
        name: str = row["case"]
        precision: Precision = row["precision"]
        if name not in peers:
            peers[name] = peak_mb(name, "peer", "fp32", backbone, threads)
        row[f"{CASES[name].peer}_peak_mb"] = peers[name]
        row["ours_peak_mb"] = peak_mb(name, "ours", precision, backbone, threads)


def missed(rows: Sequence[Row]) -> list[str]:
    """List the goals that were missed.

    Args:
        rows: From `run`.

    Returns:
        One line a goal.
    """
    lines = []
    for row in rows:
        name = f"{row['case']}, {row['precision']}"
        if row["goal"] is not None and row["speedup"] < row["goal"]:
            lines.append(f"{name}: {row['speedup']:.2f} < {row['goal']:g} times")
        ours, peer = row["ours_peak_mb"], row["stock_peak_mb"] or row["plain_peak_mb"]
        if row["goal"] is not None and ours is not None and ours > peer:
            lines.append(f"{name}: {ours:,.0f} > {peer:,.0f} MB")
    return lines


def table_of(rows: Sequence[Row]) -> Table:
    """Lay the rows out."""
    table = Table(
        *("", "", "peer", "ours, s", "peer, s", "speedup", "goal", "ours, MB", "peer, MB"),
        title="whole steps, medians and peak memory",
    )
    for row in rows:
        peer = CASES[row["case"]].peer
        seconds = (f"{row[name]:,.3f}" for name in ("ours_s", f"{peer}_s"))
        goal = "" if row["goal"] is None else f"{row['goal']:g}"
        peaks = (
            "" if row[key] is None else f"{row[key]:,.0f}" for key in ("ours_peak_mb", f"{peer}_peak_mb")
        )
        table.add_row(row["case"], row["precision"], peer, *seconds, f"{row['speedup']:.2f}", goal, *peaks)
    return table


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the results; exit status 1 where a goal is missed or sides differ."""
    parser = make_parser("speed", __doc__, rounds=5, what="pairs of runs")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="which ones")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write")
    parser.add_argument("--skip_memory", action="store_true", help="leave peak memory out")
    arguments = parser.parse_args(words)
    try:
        refuse_committed(arguments.size, arguments.results, RESULTS)
        rows = run(
            arguments.cases,
            arguments.rounds,
            arguments.size,
            arguments.threads,
            memory=not arguments.skip_memory,
        )
    except ConfigurationError as error:
        parser.exit(2, f"error: {error}\n")
    except MismatchError as error:
        parser.exit(1, f"error: the sides do different work: {error}\n")
    Console(width=120).print(table_of(rows))
    save(rows, arguments.results)
    if lines := missed(rows):
        sys.exit("missed: " + "; ".join(lines))


if __name__ == "__main__":
    main()

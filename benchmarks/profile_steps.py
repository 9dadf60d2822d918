"""Where the time of our side of each case goes: the operations that the processor worked longest for.

    python -m benchmarks.profile_steps [--cases CASE ...] [--precision PRECISION] [--into PAGE]

Tables in Markdown; self time is an operation's own, without those that it calls.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from torch.profiler import ProfilerActivity, profile

from benchmarks.cases import CASES
from benchmarks.command import make_parser
from benchmarks.inputs import write_backbone
from benchmarks.machine import THREADS, use_threads
from benchmarks.markers import layout, marker_pair, put_between
from benchmarks.sides import PRECISIONS, Precision, Side
from contextblip.errors import ConfigurationError

MARKER = "profile"
TOP = 10


def write_tables(cases: Sequence[str], precision: Precision, size: str, threads: int = THREADS) -> str:
    """Profile one run of each case, after one that warms up.

    Args:
        cases: Names in `benchmarks.cases.CASES`.
        precision: Of the model.
        size: One of `benchmarks.inputs.SIZES`.
        threads: Of PyTorch.

    Returns:
        Markdown: a title and a table a case.
    """
    blocks = []
    with use_threads(threads), TemporaryDirectory() as folder:
        backbone = write_backbone(size, Path(folder) / "backbone")
        for name in cases:
            rows = profiled(CASES[name].ours(backbone, precision))
            of_size = "" if size == "base" else f", {size} size"
            blocks += [f"{name.capitalize()}, {precision}{of_size}", layout(rows, left=1)]
    return "\n\n".join(blocks) + "\n"


def profiled(side: Side) -> list[list[str]]:
    """Profile a run.

    Args:
        side: What is run, twice.

    Returns:
        Heads and one row an operation, the longest first: name, calls, self time in ms and its share in %.
    """
    side()
    side.prepare()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        side.run()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    longest = sorted(events, key=lambda event: event.self_cpu_time_total, reverse=True)[:TOP]
    return [
        ["operation", "calls", "self CPU, ms", "share, %"],
        *(
            [
                f"`{event.key}`",
                f"{event.count:,}",
                f"{event.self_cpu_time_total / 1000:,.1f}",
                f"{100 * event.self_cpu_time_total / total:.1f}",
            ]
            for event in longest
        ),
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, or put them into a page; exit status 2 where it has no place for them."""
    opening, closing = marker_pair(MARKER)
    parser = make_parser("profile_steps", __doc__)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="which ones")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="of the model")
    parser.add_argument("--into", type=Path, metavar="PAGE", help=f"put them between {opening} and {closing}")
    arguments = parser.parse_args(words)
    tables = write_tables(arguments.cases, arguments.precision, arguments.size, arguments.threads)
    if arguments.into is None:
        print(tables, end="")
        return
    try:
        put_between(arguments.into, MARKER, tables)
    except ConfigurationError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()

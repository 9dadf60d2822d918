"""The image encoder's speed as a share of what the processor's matrix products reach, in one run.

    python -m benchmarks.encoder_peak [--rounds N] [--threads N]

The peak is that of the fastest of some products of large square matrices in the same precision, by one of the
libraries that the model's layers use, measured in turn with the encoder, so that the share also holds on a
machine whose speed changes. Each product is repeated until it has done as many operations as the encoder, and
the fastest is the one with the highest median: the highest of several glances would be the machine's best
moment, which the encoder has no more often than any one of them.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.command import make_parser
from benchmarks.data import save
from benchmarks.flops import count_flops
from benchmarks.inputs import CANDIDATES, SEED, draw_images
from benchmarks.machine import THREADS, describe, refuse_committed, use_threads
from benchmarks.ours import mixed
from benchmarks.sides import PRECISIONS, Precision
from contextblip.errors import ConfigurationError
from contextblip.models import PRESETS, ContextBLIP
from contextblip.models.linear import linear

RESULTS = Path(__file__).with_name("encoder.json")
GOALS: Mapping[Precision, float] = {"fp32": 0.9, "bf16": 0.7}
SIDES: Mapping[str, Sequence[int]] = {"base": (1024, 2048, 4096), "miniature": (64, 128)}
TYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

Row = dict[str, Any]


def run(rounds: int = 5, size: str = "base", threads: int = THREADS) -> dict[str, Any]:
    """Measure encoder and matrix products in both precisions.

    Args:
        rounds: Runs of each that count.
        size: One of `benchmarks.inputs.SIZES`; goals are those of ``base`` alone.
        threads: Of PyTorch.

    Returns:
        The ``command``, the ``machine``, ``size``, ``gflop_per_image``, and ``encoder``: one row a precision
        with ``precision``, ``images_per_s``, ``gflops``, ``mm_gflops`` (by PyTorch's own product alone),
        ``peak_gflops``, ``share`` and ``goal``; medians over the rounds.
    """
    config, generator = PRESETS[size], torch.Generator().manual_seed(SEED)
    with use_threads(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = ContextBLIP.build(config, adapter_layers=()).eval()
        images = draw_images(config, CANDIDATES, generator)

        def encode(precision: Precision) -> None:
            with torch.no_grad(), mixed(precision):
                model.encode_images(images)

        flops = count_flops(lambda: encode("fp32"))
        rows = [
            _row(precision, lambda p=precision: encode(p), flops, rounds, size)  # type: ignore[misc]
            for precision in PRECISIONS
        ]
    return {
        "command": f"python -m benchmarks.encoder_peak --rounds {rounds} --size {size} --threads {threads}",
        "machine": describe(threads),
        "size": size,
        "gflop_per_image": flops / CANDIDATES / 1e9,
        "encoder": rows,
    }


def _row(precision: Precision, encode: Callable[[], None], flops: int, rounds: int, size: str) -> Row:
    """Take turns with the products; the share is that of each round, since speed may change between them."""
    products = [product for side in SIDES[size] for product in _products(side, TYPES[precision])]
    rates, reached = [], []
    for number in range(rounds + 1):
        rate = _gflops(encode, flops)
        row = [_gflops(multiply, operations, flops) for multiply, operations in products]
        if number:  # the first round warms up
            rates.append(rate)
            reached.append(row)
    medians = [median(column) for column in zip(*reached, strict=True)]
    best = medians.index(max(medians))
    return {
        "precision": precision,
        "images_per_s": median(rates) * 1e9 / flops * CANDIDATES,
        "gflops": median(rates),
        "mm_gflops": max(medians[::2]),
        "peak_gflops": medians[best],
        "share": median(rate / row[best] for rate, row in zip(rates, reached, strict=True)),
        "goal": GOALS[precision] if size == "base" else None,
    }


def _products(side: int, dtype: torch.dtype) -> list[tuple[Callable[[], object], int]]:
    """Return a square product by PyTorch's own choice and as layers compute it, and its operations."""
    left, right = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    out = torch.empty_like(left)
    ways = (lambda: torch.mm(left, right, out=out), lambda: linear(left, right))
    return [(way, 2 * side**3) for way in ways]


def _gflops(work: Callable[[], object], flops: int, at_least: int = 0) -> float:
    """Time work that does so many operations, again and again until it has done ``at_least`` as many."""
    times = max(1, round(at_least / flops))
    start = time.perf_counter()
    for _ in range(times):
        work()
    return times * flops / (time.perf_counter() - start) / 1e9


def missed(results: Mapping[str, Any]) -> list[str]:
    """List the goals that were missed, one line each.

    Args:
        results: From `run`.

    Returns:
        The lines.
    """
    return [
        f"encoder, {row['precision']}: {row['share']:.0%} < {row['goal']:.0%} of the peak"
        for row in results["encoder"]
        if row["goal"] is not None and row["share"] < row["goal"]
    ]


def table_of(results: Mapping[str, Any]) -> Table:
    """Lay the rows out."""
    columns = ("images/s", "GFLOP/s", "torch.mm, GFLOP/s", "peak, GFLOP/s", "share", "goal")
    table = Table("", *columns, title="image encoder, medians")
    for row in results["encoder"]:
        rates = (f"{row[name]:,.1f}" for name in ("images_per_s", "gflops", "mm_gflops", "peak_gflops"))
        goal = "" if row["goal"] is None else f"{row['goal']:.0%}"
        table.add_row(row["precision"], *rates, f"{row['share']:.0%}", goal)
    return table


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the results; exit status 1 where a goal is missed."""
    parser = make_parser("encoder_peak", __doc__, rounds=5, what="runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write")
    arguments = parser.parse_args(words)
    try:
        refuse_committed(arguments.size, arguments.results, RESULTS)
    except ConfigurationError as error:
        parser.exit(2, f"error: {error}\n")
    results = run(arguments.rounds, arguments.size, arguments.threads)
    Console(width=120).print(table_of(results))
    save(results, arguments.results)
    if lines := missed(results):
        sys.exit("missed: " + "; ".join(lines))


if __name__ == "__main__":
    main()

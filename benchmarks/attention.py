"""`attend` beside PyTorch's fused attention kernel, on one thread of a CPU, with and without a backward pass.

    python -m benchmarks.attention [--rounds N]

In float32 both are the same kernel, so those ratios tell how finely the others can be read; in bf16 `attend`
takes plain matrix products. The two take turns, and milliseconds are those the processor worked, so that the
ratios also hold on a machine that does other work.
"""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.data import save
from benchmarks.machine import bf16_instructions, use_threads
from contextblip.models.attention import attend, split_heads

RESULTS = Path(__file__).with_name("attention.json")
PRECISIONS = {"bf16": torch.bfloat16, "float32": torch.float32}

Row = dict[str, Any]
Step = Callable[[], tuple[Tensor, ...]]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Shape(NamedTuple):
    """Sizes of one attention.

    Attributes:
        sequences: N.
        heads: Heads.
        queries: L of each sequence.
        keys: S of each sequence.
        width: Numbers a head.
    """

    sequences: int
    heads: int
    queries: int
    keys: int
    width: int


SHAPES = {
    "miniature, ViT": Shape(64, 4, 65, 65, 32),
    "miniature, cross-attention": Shape(192, 4, 20, 65, 32),  # the 3B pairs of matching
    "real size, ViT": Shape(4, 12, 197, 197, 64),
    "real size, cross-attention": Shape(12, 12, 30, 197, 64),
}


def make_step(way: Attend, shape: Shape, precision: torch.dtype, *, backward: bool = True) -> Step:
    """Prepare a pass, from and to states laid out as the model's layers have them.

    Args:
        way: Computes attention of queries, keys and values.
        shape: Their sizes.
        precision: Their data type.
        backward: Whether a backward pass belongs to it.

    Returns:
        What runs one pass; it returns the attended states and the three gradients, if any.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = (shape.queries, shape.keys, shape.keys, shape.queries)
    *states, upstream = (
        torch.randn(shape.sequences, length, shape.heads * shape.width, generator=generator).to(precision)
        for length in lengths
    )
    states = [state.requires_grad_(backward) for state in states]

    def step() -> tuple[Tensor, ...]:
        query, key, value = (split_heads(state, shape.heads) for state in states)
        with torch.set_grad_enabled(backward):
            attended = way(query, key, value).transpose(1, 2).flatten(2)
        gradients = torch.autograd.grad(attended, states, upstream) if backward else ()
        return (attended.detach(), *gradients)

    return step


def compare(fused: Step, ours: Step, rounds: int) -> Row:
    """Time two ways in turn, pass by pass.

    Args:
        fused: Runs a pass through PyTorch's kernel.
        ours: Runs the same pass through `attend`.
        rounds: Passes of each.

    Returns:
        Medians of milliseconds a pass, and of fused over ours within each turn.
    """
    seconds: dict[str, list[float]] = {"fused": [], "ours": []}
    for number in range(rounds + 1):
        ways = [("fused", fused), ("ours", ours)]
        for name, step in ways if number % 2 else reversed(ways):
            start = time.process_time()
            step()
            if number:  # the first pass warms up
                seconds[name].append(time.process_time() - start)
    ratios = [one / other for one, other in zip(seconds["fused"], seconds["ours"], strict=True)]
    return {
        "fused_ms": 1000 * median(seconds["fused"]),
        "ours_ms": 1000 * median(seconds["ours"]),
        "ratio": median(ratios),
    }


def run(rounds: int) -> dict[str, Any]:
    """Time all shapes in both precisions on one thread.

    Args:
        rounds: Passes of each way.

    Returns:
        The ``command``, the ``machine``, and ``attention``: one row a shape and precision with ``case``,
        ``shape``, ``precision``, ``backward``, ``fused_ms``, ``ours_ms``, ``ratio``.
    """
    with use_threads(1):
        rows = [
            {"case": case, "shape": list(shape), "precision": name, "backward": backward}
            | compare(
                make_step(F.scaled_dot_product_attention, shape, precision, backward=backward),
                make_step(attend, shape, precision, backward=backward),
                rounds,
            )
            for name, precision in PRECISIONS.items()
            for backward in (False, True)
            for case, shape in SHAPES.items()
        ]
    return {
        "command": f"python -m benchmarks.attention --rounds {rounds}",
        "machine": {
            "instructions": [torch.backends.cpu.get_cpu_capability(), *bf16_instructions()],
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "attention": rows,
    }


def table_of(rows: Sequence[Row]) -> Table:
    """Lay the rows out."""
    table = Table(
        *("", "N×heads×L×S×width", "", "backward", "fused, ms", "ours, ms", "ratio"),
        title="attention, one thread, medians",
    )
    for row in rows:
        sizes = "×".join(str(size) for size in row["shape"])
        times = (f"{row[name]:,.1f}" for name in ("fused_ms", "ours_ms"))
        backward = "yes" if row["backward"] else "no"
        table.add_row(row["case"], sizes, row["precision"], backward, *times, f"{row['ratio']:.2f}")
    return table


def main() -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="passes of each way")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write")
    arguments = parser.parse_args()
    results = run(arguments.rounds)
    Console(width=120).print(table_of(results["attention"]))
    save(results, arguments.results)


if __name__ == "__main__":
    main()

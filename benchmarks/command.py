"""The words that the benchmarks of the model share."""

import argparse

from benchmarks.inputs import SIZES
from benchmarks.machine import THREADS


def make_parser(
    module: str, doc: str | None, rounds: int | None = None, what: str = ""
) -> argparse.ArgumentParser:
    """Make a benchmark's parser, with its size and threads.

    Args:
        module: Name of its module.
        doc: The module's docstring, whose first line describes it.
        rounds: How many count by default; ``None``: it has none.
        what: What a round is.

    Returns:
        The parser.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=(doc or "").splitlines()[0]
    )
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"{what} that count")
    parser.add_argument("--size", choices=SIZES, default="base", help="miniature is for trying it out")
    parser.add_argument("--threads", type=int, default=THREADS, help="of PyTorch")
    return parser

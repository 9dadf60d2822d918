"""`lightning compare`: whether two runs, or two groups of runs over seeds, can be told apart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from contextblip.errors import ConfigurationError


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `compare` takes.

    Args:
        parser: Parser of the verb.
    """
    parser.usage = (
        "lightning compare RUN_A RUN_B [options]\n       lightning compare --a RUN... --b RUN... [options]"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "Examples:\n"
        "  lightning compare runs/zero_shot/version_0 runs/finetune/version_0\n"
        "  lightning compare --a runs/base_seed_* --b runs/ours_seed_* --json comparison.json"
    )
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="two run folders of `lightning test` on the same labelled data"
    )
    parser.add_argument("--a", nargs="+", metavar="RUN", help="runs of A, one a seed")
    parser.add_argument("--b", nargs="+", metavar="RUN", help="runs of B, one a seed")
    parser.add_argument(
        "--common", action="store_true", help="compare the queries that all answered where some answered more"
    )
    parser.add_argument(
        "--cluster",
        choices=("query", "set"),
        default="query",
        help="what is taken to be independent: queries, or image sets with all theirs; default: %(default)s",
    )
    parser.add_argument(
        "--flips", type=_count, default=0, metavar="N", help="list up to N flipped queries of each direction"
    )
    parser.add_argument(
        "--format", choices=("terminal", "markdown"), default="terminal", help="default: %(default)s"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers and flips there too")


def run_compare(arguments: argparse.Namespace) -> None:
    """Compare and print.

    Args:
        arguments: As parsed.

    Raises:
        ConfigurationError: The runs are not given as two or as two groups, or cannot be compared, or
            --json names no file that can be written.
    """
    from contextblip.comparison import compare_runs
    from contextblip.comparison.tables import print_terminal, to_markdown, write_json
    from contextblip.runs import read_run

    a, b = _groups(arguments)
    target = None if arguments.json is None else arguments.json.expanduser()
    if target is not None and target.is_dir():
        raise ConfigurationError(f"--json {arguments.json} is a folder; name a file that can be written")
    runs_a, runs_b = ([read_run(Path(folder).expanduser()) for folder in group] for group in (a, b))
    found = compare_runs(runs_a, runs_b, common=arguments.common, cluster=arguments.cluster)
    if arguments.format == "markdown":
        sys.stdout.write(to_markdown(found, arguments.flips))
    else:
        print_terminal(found, arguments.flips)
    if target is not None:
        try:
            write_json(found, target)
        except OSError as error:
            raise ConfigurationError(
                f"--json {arguments.json}: {error.strerror}; name a file that can be written"
            ) from error


def _groups(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Find the folders of A and of B."""
    if arguments.a and arguments.b and not arguments.runs:
        return arguments.a, arguments.b
    if len(arguments.runs) == 2 and not arguments.a and not arguments.b:
        return [arguments.runs[0]], [arguments.runs[1]]
    given = f"{len(arguments.runs)} run{'' if len(arguments.runs) == 1 else 's'}"
    options = [name for name in ("--a", "--b") if getattr(arguments, name[2:])]
    raise ConfigurationError(
        f"compare: takes RUN_A RUN_B, or --a RUN... --b RUN..., but got {' and '.join([given, *options])}"
    )


def _count(text: str) -> int:
    """Read a number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 0")
    return int(text)

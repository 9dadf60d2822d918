"""`lightning report`: the paper's tables with the numbers of runs beside them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# as contextblip.reports has them, whose import is not for help
FORMATS = ("terminal", "markdown", "csv", "latex")
TABLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 16)
REPORT_EXAMPLE = "lightning report runs/zero_shot/version_0 runs/inter_context/version_0 --table 15 2"


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `report` takes.

    Args:
        parser: Parser of the verb.
    """
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run folders; runs that differ only in seed are pooled",
    )
    parser.add_argument(
        "--table",
        nargs="+",
        type=_table,
        metavar="N",
        help="tables of the paper: 1 to 8, 10, 15, 16; default: all that the runs fill, of 4 to 7 those with "
        "two rows or more",
    )
    parser.add_argument("--format", choices=FORMATS, default="terminal", help="default: %(default)s")
    parser.add_argument("--to", type=Path, metavar="FILE", help="write there instead of the terminal")
    parser.add_argument(
        "--published_denominators",
        action="store_true",
        help="Table 2: divide by the annotation file's tag counts, as the paper did",
    )


def run_report(arguments: argparse.Namespace) -> None:
    """Print or write a report.

    Args:
        arguments: As parsed.

    Raises:
        ConfigurationError: A run cannot be read, has another split than a table asked for, or fills none.
    """
    from rich.console import Console

    from contextblip.reports import FORMATS as WRITERS
    from contextblip.reports import build_report, print_report
    from contextblip.runs import read_run

    runs = [read_run(folder.expanduser()) for folder in arguments.runs]
    numbers = list(dict.fromkeys(arguments.table)) if arguments.table else None
    report = build_report(runs, numbers, published_denominators=arguments.published_denominators)
    if arguments.to is not None:
        _write(arguments.to.expanduser(), WRITERS[arguments.format](report))
    elif arguments.format == "terminal" and sys.stdout.isatty():
        print_report(report, Console(highlight=False))
    else:
        sys.stdout.write(WRITERS[arguments.format](report))


def _table(text: str) -> int:
    """Read the number of a table that runs can fill."""
    number = text.lower().removeprefix("table")
    if not number.isdecimal() or int(number) not in TABLES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no table that runs fill (1 to 8, 10, 15, 16); run folders stand before --table"
        )
    return int(number)


def _write(path: Path, text: str) -> None:
    """Write a file, its folder too."""
    from contextblip.errors import ConfigurationError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--to {path}: {error.strerror}; name a file that can be written") from error
    sys.stdout.write(f"Wrote {path}\n")

"""Commands beside fit, validate, test and predict: each an entry of `VERBS`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from contextblip.cli.compare_verb import add_compare_arguments, run_compare
from contextblip.cli.data_verb import add_data_arguments, run_data
from contextblip.cli.errors import nearest
from contextblip.cli.plan_verb import PLAN_EXAMPLE, add_plan_arguments, run_plan
from contextblip.cli.report_verb import REPORT_EXAMPLE, add_report_arguments, run_report
from contextblip.cli.submit_check_verb import (
    SUBMIT_CHECK_EXAMPLE,
    add_submit_check_arguments,
    run_submit_check,
)
from contextblip.cli.sweep_verb import add_sweep_arguments, run_sweep
from contextblip.cli.weights_verb import add_weights_arguments, run_weights
from contextblip.errors import ConfigurationError

FORMS = ("contextblip", "salesforce", "huggingface")
_INVALID_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
_UNRECOGNIZED = re.compile(r"unrecognized arguments:.*?(--\S+)")


@dataclass(frozen=True)
class Verb:
    """A command with arguments of its own.

    Attributes:
        help: One line for the list of commands.
        add_arguments: Declares the arguments.
        run: Does the work; heavy imports belong inside, so that help stays quick.
        example: Shown at the end of its help.
        takes_keys: Whether words that it does not declare are keys of `fit`; `run` finds them in ``keys``.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    example: str = ""
    takes_keys: bool = False


class _VerbParser(argparse.ArgumentParser):
    """A parser whose mistakes are raised, to be printed as all others are; its subparsers are too."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the arguments, with the nearest valid choice."""
        given, choices = self._given_and_choices(message)
        hint = nearest(given, choices) if given else ""
        shown = _shorten_choices(message, choices, hint)
        raise ConfigurationError(f"{self.prog.removeprefix('lightning ')}: {shown}{hint}")

    def _given_and_choices(self, message: str) -> tuple[str, list[str]]:
        """Find in argparse's words what was given and what could have been."""
        if found := _INVALID_CHOICE.search(message):
            return found[1], [choice.strip("' ") for choice in found[2].split(",")]
        if found := _UNRECOGNIZED.search(message):
            return found[1].partition("=")[0], sorted(_option_names(self))
        return "", []


def _option_names(parser: argparse.ArgumentParser) -> set[str]:
    """List the options of a parser and of its subparsers."""
    names: set[str] = set()
    for action in parser._actions:
        names.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            names.update(*(_option_names(inner) for inner in action.choices.values()))
    return names


def _shorten_choices(message: str, choices: list[str], hint: str) -> str:
    """Leave the list of choices out where the nearest one is named, and write it alike in all Pythons."""
    before, found, _ = message.partition(" (choose from ")
    if not found:
        return message
    return before if hint else f"{before} (choose from {', '.join(choices)})"


def _add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `convert` takes."""
    parser.add_argument("src", metavar="SRC", help="weights: a folder or file of any known form, or a hub id")
    parser.add_argument("dst", metavar="DST", help="folder (or .pth file for salesforce) to write")
    parser.add_argument("--to", required=True, choices=FORMS, help="form to write")


def _convert(arguments: argparse.Namespace) -> None:
    """Rewrite weights in another form and say what did not match."""
    from contextblip.checkpoints import convert

    report = convert(arguments.src, arguments.dst, arguments.to)
    sys.stdout.write("".join(f"{line}\n" for line in [*report.lines(), f"Wrote {arguments.dst}"]))


def _add_summary_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `summary` takes."""
    chain = "zero_shot, stage_one, stage_two and mmvp"
    parser.add_argument("folder", metavar="DIR", help=f"folder that holds the runs {chain}")


def _summary(arguments: argparse.Namespace) -> None:
    """Print a chain's accuracies and write summary.json."""
    from contextblip.summary import print_summary

    print_summary(Path(arguments.folder))


def _add_gallery_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `gallery` takes."""
    parser.add_argument("run", metavar="RUN", help="run folder of `lightning test` or `lightning predict`")
    parser.add_argument("--image_root", required=True, metavar="DIR", help="folder of the image sets")
    parser.add_argument("--queries", type=int, default=4, help="how many, spread over the run")
    parser.add_argument("--to", default="gallery.png", metavar="FILE", help="png, pdf or svg to write")


def _gallery(arguments: argparse.Namespace) -> None:
    """Draw candidate sets with the run's scores."""
    from contextblip.gallery import choose_queries, draw_gallery, read_predictions

    rows = choose_queries(read_predictions(Path(arguments.run)), arguments.queries)
    draw_gallery(rows, Path(arguments.image_root), Path(arguments.to))
    sys.stdout.write(f"Wrote {arguments.to}\n")


VERBS = {
    "plan": Verb(
        "say which micro-batch and precision reach the global batch here, how fast and in what memory",
        add_plan_arguments,
        run_plan,
        PLAN_EXAMPLE,
        takes_keys=True,
    ),
    "sweep": Verb(
        "run a grid or variants of an experiment over seeds",
        add_sweep_arguments,
        run_sweep,
        "lightning sweep experiments/sweeps/mask_ratio.yaml --overlay experiments/miniature",
    ),
    "report": Verb(
        "print the paper's tables with the numbers of runs beside them",
        add_report_arguments,
        run_report,
        REPORT_EXAMPLE,
    ),
    "compare": Verb(
        "say whether two runs, or two groups of runs over seeds, can be told apart",
        add_compare_arguments,
        run_compare,
    ),
    "submit-check": Verb(
        "say whether the leaderboard would take a file of predictions",
        add_submit_check_arguments,
        run_submit_check,
        SUBMIT_CHECK_EXAMPLE,
    ),
    "data": Verb(
        "list, download, verify and describe the data sets",
        add_data_arguments,
        run_data,
        "lightning data download imagecode --root data",
    ),
    "weights": Verb(
        "list, download and verify published weights",
        add_weights_arguments,
        run_weights,
        "lightning weights download model_base",
    ),
    "gallery": Verb("draw candidate sets with a run's scores", _add_gallery_arguments, _gallery),
    "summary": Verb("print the accuracies of a chain of runs", _add_summary_arguments, _summary),
    "convert": Verb("rewrite a backbone's weights in another form", _add_convert_arguments, _convert),
}


def run_verb(name: str, words: list[str]) -> None:
    """Run a command of `VERBS`.

    Args:
        name: Which one.
        words: Its arguments.

    Raises:
        ConfigurationError: The arguments are wrong.
    """
    verb = VERBS[name]
    parser = _VerbParser(
        prog=f"lightning {name}",
        description=f"{verb.help[0].upper()}{verb.help[1:]}.",
        epilog=f"Example: {verb.example}" if verb.example else None,
        allow_abbrev=False,
    )
    verb.add_arguments(parser)
    arguments, keys = parser.parse_known_args(words) if verb.takes_keys else (parser.parse_args(words), [])
    arguments.keys = keys
    verb.run(arguments)

"""`lightning submit-check`: whether the leaderboard would take a file of predictions."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

SUBMIT_CHECK_EXAMPLE = "lightning submit-check runs/inter_context/version_1/submission.json --root data"
_SHOWN = 3


def add_submit_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `submit-check` takes."""
    parser.add_argument("file", metavar="FILE", help="submission.json of `lightning predict`")
    parser.add_argument(
        "--root", required=True, metavar="DIR", help="folder of IMAGECODE, a parent of it, or miniature:DIR"
    )


def run_submit_check(arguments: argparse.Namespace) -> None:
    """Compare sets, lengths and ranges with the unlabelled test split.

    Args:
        arguments: From the command line.

    Raises:
        ConfigurationError: The leaderboard would refuse the file.
        DatasetNotFoundError: The test split is not there.
    """
    from contextblip.errors import ConfigurationError
    from contextblip.submission import read_submission, submission_faults

    submission = read_submission(Path(arguments.file).expanduser())
    descriptions = _descriptions(arguments.root)
    if faults := submission_faults(submission, descriptions):
        more = f" and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        kinds = {fault.remedy: fault for fault in reversed(faults)}  # the first of each
        shown = dict.fromkeys([*reversed(kinds.values()), *faults])
        problems = "; ".join(fault.problem for fault in list(shown)[:_SHOWN])
        remedies = "; ".join(reversed(kinds))
        raise ConfigurationError(f"{arguments.file} would be refused: {problems}{more}; {remedies}")
    total = sum(descriptions.values())
    sys.stdout.write(f"{arguments.file}: {len(submission):,} sets, {total:,} predictions, all in place\n")


def _descriptions(root: str) -> dict[str, int]:
    """Count the descriptions of each set of the unlabelled test split."""
    from contextblip.errors import DatasetNotFoundError
    from contextblip.worlds import asked_miniature

    asked = asked_miniature(root)
    folder = Path(root).expanduser() if asked is None else asked.folder
    reader = import_module("data_modules.imagecode_files")  # by name: this package does not know data sets
    try:
        path = reader.find_split_file(folder, "test")
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(str(error).replace("--data.root", "--root")) from error
    return {name: len(texts) for name, texts in reader.read_descriptions(path).items()}

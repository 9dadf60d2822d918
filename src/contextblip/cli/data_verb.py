"""`lightning data`: list, download, verify and describe the data sets."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from contextblip.errors import UserError

DATASETS = ("coco", "visual_genome", "imagecode", "mmvp_vlm")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `data` takes.

    Args:
        parser: Parser of the verb; its subparsers are of the same class.
    """
    actions = parser.add_subparsers(dest="action", metavar="list|download|verify|stats", required=True)
    texts = {
        "list": "list the data sets: source, licence, size, layouts",
        "download": "download a data set, or say what to copy where",
        "verify": "compare counts with the published ones and decode every image",
        "stats": "print counts, lengths and what would be cut",
    }
    subparsers = {
        name: actions.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
        )
        for name, text in texts.items()
    }
    for name in ("download", "verify", "stats"):
        subparsers[name].add_argument("name", choices=DATASETS, metavar="NAME", help=", ".join(DATASETS))
        subparsers[name].add_argument(
            "--root",
            required=True,
            type=_folder,
            metavar="DIR",
            help="folder of the data set or a parent of it",
        )
    _add_download_arguments(subparsers["download"])
    _add_verify_arguments(subparsers["verify"])
    _add_stats_arguments(subparsers["stats"])


def run_data(arguments: argparse.Namespace) -> None:
    """Run one of list, download, verify and stats.

    Args:
        arguments: As parsed.

    Raises:
        UserError: The data set is missing, or what lies there cannot be used.
    """
    run = {"list": _list, "download": _download, "verify": _verify, "stats": _stats}[arguments.action]
    try:
        run(arguments)
    except UserError as error:
        # the readers name the keys of training's command line; the same options are called shorter here
        raise type(error)(str(error).replace("--data.", "--")) from error


def _folder(text: str) -> Path:
    return Path(text).expanduser()


def _count(text: str) -> int:
    """Read a number that is at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _token_count(text: str) -> int:
    """Read a number of tokens; [CLS], [SEP] and one more are the least."""
    if not text.isdecimal() or int(text) < 3:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 3")
    return int(text)


def _add_download_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `data download` takes beside name and root."""
    parser.add_argument(
        "--parts", nargs="+", metavar="PART", help="only these parts; see `lightning data list`"
    )
    parser.add_argument(
        "--mirror", metavar="URL", help="take the files from here instead, e.g. file:///mnt/copy"
    )
    parser.add_argument("--dry_run", action="store_true", help="only say what would be downloaded to where")


def _add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `data verify` takes beside name and root."""
    parser.add_argument("--image_root", type=_folder, metavar="DIR", help="where images lie, if elsewhere")
    parser.add_argument(
        "--num_workers", type=_count, metavar="N", help="processes that decode; default: one a core"
    )
    parser.add_argument(
        "--report", type=_folder, metavar="FILE", help="default: ROOT/.contextblip/verify-NAME.json"
    )
    parser.add_argument("--no_images", action="store_true", help="check the annotation files alone")
    parser.add_argument(
        "--fresh", action="store_true", help="decode also what an earlier run found to be good"
    )
    parser.add_argument(
        "--allow_part", action="store_true", help="accept a part of the data set that is good as it is"
    )


def _add_stats_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `data stats` takes beside name and root."""
    parser.add_argument(
        "--tokenizer",
        metavar="SRC",
        help="vocab.txt, folder or hub id; default: beside the data, else the hub's",
    )
    parser.add_argument("--max_words", type=_count, default=30, metavar="N", help="words kept of a text")
    parser.add_argument(
        "--max_tokens",
        type=_token_count,
        default=30,
        metavar="N",
        help="tokens kept, [CLS] and [SEP] included",
    )
    parser.add_argument("--json", type=_folder, metavar="FILE", help="write the numbers there too")


def _load(module: str) -> Any:  # noqa: ANN401  # data_modules may import contextblip, never the reverse
    return import_module(f"data_modules.{module}")


def _list(_: argparse.Namespace) -> None:
    """Print the catalogue."""
    _load("catalogue").print_catalogue()


def _download(arguments: argparse.Namespace) -> None:
    """Download, or print what would be."""
    _load("catalogue").download_dataset(
        arguments.name,
        arguments.root,
        parts=arguments.parts,
        mirror=arguments.mirror,
        dry_run=arguments.dry_run,
    )


def _verify(arguments: argparse.Namespace) -> None:
    """Verify and write the report."""
    _load("verification").verify_dataset(
        arguments.name,
        arguments.root,
        image_root=arguments.image_root,
        num_workers=arguments.num_workers,
        report=arguments.report,
        with_images=not arguments.no_images,
        fresh=arguments.fresh,
        allow_part=arguments.allow_part,
    )


def _stats(arguments: argparse.Namespace) -> None:
    """Print the statistics."""
    _load("statistics").print_statistics(
        arguments.name,
        arguments.root,
        tokenizer=arguments.tokenizer,
        max_words=arguments.max_words,
        max_tokens=arguments.max_tokens,
        json_file=arguments.json,
    )

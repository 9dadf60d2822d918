"""`lightning weights`: list, download and verify the published weights that a backbone can be."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from contextblip.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from contextblip.weights_catalogue import WeightsEntry

DEFAULT_ROOT = "weights"
_WIDTH = 110  # columns where the output goes to no terminal
_NAME_HELP = "as `lightning weights list` gives it, such as model_base"


def add_weights_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `weights` takes.

    Args:
        parser: Parser of the verb; its subparsers are of the same class.
    """
    actions = parser.add_subparsers(dest="action", metavar="list|download|verify", required=True)
    _add(actions, "list", "list published weights: what, sizes, licence", "lightning weights list")
    download = _add(
        actions,
        "download",
        "download weights, or say what to copy where",
        "lightning weights download model_base",
    )
    download.add_argument("name", metavar="NAME", help=_NAME_HELP)
    download.add_argument("--mirror", metavar="URL", help="folder or URL to take the files from instead")
    download.add_argument("--dry_run", action="store_true", help="only say what would be copied to where")
    verify = _add(
        actions,
        "verify",
        "read weights and compare them with what was published",
        "lightning weights verify weights/model_base.pth",
    )
    verify.add_argument("name", metavar="NAME_OR_PATH", help=f"{_NAME_HELP}, or a file or folder")
    for subparser in (download, verify):
        subparser.add_argument(
            "--root", type=Path, default=Path(DEFAULT_ROOT), metavar="DIR", help="default: %(default)s"
        )


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str
) -> argparse.ArgumentParser:
    return actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"Example: {example}",
        allow_abbrev=False,
    )


def run_weights(arguments: argparse.Namespace) -> None:
    """Run one of list, download and verify.

    Args:
        arguments: As parsed.

    Raises:
        UserError: There are no such weights, they cannot be had, or they are not what was published.
    """
    if arguments.action == "list":
        print_weights()
    elif arguments.action == "download":
        download_weights(
            arguments.name, arguments.root.expanduser(), mirror=arguments.mirror, dry_run=arguments.dry_run
        )
    else:
        verify_weights(arguments.name, arguments.root.expanduser())


def print_weights() -> None:
    """Print the published weights."""
    from rich.console import Console
    from rich.table import Table

    from contextblip.downloads.remote_files import sum_words
    from contextblip.weights_catalogue import LICENCE, WEIGHTS

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("what")
    for title in ("pixels", "parameters", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    for entry in WEIGHTS.values():
        size = sum_words(entry.files[:1]).partition(", ")[2].removeprefix("size ")
        numbers = (str(entry.image_size), f"{entry.parameters / 1e6:.1f}M", size)
        table.add_row(entry.name, entry.what, *numbers, entry.licence)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    console.print(table)
    for entry in WEIGHTS.values():
        if entry.note:
            console.print(f"{entry.name}: {entry.note}", markup=False, soft_wrap=True)
    console.print(
        f"Parameters are the backbone's; files hold more. Licence: {LICENCE}.\n"
        "lightning weights download NAME [--root DIR] [--mirror URL] [--dry_run]",
        markup=False,
        soft_wrap=True,
    )


def download_weights(name: str, root: Path, *, mirror: str | None = None, dry_run: bool = False) -> None:
    """Download weights and say how to use them.

    Args:
        name: As `contextblip.weights_catalogue.find_weights` takes it.
        root: Folder for all weights.
        mirror: Folder or URL to take the files from instead.
        dry_run: Only say what would be copied where.

    Raises:
        ConfigurationError: There are no such weights.
        DownloadError: A file cannot be had, is not the published one, or there is no room.
    """
    from contextblip.downloads import download_all, missing_files
    from contextblip.downloads.remote_files import copy_list
    from contextblip.weights_catalogue import find_weights

    entry = find_weights(name)
    if dry_run:
        missing = missing_files(entry.files, root)
        there = f"{len(entry.files) - len(missing)} of {len(entry.files)} files are there already"
        sys.stdout.write(f"{copy_list(missing, root, mirror)}\n{there}\n")
        return
    download_all(entry.files, root, mirror=mirror)
    backbone = root / entry.backbone
    sys.stdout.write(f"{entry.name}: {entry.what}; licence: {entry.licence}\n")
    sys.stdout.write(
        f"check it: lightning weights verify {backbone}\nuse it:   --model.backbone {backbone}\n"
    )


def verify_weights(name: str, root: Path) -> None:
    """Read weights as a run would and compare them with what was published.

    Args:
        name: A name, or the path of a file or folder.
        root: Folder for all weights, in which a name is looked for.

    Raises:
        ConfigurationError: There are no such weights.
        CheckpointError: They are missing, cannot be read, or have another number of parameters.
        DownloadError: A file's size or hash is not the published or recorded one.
    """
    from contextblip.weights_catalogue import find_weights

    path = Path(name).expanduser()
    try:
        entry = find_weights(path.name if path.exists() else name)
    except ConfigurationError:
        if not path.exists():
            raise
        entry = None
    if not path.exists() and entry is not None:
        path = root / entry.backbone
        if not path.exists():
            raise CheckpointError(
                f"{path} is not there; get it by: lightning weights download {entry.name} --root {root}"
            )
    lines = [str(path), *_check_files(path, entry), *_read(path, entry)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _check_files(path: Path, entry: WeightsEntry | None) -> list[str]:
    """Compare sizes and hashes; the files of an entry lie beside its backbone or in it."""
    from contextblip.downloads.hash_record import HashRecord, hash_file

    if entry is None:
        return [f"sha256 {hash_file(path)[0]}"] if path.is_file() else []
    record = HashRecord(path.parent)
    lines = []
    for file in entry.files:
        if (path.parent / file.path).is_file():
            first = file.path not in record.read()
            sha256 = record.check(file)
            against = "published" if file.sha256 else "recorded now" if first else "recorded when first seen"
            if not file.sha256 and record.trusted(file.path) is None:
                against = "nothing to compare with: it came without a length"
            lines.append(f"sha256 {sha256} {file.path} ({against})")
    return lines


def _read(path: Path, entry: WeightsEntry | None) -> list[str]:
    """Read the weights as a run does and describe them."""
    from contextblip.checkpoints import load_backbone
    from contextblip.checkpoints.names import is_backbone_name

    backbone = load_backbone(str(path))
    sizes = backbone.config
    parameters = sum(tensor.numel() for name, tensor in backbone.state_dict.items() if is_backbone_name(name))
    if entry is not None and (parameters, sizes.image_size) != (entry.parameters, entry.image_size):
        raise CheckpointError(
            f"{path}: has {parameters:,} parameters at {sizes.image_size} pixels, but {entry.name} has "
            f"{entry.parameters:,} at {entry.image_size}; download it again or give it another name"
        )
    compared = "as published" if entry is not None else "not in the catalogue, nothing to compare with"
    return [
        f"parameters {parameters:,} ({compared})",
        f"sizes image {sizes.image_size}, patch {sizes.patch_size}, ViT {sizes.vision_layers} layers of "
        f"{sizes.vision_width}, text {sizes.text_layers} layers of {sizes.text_width}, vocabulary "
        f"{sizes.vocab_size:,}",
        f"fingerprint {backbone.fingerprint}",
        *backbone.report.lines(),
        f"good: --model.backbone {path}",
    ]

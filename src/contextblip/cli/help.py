"""Help that begins with what the experiment at hand can set."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contextblip.cli.arguments import CLASS_SECTIONS, COMMANDS, Arguments, Source, list_experiments, spell_out
from contextblip.cli.verbs import VERBS
from contextblip.errors import ConfigurationError

_TOP_LEVEL = (
    ("model.*", "the task: its class and its hyper-parameters"),
    ("data.*", "the data module: folders, batch size, text and image preparation"),
    ("trainer.*", "Lightning's Trainer: devices, precision, epochs, limits"),
    ("checkpoint.*", "what is kept: the metric to monitor, how many of the best, last.ckpt"),
    ("experiment", "name of the run's folder: runs/<experiment>/version_<n>"),
    ("run_dir", "exact folder instead; an earlier run's folder together with --ckpt_path best|last"),
    ("test_after", "fit only: also test this checkpoint of the training, best or last"),
    ("compile", "torch.compile: on, off, or auto: on a GPU"),
    ("gradient_checkpointing", "keep only layers' inputs for the backward pass"),
    ("cache", "folder that keeps the frozen ViT's states for later runs, or off"),
    ("seed_everything", "seed of all random numbers"),
    ("ckpt_path", "checkpoint to resume or evaluate: a path, or best or last of run_dir"),
)
LINKED = {"data.backbone": "model.backbone", "data.image_size": "model.image_size"}
_FLAGS = (
    ("--help", "with --config: the keys of that experiment with their values"),
    ("--print_config", "print the resolved configuration and stop"),
    ("--debug", "show the traceback of an error"),
    ("--allow-code", "let values name classes of other packages, whose code may then do anything"),
    ("--version", "print the version"),
)


def main_help() -> str:
    """Write the help of the command itself.

    Returns:
        Commands, flags and the experiments of the working directory.
    """
    commands = [*COMMANDS.items(), *((name, verb.help) for name, verb in VERBS.items())]
    return (
        "usage: lightning COMMAND [--config FILE ...] [--key value ...]\n\n"
        f"commands\n{_columns(commands)}\nflags\n{_columns(_FLAGS)}\n{_experiments('fit')}"
    )


def subcommand_help(subcommand: str) -> str:
    """Write the help of a subcommand whose experiment is not known.

    Args:
        subcommand: fit, validate, test or predict.

    Returns:
        Groups of keys, and how to see those of an experiment.
    """
    return (
        f"usage: lightning {subcommand} --config FILE [--config FILE ...] [--key value ...]\n\n"
        f"{COMMANDS[subcommand]}.\n"
        "Later beats earlier: lightning_cli.yaml < files from left to right < command line.\n\n"
        f"keys\n{_columns(_TOP_LEVEL)}\nflags\n{_columns(_FLAGS)}\n{_experiments(subcommand)}"
    )


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    """Align names and texts."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    return "".join(f"  {name:<{width}}  {text}\n" for name, text in rows)


def _experiments(subcommand: str) -> str:
    """List the experiments, count what is laid over them, and say how to see their keys."""
    found = [Path(path) for path in list_experiments()]
    base = [path for path in found if len(path.parts) == 2]
    folders = Counter(path.parent for path in found if path not in base)
    listed = "".join(f"  {path}\n" for path in base) or "  (none below ./experiments)\n"
    overlays = "".join(
        f"  {folder}/  {count} {'for lightning sweep' if folder.name == 'sweeps' else 'to lay over them'}\n"
        for folder, count in sorted(folders.items())
    )
    example = next((path for path in base if path.stem == "pretrain"), base[0] if base else "FILE")
    return (
        f"experiments\n{listed}{overlays}\n"
        f"keys of an experiment: lightning {subcommand} --config {example} --help\n"
    )


def print_experiment_help(
    arguments: Arguments, sources: list[Source], parser: argparse.ArgumentParser
) -> None:
    """Print the keys of an experiment: its task's and data's first, then all others, each with its value.

    Args:
        arguments: The command line.
        sources: What was given where; nothing is checked, so that help is there for what is not right yet.
        parser: Parser of the subcommand.
    """
    console = Console(highlight=False)
    given = {key: value for source in sources for key, value in source.entries}
    files = "".join(f" --config {name}" for name in arguments.configs)
    console.print(Text(f"usage: lightning {arguments.subcommand}{files} [--key value ...]\n"), soft_wrap=True)
    for section in CLASS_SECTIONS:
        _print_class(console, section, given)
    rows = [_row(action, action.dest, given) for action in parser._actions if is_key(action)]
    trainer = [row for row in rows if row[0].startswith("--trainer.")]
    _print_rows(console, "run", [row for row in rows if row not in trainer])
    _print_rows(console, "trainer", trainer)
    console.print(Text(f"flags\n{_columns(_FLAGS)}", end=""), soft_wrap=True)


def is_key(action: argparse.Action) -> bool:
    """Leave out what is no key of its own: help, files, links, and the two objects, listed by themselves.

    Args:
        action: Something that a parser knows.

    Returns:
        True for keys with a value.
    """
    if action.dest in ("config", *CLASS_SECTIONS) or action.dest.endswith(("help", "print_config")):
        return False
    is_link = "-->" in "".join(action.option_strings)
    return not is_link and (hasattr(action, "_typehint") or action.type is not None)


def _print_class(console: Console, section: str, given: dict[str, Any]) -> None:
    """Print the arguments of the task or the data module."""
    from contextblip.cli.signatures import class_parser

    class_path = given.get(f"{section}.class_path")
    if class_path is None:
        console.print(f"{section}: not chosen; name an experiment with --config\n")
        return
    try:
        parser, summary = class_parser(str(class_path))
    except ImportError as error:
        raise ConfigurationError(f"{section}.class_path: {error}") from error
    rows = [_row(action, f"{section}.{action.dest}", given) for action in parser._actions if is_key(action)]
    _print_table(console, f"{section}: {class_path}\n{summary}", rows)


def _print_table(console: Console, title: str, rows: list[tuple[str, str, str]]) -> None:
    """Print keys with values and meanings."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(max_width=32)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)
    console.print()


def _print_rows(console: Console, title: str, rows: list[tuple[str, str, str]]) -> None:
    """Print keys with values and as much of the meaning as fits beside them."""
    console.print(Text(title, style="bold"))
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, value, text in rows:
        console.print(
            Text(f"{name:<{width}}  {value:<9}  {text}"), no_wrap=True, overflow="ellipsis", crop=True
        )
    console.print()


def _row(action: argparse.Action, name: str, given: dict[str, Any]) -> tuple[str, str, str]:
    """Make a row: the key, its value, and type and meaning."""
    from contextblip.cli.signatures import describe_type

    value = given.get(spell_out(LINKED.get(name, name)), action.default)
    kind = describe_type(getattr(action, "_typehint", action.type))
    meaning = f"taken from {LINKED[name]}" if name in LINKED else (action.help or "").replace("%%", "%")
    shown = shorten(show_value(value), 60, placeholder="...")
    return f"--{name}", shown, f"({kind}) {' '.join(meaning.split())}"


def show_value(value: object) -> str:
    """Write a value as YAML would.

    Args:
        value: A value of the configuration.

    Returns:
        Text.
    """
    if isinstance(value, list):
        return "[" + ", ".join(show_value(item) for item in value) + "]"
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)

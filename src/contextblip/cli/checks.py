"""After parsing: nothing that was given may have been lost on the way."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace
from lightning.fabric.utilities.seed import max_seed_value, min_seed_value

from contextblip.cli.arguments import CLASS_SECTIONS, COMMAND_LINE, Source
from contextblip.cli.parser import class_arguments
from contextblip.cli.parsing_errors import place as place_of
from contextblip.cli.processes import warn
from contextblip.errors import ConfigurationError

# Keys of the data that are taken from the model's, see ContextBLIPCLI.add_arguments_to_parser.
LINKED_KEYS = ("backbone", "image_size")


def check_values(config: Namespace, sources: list[Source]) -> None:
    """Refuse what jsonargparse lets pass: a section that holds no keys, a seed that no generator takes.

    Args:
        config: Values of the subcommand.
        sources: What was given where.

    Raises:
        ConfigurationError: There is one.
    """
    for section in ("trainer", "checkpoint"):
        if not isinstance(value := config.get(section), Namespace):
            shown = "nothing" if value is None else repr(value)
            raise ConfigurationError(
                f"{place_of(section, sources)} must hold keys and values, not {shown:.60}; "
                "leave it out for the defaults"
            )
    seed = config.get("seed_everything")
    if isinstance(seed, int) and not min_seed_value <= seed <= max_seed_value:
        raise ConfigurationError(
            f"{place_of('seed_everything', sources)} is {seed}, expected {min_seed_value} to {max_seed_value}"
        )


def check_nothing_lost(config: Namespace, sources: list[Source], discards: list[str]) -> None:
    """Report what jsonargparse silently leaves out.

    Args:
        config: Values of the subcommand.
        sources: What was given where.
        discards: What jsonargparse logged about values that a changed class cannot take.

    Raises:
        ConfigurationError: A value was given beside the class that cannot take it, or contradicts a link.
    """
    for section in CLASS_SECTIONS:
        if config.get(section) is not None:
            to_class = f"to {config[section]['class_path']!r}"
            told = " ".join(message for message in discards if to_class in message)
            _check_dropped(section, config[section], sources, told)
    if config.get("model") is not None and config.get("data") is not None:
        _check_links(config, sources)


def _check_dropped(section: str, used: Namespace, sources: list[Source], discards: str) -> None:
    """Find values given for a class that a later source replaced."""
    prefix = f"{section}.init_args."
    entries = [(rank, key, value) for rank, source in enumerate(sources) for key, value in source.entries]
    changes = [place for place, (_, key, _) in enumerate(entries) if key == f"{section}.class_path"]
    if not changes:
        return
    # In one file the order of keys means nothing; on the command line it does.
    class_rank = entries[changes[-1]][0]
    on_command_line = sources[class_rank].name == COMMAND_LINE
    init_args = class_arguments(used)
    last_place = {
        key: (rank, place) for place, (rank, key, _) in enumerate(entries) if key.startswith(prefix)
    }
    lost: dict[str, str] = {}
    for key, (rank, place) in last_place.items():
        before = rank < class_rank or (on_command_line and rank == class_rank and place < changes[-1])
        name = key.removeprefix(prefix).split(".")[0]
        if before and (name not in init_args or f"'{name}':" in discards):
            lost[name] = sources[rank].name
            if rank == class_rank:
                raise ConfigurationError(
                    f"--{section}.{name} stands before --{section}.class_path {used['class_path']}, "
                    "which does not take it"
                )
    if lost:
        listed = ", ".join(f"{section}.{name} ({where})" for name, where in lost.items())
        warn(f"{used['class_path']} ({sources[class_rank].name}) does not take {listed}; left out")


def _check_links(config: Namespace, sources: list[Source]) -> None:
    """Find links that cannot carry their value, and values that a link replaced."""
    model, data = class_arguments(config["model"]), class_arguments(config["data"])
    given = {key: (value, source.name) for source in sources for key, value in source.entries}
    for key in LINKED_KEYS:
        own: tuple[Any, str] | None = given.get(f"data.init_args.{key}")
        if key in model and key in data:
            if own is not None and own[0] != model[key]:
                raise ConfigurationError(
                    f"data.{key} {own[0]!r} ({own[1]}) contradicts model.{key} {model[key]!r}, "
                    f"from which it is taken; set model.{key} only"
                )
        elif key in model and model[key] is not None:
            warn(
                f"{config['data']['class_path']} takes no {key}, "
                f"so model.{key} {model[key]!r} does not reach it"
            )
        elif key in data and data[key] is None and key == "backbone":
            raise ConfigurationError(
                f"{config['model']['class_path']} has no key backbone, from which data.backbone is taken; "
                "set data.backbone"
            )

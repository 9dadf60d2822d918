"""A command line's resolved configuration, found as `lightning <command>` finds it, but nothing is run."""

from __future__ import annotations

from copy import deepcopy
from importlib import import_module
from typing import Any

import yaml
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from contextblip.cli.arguments import COMMANDS, find_default_config, read_sources, sort_arguments
from contextblip.cli.errors import ParsingError
from contextblip.cli.noise import quiet
from contextblip.cli.parser import limited_imports, named_roots
from contextblip.cli.parsing_errors import explain_parsing
from contextblip.cli.run import ContextBLIPCLI
from contextblip.cli.run_folder import RunFolder
from contextblip.errors import ConfigurationError


class _ParsedError(Exception):
    """Leaves LightningCLI once the configuration is known; not a mistake."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config


class _ParsingCLI(ContextBLIPCLI):
    """The command up to the point where it would make objects."""

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse as the command does, then leave with the values."""
        super().parse_arguments(parser, args)
        text = self._parser(self.arguments.subcommand).dump(
            self.run_config, skip_unset=False, skip_link_targets=False, skip_validation=True
        )
        raise _ParsedError(yaml.safe_load(text))


class Resolver:
    """Resolves command lines; the same one twice costs once.

    Args:
        allow_code: Whether values may name classes of other packages.
    """

    def __init__(self, *, allow_code: bool = False) -> None:
        self.allow_code = allow_code
        self._known: dict[tuple[str, ...], dict[str, Any]] = {}

    def resolve(self, words: list[str]) -> dict[str, Any]:
        """Resolve a command line.

        Args:
            words: fit, validate, test or predict, and its arguments.

        Returns:
            All values, as ``config.yaml`` of the run would hold them; a copy of the caller's own.

        Raises:
            ConfigurationError: The arguments or files cannot be used.
        """
        key = tuple(words)
        if key not in self._known:
            self._known[key] = self._parse(words)
        return deepcopy(self._known[key])

    def _parse(self, words: list[str]) -> dict[str, Any]:
        arguments = sort_arguments(words, tuple(COMMANDS))
        if arguments is None:
            raise ConfigurationError(f"no command in {' '.join(words)!r}")
        default_config = find_default_config()
        sources = read_sources(arguments, default_config)
        extra = sorted(named_roots(sources)) if self.allow_code else []
        with quiet(evaluating=False), limited_imports(extra):
            try:
                _ParsingCLI(arguments, sources, default_config, RunFolder())
            except _ParsedError as parsed:
                return parsed.config
            except ParsingError as error:
                raise ConfigurationError(explain_parsing(error, sources)) from error
        raise AssertionError("parsing always leaves by an exception")


def option(key: str, value: object) -> str:
    """Write a key and its value as one word of a command line.

    Args:
        key: As on the command line, without dashes.
        value: As read from YAML.

    Returns:
        ``--key=value``.
    """
    if isinstance(value, str):
        return f"--{key}={value}"
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf")).strip()
    return f"--{key}={text.removesuffix('...').strip()}"


def task_class(config: dict[str, Any]) -> type | None:
    """Import the class of a configuration's task, ``None`` where its module has none of that name."""
    module, _, name = str(config["model"]["class_path"]).rpartition(".")
    return getattr(import_module(module), name, None)


def find_value(config: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Look a dotted key up.

    Args:
        config: A resolved configuration.
        key: Its full name, ``init_args`` spelt out.

    Returns:
        Whether it is there, and its value.
    """
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return False, None
        value = value[part]
    return True, value


def list_keys(config: dict[str, Any]) -> list[str]:
    """List the keys of a configuration as they are written on the command line.

    Args:
        config: A resolved configuration.

    Returns:
        Dotted keys, ``init_args`` left out.
    """
    found: list[str] = []
    for key, value in config.items():
        inner = value.get("init_args") if isinstance(value, dict) and "class_path" in value else value
        found += [f"{key}.{name}" for name in inner] if isinstance(inner, dict) else [key]
    return found

"""The command's argument parser: no abbreviations, no pages of usage, errors that `main` makes a line of."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace, get_loader, set_loader, set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser

from contextblip.cli.arguments import Source
from contextblip.cli.errors import ParsingError
from contextblip.cli.signatures import ALLOWED_CODE, allowed_code
from contextblip.safe_yaml import check_yaml


class CommandParser(LightningArgumentParser):
    """LightningCLI's parser with the project's manners.

    jsonargparse makes one of these for each class that a value names, too, with ``exit_on_error`` false; they
    must raise its own error type, since jsonargparse catches it and adds the place.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # argparse's
        # An abbreviation that is unique today is another key tomorrow.
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong with the arguments.

        Args:
            message: What jsonargparse found.
            ex: The exception that it came from.

        Raises:
            ParsingError: For the parsers of the command itself.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        parsers = [self, *(parser for action in self._actions for parser in _subparsers(action))]
        raise ParsingError(message, [action.dest for parser in parsers for action in parser._actions]) from ex


def _subparsers(action: argparse.Action) -> list[argparse.ArgumentParser]:
    """List the parsers of subcommands."""
    return list(action.choices.values()) if isinstance(action.choices, dict) else []


def named_roots(sources: list[Source]) -> set[str]:
    """Collect the packages that a configuration names.

    Args:
        sources: What was given where.

    Returns:
        First parts of all dotted names among the values.
    """

    def walk(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from walk(item)
        elif isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value):
            yield value.split(".")[0]

    roots = {root for source in sources for _, value in source.entries for root in walk(value)}
    return roots - {"jsonargparse"}  # it may not be allowed: a value could then lift the limit itself


@contextmanager
def limited_imports(extra: list[str]) -> Iterator[None]:
    """Let values name classes of the project and its libraries only, and bounded files of this machine.

    Args:
        extra: Further import roots, forbidden again at the end, since the setting outlives the command.

    Yields:
        Nothing.
    """
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[*ALLOWED_CODE, *extra])
    # Lightning's import lets values be addresses of files elsewhere, which would be fetched
    set_parsing_settings(config_read_mode_fsspec_enabled=False)
    token = allowed_code.set((*ALLOWED_CODE, *extra))
    read = get_loader("yaml")

    def read_bounded(text: str) -> object:
        check_yaml(text)
        return read(text)

    # of values and of the files that they name; configurations are read by us before
    set_loader("yaml", read_bounded, (yaml.YAMLError,))
    try:
        yield
    finally:
        set_loader("yaml", read, (yaml.YAMLError,))
        allowed_code.reset(token)
        set_parsing_settings(import_path_denylist=[root for root in extra if root not in ALLOWED_CODE])


def class_arguments(spec: Namespace) -> dict[str, Any]:
    """List the values given to a class.

    Args:
        spec: ``class_path`` and perhaps ``init_args``.

    Returns:
        Names to values.
    """
    found = spec.get("init_args")
    return {} if found is None else found.as_dict()


class DiscardLog(logging.Handler):
    """Collects what jsonargparse only tells its debug log: values that a changed class cannot take."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message about dropped values.

        Args:
            record: A message of jsonargparse.
        """
        message = record.getMessage()
        if "discarding init_args" in message:
            self.messages.append(message)

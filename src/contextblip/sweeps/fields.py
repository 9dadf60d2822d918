"""Strict reading of a YAML file's values: what is not known or of the wrong kind is one clear line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from contextblip.cli.errors import nearest
from contextblip.errors import ConfigurationError

_KINDS = {
    str: "text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping of keys to values",
}


@dataclass(frozen=True)
class Fields:
    """The keys and values of one mapping in a file.

    Attributes:
        place: What is named in messages, e.g. ``sweep.yaml: stages[0]``.
        values: The mapping.
    """

    place: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, value: object, place: str, known: Iterable[str]) -> Fields:
        """Check that a value is a mapping with known keys only.

        Args:
            value: What the file holds.
            place: Where.
            known: The keys there may be.

        Returns:
            The mapping, to be asked for its values.

        Raises:
            ConfigurationError: It is no mapping, or a key is unknown.
        """
        if not isinstance(value, dict):
            raise ConfigurationError(f"{place} must be {_KINDS[dict]}, not {_shown(value)}")
        choices = list(known)
        for key in value:
            if key not in choices:
                hint = nearest(str(key), choices) or f"; keys: {', '.join(choices)}"
                raise ConfigurationError(f"{place} has no key {key!r}{hint}")
        return cls(place, value)

    def get(self, key: str, kind: type, default: Any = None) -> Any:  # noqa: ANN401  # as the kind says
        """Read a value that may be absent.

        Args:
            key: Its name.
            kind: What it must be.
            default: Stands for an absent or empty one.

        Returns:
            The value.

        Raises:
            ConfigurationError: It is of another kind.
        """
        value = self.values.get(key)
        if value is None:
            return default
        is_kind = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not is_kind:
            raise ConfigurationError(f"{self.place}: {key} must be {_KINDS[kind]}, not {_shown(value)}")
        return value

    def need(self, key: str, kind: type) -> Any:  # noqa: ANN401  # as the kind says
        """Read a value that must be there and not be empty.

        Args:
            key: Its name.
            kind: What it must be.

        Returns:
            The value.

        Raises:
            ConfigurationError: It is absent, empty or of another kind.
        """
        value = self.get(key, kind)
        if value is None or value in ("", [], {}):
            raise ConfigurationError(f"{self.place} needs {key}: {_KINDS[kind]}")
        return value

    def texts(self, key: str) -> list[str]:
        """Read a list of texts that may be absent.

        Args:
            key: Its name.

        Returns:
            The list.

        Raises:
            ConfigurationError: It is no list, or an entry is no text.
        """
        values = self.get(key, list, [])
        for value in values:
            if not isinstance(value, str):
                raise ConfigurationError(f"{self.place}: {key} must list texts, not {_shown(value)}")
        return list(values)


def choose(value: str, choices: Iterable[str], what: str, place: str) -> str:
    """Check a name against those that exist.

    Args:
        value: The name.
        choices: Those that exist.
        what: What is named, e.g. ``stage``.
        place: Where the name stands.

    Returns:
        The name.

    Raises:
        ConfigurationError: There is none such.
    """
    known = list(choices)
    if value not in known:
        listed = f"; there are {', '.join(known)}" if known else "; there is none yet"
        raise ConfigurationError(f"{place}: no {what} {value!r}{nearest(value, known) or listed}")
    return value


def refuse_repeats(names: list[Any], what: str, place: str) -> None:
    """Check that nothing is listed twice.

    Args:
        names: What is listed.
        what: What they are.
        place: Where they stand.

    Raises:
        ConfigurationError: One stands there twice.
    """
    for position, name in enumerate(names):
        if name in names[:position]:
            raise ConfigurationError(f"{place}: {what} {name!r} stands there twice")


def _shown(value: object) -> str:
    """Write a value of a file as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

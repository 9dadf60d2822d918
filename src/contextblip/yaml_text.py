"""YAML whose every fault is a `yaml.YAMLError`, and whose values have an end."""

from __future__ import annotations

from itertools import islice
from typing import Any

import yaml

DEEPEST = 50  # ours are four or five levels deep
MOST_VALUES = 100_000  # far beyond any configuration: aliases of aliases reach it in ten lines


def load_yaml(text: str, loader: Any = yaml.SafeLoader) -> Any:  # noqa: ANN401  # YAML holds anything
    """Load a YAML document.

    Args:
        text: The document.
        loader: A safe loader's class.

    Returns:
        Its content.

    Raises:
        yaml.YAMLError: It is no YAML, holds a value that there is none of, such as a date of month 13, is
            nested more than `DEEPEST` deep or, its aliases written out, has more than `MOST_VALUES` values.
    """
    try:
        content = yaml.load(text, Loader=loader)  # noqa: S506  # callers give safe ones
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise yaml.YAMLError(str(error)) from error
    _check_end(content)
    return content


def _check_end(content: object) -> None:
    """Refuse what whoever walks it would never leave, such as a list that holds itself."""
    level, total, depth = [content], 0, 0
    while level:
        total, depth = total + len(level), depth + 1
        if depth > DEEPEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep")
        if total > MOST_VALUES:
            raise yaml.YAMLError(f"more than {MOST_VALUES:,} values, aliases written out")
        inner = (each for value in level for each in _inner(value))
        level = list(islice(inner, MOST_VALUES + 1))


def _inner(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []

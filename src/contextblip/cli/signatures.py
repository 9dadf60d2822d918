"""The arguments of classes that a configuration names, and the classes that it may name."""

from __future__ import annotations

import importlib
from contextlib import suppress
from contextvars import ContextVar
from inspect import getmembers, isclass
from types import ModuleType, UnionType
from typing import Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

# Roots of the import paths that a YAML or the command line may name; everything else needs `--allow-code`.
ALLOWED_CODE = (
    "callbacks",
    "contextblip",
    "data_modules",
    "lightning",
    "torch.nn",
    "torch.optim",
    "torchmetrics",
)
allowed_code: ContextVar[tuple[str, ...]] = ContextVar("allowed_code", default=ALLOWED_CODE)
# Packages in which a misspelt class is looked for.
HOMES = {
    "model": ("contextblip.tasks",),
    "data": ("data_modules",),
    "trainer.callbacks": ("callbacks", "lightning.pytorch.callbacks"),
    "trainer.logger": ("lightning.pytorch.loggers",),
}


def import_module(path: str) -> ModuleType:
    """Import a module that values may name.

    Args:
        path: Dotted path.

    Returns:
        The module.

    Raises:
        ImportError: There is none, or values may not name it: explaining a mistake must run no foreign code.
    """
    if not any(f"{path}.".startswith(f"{root}.") for root in allowed_code.get()):
        raise ImportError(f"{path} is outside the packages that a configuration may name")
    return importlib.import_module(path)


def class_parser(class_path: str) -> tuple[ArgumentParser, str]:
    """Make a parser of a class's arguments, its bases' too.

    Args:
        class_path: Dotted path.

    Returns:
        The parser and the first line of the class's docstring.

    Raises:
        ImportError: There is no such class, or values may not name it.
    """
    module, _, name = class_path.rpartition(".")
    found = getattr(import_module(module), name, None)
    if not isclass(found):
        raise ImportError(f"there is no class {class_path}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(found, fail_untyped=False)
    return parser, (found.__doc__ or "").strip().partition("\n")[0]


def class_keys(class_path: str | None) -> list[str]:
    """List the arguments of a class.

    Args:
        class_path: Dotted path.

    Returns:
        Names of its arguments; nothing where the class cannot be imported.
    """
    try:
        parser, _ = class_parser(str(class_path))
    except ImportError:
        return []
    return [action.dest for action in parser._actions if action.dest != "help"]


def known_classes(key: str, given: str = "") -> list[str]:
    """List the classes that a key may name.

    Args:
        key: model, data, trainer.callbacks or trainer.logger.
        given: A path whose module may be looked into as well.

    Returns:
        Dotted paths, as they stand in experiments.
    """
    homes = [*HOMES.get(key, ()), *([given.rpartition(".")[0]] if "." in given else [])]
    found: list[str] = []
    for home in homes:
        with suppress(ImportError):  # a misspelt package
            found += [f"{home}.{name}" for name, _ in getmembers(import_module(home), isclass)]
    return found


def describe_type(annotation: object) -> str:
    """Say a type as briefly as its annotation does.

    Args:
        annotation: A type.

    Returns:
        Such as ``float``, ``int|null`` or ``top|random``.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(str(choice) for choice in dict.fromkeys(map(str, arguments)))
    if origin in (Union, UnionType):
        return "|".join(describe_type(argument) for argument in arguments)
    if origin is not None:
        inner = ", ".join(describe_type(argument) for argument in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    name = getattr(annotation, "__name__", str(annotation))
    return {"NoneType": "null", "None": "any"}.get(name, name)

"""What was given where: the configuration files and the command line, before anything interprets them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from contextblip.cli.errors import nearest
from contextblip.errors import ConfigurationError
from contextblip.safe_yaml import BoundsError, StrictLoader, check_yaml, load_yaml

COMMAND_LINE = "command line"
DEFAULT_CONFIG = "lightning_cli.yaml"
COMMANDS = {
    "fit": "Train a task, validating as it goes",
    "validate": "Measure a task on the validation split",
    "test": "Measure a task on the labelled split its data name (IMAGECODE: validation)",
    "predict": "Write predictions for unlabelled queries",
}
FLAGS = ("--help", "-h", "--debug", "--allow-code", "--version")
# Values of the form {class_path: ..., init_args: {...}}; the command line may leave `init_args` out.
CLASS_SECTIONS = ("model", "data")
_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs", "help")


@dataclass(frozen=True)
class Source:
    """One place that gives values.

    Attributes:
        name: Path of the file, or ``command line``.
        entries: Dotted keys and raw values in their order, ``init_args`` spelt out.
    """

    name: str
    entries: list[tuple[str, Any]]


@dataclass
class Arguments:
    """The command line, sorted by what its words are.

    Attributes:
        subcommand: fit, validate, test or predict.
        configs: Values of ``--config`` from left to right.
        options: Every other word, in order.
        flags: Which of `FLAGS` were given.
    """

    subcommand: str
    configs: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)

    @property
    def words(self) -> list[str]:
        """The command with its files first, so that the command line wins wherever a file stands on it."""
        configs = [word for config in self.configs for word in ("--config", config)]
        return [self.subcommand, *configs, *self.options]


def sort_arguments(words: list[str], names: tuple[str, ...]) -> Arguments | None:
    """Find the subcommand and the configuration files among the words.

    Args:
        words: The command line without the program's name.
        names: The subcommands.

    Returns:
        The sorted words; ``None`` where no word is a subcommand.

    Raises:
        ConfigurationError: ``--config`` stands last.
    """
    position = _find_subcommand(words, names)
    if position is None:
        return None
    arguments = Arguments(words[position])
    rest = iter(words[:position] + words[position + 1 :])
    for word in rest:
        key, equals, value = word.partition("=")
        if word in FLAGS:
            arguments.flags.add(word)
        elif key in ("--config", "-c"):
            config = value if equals else next(rest, None)
            if config is None or config.startswith("--"):
                raise ConfigurationError(f"{key} needs a file")
            arguments.configs.append(config)
        else:
            arguments.options.append(word)
    return arguments


def _find_subcommand(words: list[str], names: tuple[str, ...]) -> int | None:
    """Find the first word that is neither an option nor an option's value."""
    value_follows = False
    for position, word in enumerate(words):
        if word.startswith("-"):
            value_follows = "=" not in word and word not in FLAGS
        elif value_follows:
            value_follows = False
        else:
            return position if word in names else None
    return None


def find_default_config() -> str:
    """Find the defaults of every run.

    Returns:
        Path of the nearest ``lightning_cli.yaml`` from the working directory upwards, else the packaged copy.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DEFAULT_CONFIG).is_file():
            return str(folder / DEFAULT_CONFIG)
    return str(files("contextblip") / DEFAULT_CONFIG)


def read_sources(arguments: Arguments, default_config: str) -> list[Source]:
    """Read every place that gives values, weakest first.

    Args:
        arguments: The command line.
        default_config: The ``lightning_cli.yaml`` in force.

    Returns:
        The defaults, each file from left to right, the command line.

    Raises:
        ConfigurationError: A file is missing, lies elsewhere, is no valid YAML or gives a key twice, or a
            text among the values is YAML without end.
    """
    names = [default_config, *arguments.configs]
    sources = [Source(name, list(_flatten(read_config(name)))) for name in names]
    sources.append(Source(COMMAND_LINE, list(_command_line_entries(arguments.options))))
    for source in sources:
        for key, value in source.entries:
            _check_texts(key, source.name)
            _check_texts(value, f"{source.name}: {key}")
    return sources


def _check_texts(value: object, where: str) -> None:
    """Refuse texts that the parser could not survive: it reads them as YAML once more."""
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigurationError(f"{where}: {value!r} holds half of a character, which no file can hold")
        with suppress(yaml.YAMLError):  # most texts are none
            try:
                check_yaml(value)
            except BoundsError as error:
                raise ConfigurationError(f"{where}: no valid YAML: {error.problem}") from error
    elif isinstance(value, dict | list):
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_texts(part, where)


def _command_line_entries(options: list[str]) -> Iterator[tuple[str, Any]]:
    """Pair the options with their values."""
    position = 0
    while position < len(options):
        key, equals, value = options[position].partition("=")
        position += 1
        if not key.startswith("--"):
            continue
        if not equals and position < len(options) and not options[position].startswith("--"):
            value = options[position]
            position += 1
        try:
            loaded = load_yaml(value)
        except yaml.YAMLError:
            loaded = value
        yield from _flatten({key[2:]: loaded})


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List dotted keys and values; lists count as values."""
    for key, value in values.items():
        name = f"{prefix}{str(key).removesuffix('+')}"
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{name}.")
        else:
            yield spell_out(name), value


def spell_out(name: str) -> str:
    """Turn ``model`` into ``model.class_path`` and ``model.x`` into ``model.init_args.x``.

    Args:
        name: Dotted key.

    Returns:
        The key as it stands in a file.
    """
    section, _, key = name.partition(".")
    if section not in CLASS_SECTIONS:
        return name
    if not key:
        return f"{section}.class_path"
    return name if key.split(".")[0] in _CLASS_KEYS else f"{section}.init_args.{key}"


def read_config(name: str) -> dict[str, Any]:
    """Read a configuration file, or YAML given in place of one.

    Args:
        name: Path, or the YAML itself.

    Returns:
        Its keys and values.

    Raises:
        ConfigurationError: It is missing, lies elsewhere, is no valid YAML or gives a key twice.
    """
    inline = "\n" in name or name.lstrip().startswith("{") or ": " in name
    if "://" in name and not inline:
        raise ConfigurationError(
            f"--config {name}: runs fetch nothing from elsewhere; download the file and name it here"
        )
    path = Path(name)
    if not inline and not path.is_file():
        raise ConfigurationError(f"--config {name}: no such file{_nearest_config(name)}")
    where = "--config" if inline else name
    try:
        content = load_yaml(name if inline else path.read_text(encoding="utf-8"), StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"{where}{line}: no valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{where}: no valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{where}: {'is empty' if content is None else 'must hold keys and values at its top'}"
        )
    return content


def line_of(name: str, key: str) -> int | None:
    """Find the line of a key.

    Args:
        name: Path of a YAML file.
        key: Dotted key; the longest part of it that the file has counts.

    Returns:
        The line, from 1; ``None`` where the text is not in a file or nothing of the key is in it.
    """
    if not Path(name).is_file():
        return None
    node, line = yaml.compose(Path(name).read_text(encoding="utf-8"), Loader=yaml.SafeLoader), None
    for part in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next((pair for pair in pairs if pair[0].value.removesuffix("+") == part), None)
        if found is None:
            if part == "init_args":
                continue
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _nearest_config(name: str) -> str:
    """Suggest an existing file: of the same name elsewhere below experiments, else of a similar one."""
    folder = Path(name).parent
    found = [str(path) for path in sorted(folder.glob("*.y*ml"))] if folder.is_dir() else []
    found += [path for path in list_experiments() if path not in found]
    same = [
        path for path in found if Path(path).name == Path(name).name or Path(path).stem == Path(name).name
    ]
    return f"; did you mean {same[0]}?" if same else nearest(name, found, cutoff=0.75)


def list_experiments() -> list[str]:
    """List the experiments of the working directory.

    Returns:
        Paths of all YAML files below ``experiments``.
    """
    return sorted(str(path) for path in Path("experiments").rglob("*.yaml"))

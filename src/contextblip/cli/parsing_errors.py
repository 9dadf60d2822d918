"""One line from jsonargparse's pages: the key, where it was given, what is wrong, what may be meant."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from contextblip.cli.arguments import CLASS_SECTIONS, COMMAND_LINE, Source, line_of, read_config
from contextblip.cli.errors import ParsingError, nearest, one_line
from contextblip.cli.signatures import class_keys, known_classes
from contextblip.errors import ConfigurationError

_BASES = ("lightning.LightningModule", "lightning.LightningDataModule")
_PLAIN_NAMES = {
    "NoneType": "null",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


def explain_parsing(error: ParsingError, sources: list[Source]) -> str:
    """Make one line of what jsonargparse said.

    Args:
        error: Its message, with the keys that the parser knows.
        sources: What was given where.

    Returns:
        The line.
    """
    message = str(error)
    outer = re.findall(r'Parser key "([^"]+)"', message)
    key = ".init_args.".join(outer)
    rest = message.rpartition(f'Parser key "{outer[-1]}":')[2] if outer else message
    if found := re.search(r"unrecognized arguments: (\S+)", message):
        return _unrecognized(found[1], error.keys, sources)
    if found := re.search(
        r"Problem with given class_path '([^']+)':\s+Option '([^']+)' is not accepted", message
    ):
        return _unknown_init_arg(key, found[1], found[2], sources)
    if found := re.search(r"(?:does not accept option|Option) '([^']+)'", message):
        return _unknown_key(found[1], all_keys(error.keys, sources), sources)
    if found := re.search(r"the following arguments are required: (.+)", message):
        return _required(found[1], key, sources)
    if found := re.search(r"Importing '([^']+)' is not allowed", message):
        near = nearest(found[1], known_classes(key))
        remedy = near or "; --allow-code lifts this for code that you trust"
        where = class_place(key, sources)
        return f"{where}: {found[1]} is outside the packages that a configuration may name{remedy}"
    if found := re.search(r"class_path '([^']+)':\s+(?:module '|No module named|Unable to)", message):
        near = nearest(found[1], known_classes(key, found[1]))
        return f"{class_place(key, sources)}: there is no class {found[1]}{near}"
    if found := re.search(r"does not correspond to a subclass of (\w+)[\s\S]*Given value: (.+)", rest):
        return (
            f"{class_place(key, sources)}: {found[2]} is no {found[1]}{nearest(found[2], known_classes(key))}"
        )
    if found := re.search(r"Unexpected config: (\w+):", message):
        return f"{place(found[1], sources)} is empty; give it keys and values, or leave it out"
    if found := re.search(r"argument (?:-c/)?(\S+): expected one argument", message):
        return f"{found[1]} needs a value"
    return _wrong_value(key, rest, sources) or one_line(message)


def place(key: str, sources: list[Source]) -> str:
    """Say where a key was given, as the user wrote it.

    Args:
        key: Dotted key.
        sources: What was given where.

    Returns:
        ``--model.x`` or ``file.yaml:7: model.x``.
    """
    spelt = key.replace(".init_args.", ".")
    for source in reversed(sources):
        for name, _ in source.entries:
            if key == name or name.startswith(f"{key}.") or key.startswith(f"{name}."):
                if source.name == COMMAND_LINE:
                    return f"--{spelt}"
                line = line_of(source.name, key)
                return f"{source.name}{f':{line}' if line else ''}: {spelt}"
    return spelt


def class_place(key: str, sources: list[Source]) -> str:
    """Say where a class was named.

    Args:
        key: Key of the object.
        sources: What was given where.

    Returns:
        As `place`.
    """
    return place(f"{key}.class_path" if key in CLASS_SECTIONS else key, sources)


def given_class(section: str, sources: list[Source]) -> str | None:
    """Find the class that a section names last.

    Args:
        section: model or data.
        sources: What was given where.

    Returns:
        Its path as given; ``None`` where no source names one.
    """
    paths = [value for source in sources for key, value in source.entries if key == f"{section}.class_path"]
    return str(paths[-1]) if paths else None


def all_keys(keys: list[str], sources: list[Source]) -> list[str]:
    """List every key of this run.

    Args:
        keys: Those of the parser.
        sources: What was given where; names the classes.

    Returns:
        The parser's keys and the arguments of model and data.
    """
    inner = [
        f"{section}.{key}" for section in CLASS_SECTIONS for key in class_keys(given_class(section, sources))
    ]
    return [*keys, *inner]


def _unrecognized(word: str, keys: list[str], sources: list[Source]) -> str:
    """Explain a word that argparse could not place."""
    if not word.startswith("--"):
        return f"unexpected word {word!r}; options look like --key value"
    key = word[2:].partition("=")[0]
    return f"--{key}: no such key{nearest(key, all_keys(keys, sources), before='--')}"


def _unknown_key(key: str, keys: list[str], sources: list[Source]) -> str:
    """Explain a key of a file that no parser has, or its section where already that is unknown."""
    sections = {name.partition(".")[0] for name in keys}
    section = key.partition(".")[0]
    unknown, choices = (key, keys) if section in sections else (section, list(sections))
    return f"{place(unknown, sources)}: no such key{nearest(unknown, choices)}"


def _unknown_init_arg(key: str, class_path: str, option: str, sources: list[Source]) -> str:
    """Explain an argument that a class does not take."""
    if class_path in _BASES:  # `class_path` itself was not understood, or not given
        class_path = given_class(key, sources) or class_path
    where = place(f"{key}.init_args.{option}" if key in CLASS_SECTIONS else key, sources)
    structure = ["class_path", "init_args", "dict_kwargs"] if key in CLASS_SECTIONS else []
    name = option.partition(".")[0]
    dashes = f"--{key}." if where.startswith("--") and key in CLASS_SECTIONS else ""
    near = nearest(name, [*class_keys(class_path), *structure], before=dashes)
    what = "no such key" if key in CLASS_SECTIONS else f"no key {name}"
    return f"{where}: {class_path} has {what}{near}"


def _required(listed: str, key: str, sources: list[Source]) -> str:
    """Explain what was not given."""
    names = sorted(
        (re.sub(r"^(fit|validate|test|predict)\.", "", name) for name in listed.split(", ")), reverse=True
    )
    if not key:
        verb = "is" if len(names) == 1 else "are"
        remedy = f"name an experiment with --config, or give --{names[0]}.class_path"
        return f"{' and '.join(names)} {verb} not given; {remedy}"
    section = key.split(".init_args.")[0]
    missing = ", ".join(f"{section}.{name}" for name in names)
    needy = given_class(section, sources) or section
    return f"{needy} needs {missing}; give --{section}.{names[0]} ... or set it in a --config file"


def _wrong_value(key: str, rest: str, sources: list[Source]) -> str | None:
    """Explain a value of the wrong type."""
    if found := re.search(r"(\S+) is abstract", rest):
        return f"{place(key, sources)}: {found[1]} is abstract; name a class with --{key}=..."
    value = re.search(r"(?:Got|Given) value: (.*)", rest)
    subtypes = re.search(r"Subtypes: \[(.*)\]", rest)
    single = re.search(r"Expected an? (.+?)\. Got value", rest)
    if value is None or (subtypes is None and single is None):
        return None
    if broken := _broken_file(value[1].strip()):
        return f"{place(key, sources)}: {broken}"
    annotation = subtypes[1] if subtypes else single[1] if single else ""
    choices = literal_choices(annotation)
    expected = ["one of " + ", ".join(choices)] if choices else []
    expected += [type_name(name) for name in re.findall(r"<class '([^']+)'>", annotation)]
    expected = expected or [one_line(annotation.replace("typing.", ""), 120)]
    text, wanted = value[1].strip(), " or ".join(dict.fromkeys(expected))
    return f"{place(key, sources)}: {text!r} is not {wanted}{nearest(text, choices)}"


def _broken_file(value: str) -> str | None:
    """Say why a YAML file that a value names cannot be read; ``None`` where it can, or is none."""
    try:
        if value.endswith((".yaml", ".yml")) and Path(value).is_file():
            read_config(value)
    except ConfigurationError as error:
        return str(error)
    except OSError:  # a name too long for one
        pass
    return None


def literal_choices(annotation: str) -> list[str]:
    """Read the choices of a type.

    Args:
        annotation: A type as text, perhaps with ``Literal[...]`` inside.

    Returns:
        The choices as text, each once.
    """
    found = re.search(r"Literal\[(.*?)\](?=[,\]]|$)", annotation)
    return list(dict.fromkeys(str(choice) for choice in ast.literal_eval(f"[{found[1]}]"))) if found else []


def type_name(name: str) -> str:
    """Say a type in words.

    Args:
        name: Name of a class.

    Returns:
        What a user would call its values.
    """
    short = name.rpartition(".")[2]
    return _PLAIN_NAMES.get(short, short)

"""Broken copies of files: what a bad disk, a cut download or a slip of the hand make of them."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any

import yaml

Place = tuple[Any, Any]  # a mapping or list, and the key or position in it
LONG_NUMBER = "a number of 5,000 digits"  # replaced in the text: Python itself would not write it
DEEP = 3000


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


STRANGE: tuple[object, ...] = (
    *(None, True, False, "", " ", "null", "nan", "0x1f", "1e999", "a" * 10_000, LONG_NUMBER),
    *(0, -1, 1, 2, 3, 0.5, 1.5, -0.0, 2**31, 2**63, 10**400, 1e-320),
    *(float("nan"), float("inf"), float("-inf")),
    *(
        "\0",
        "\ud83d",
        "é漢😀\u202e",
        "a\nb\r\nc",
        "\\",
        "%s{}",
        "../../x",
        "/",
        "~",
        "2024-13-45",
        "- x",
        "*a",
    ),
    *(
        "auto",
        "last",
        "random:base",
        "torch.nn.Linear",
        "os.system",
        "contextblip.tasks",
        "data_modules.None",
    ),
    *([], {}, [[]], [None], ["x", 1], {"": ""}, {"class_path": 1}, {"class_path": "callbacks.MetricsWriter"}),
    *(nested(20), nested(300)),
)
LINES = (
    *("? [a, b]\n: c", "a: &a [*a]", "<<: 1", "<<: {experiment: x}", "!!python/object/apply:os.system [ls]"),
    *("--- \n---", "%YAML 9.9", "- x", "\t", "x", ":", "{", "'", '"', "1: 2", "null: null", "true: no"),
    *(
        "when: 2024-13-45",
        "model: 3",
        "data: {}",
        "trainer:",
        "when: 0000-00-00 99:99:99",
        "=: 1",
        "? {}\n: {}",
    ),
    *("a: " + "[" * DEEP, "a: 1e", "a: !!int x", "a: !!float []", "a: !!binary 3", "a: *b", "é漢😀: \u2028"),
    "x: &x [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"
    + "".join(f"\nx{n}: &x{n} [{', '.join(['*x' + (str(n - 1) if n else '')] * 10)}]" for n in range(9)),
)


def damage_bytes(content: bytes, draws: Random) -> bytes:
    """Flip, drop, repeat, overwrite or cut a few places."""
    data = bytearray(content)
    for _ in range(draws.choice([1, 1, 2, 5, 30])):
        if not data:
            break
        start = draws.randrange(len(data))
        stop = start + draws.choice([1, 2, 8, 64, len(data)])
        match draws.randrange(7):
            case 0:
                data[start] ^= 1 << draws.randrange(8)
            case 1:
                data[start] = draws.choice([0, 255, draws.randrange(256)])
            case 2:
                del data[start:stop]
            case 3:
                data[start:start] = draws.randbytes(draws.choice([1, 4, 64]))
            case 4:
                data[start:start] = data[start:stop]
            case 5:
                data[start:stop] = bytes(len(data[start:stop]))
            case _:
                place = draws.randrange(len(data))
                data[place : place + 4] = data[start : start + 4]
    return bytes(data)


def damage_lines(text: str, draws: Random) -> str:
    """Delete, repeat, swap, indent, cut, join or add lines."""
    lines = text.split("\n")
    for _ in range(draws.choice([1, 1, 2, 4])):
        place, other = draws.randrange(len(lines)), draws.randrange(len(lines))
        match draws.randrange(9):
            case 0:
                del lines[place : place + draws.choice([1, 1, 3])]
            case 1:
                lines.insert(other, lines[place])
            case 2:
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                lines[place] = draws.choice(["  ", " ", "\t", "      "]) + lines[place]
            case 4:
                lines[place] = lines[place].lstrip() if draws.random() < 0.5 else lines[place][2:]
            case 5:
                lines[place] = lines[place][: draws.randrange(len(lines[place]) + 1)]
            case 6:
                lines[place : place + 2] = ["".join(lines[place : place + 2])]
            case 7:
                lines.insert(place, draws.choice(LINES))
            case _:
                del lines[place:]
        lines = lines or [""]
    return "\n".join(lines)


def places(value: object) -> Iterator[Place]:
    """Walk every key and position."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def damage_tree(value: object, draws: Random) -> object:
    """Replace, remove, rename, swap or wrap values."""
    root: dict[str, Any] = {"root": deepcopy(value)}
    for _ in range(draws.choice([1, 1, 2, 4])):
        found = list(places(root))
        holder, key = draws.choice(found)
        other, its = draws.choice(found)
        match draws.randrange(6):
            case 0 | 1:
                holder[key] = deepcopy(draws.choice(STRANGE))
            case 2 if holder is not root:
                del holder[key]
            case 3 if isinstance(holder, dict) and holder is not root:
                holder[draws.choice([f"{key}s", str(key)[:-1], "", "\0", "é", str(key).upper()])] = (
                    holder.pop(key)
                )
            case 4:
                holder[key] = draws.choice([[holder[key]], {"a": holder[key]}, str(holder[key])])
            case _:
                holder[key], other[its] = deepcopy(other[its]), deepcopy(holder[key])
    return root.get("root")


def _with_long_numbers(text: str) -> bytes:
    for quoted in (f'"{LONG_NUMBER}"', f"'{LONG_NUMBER}'", LONG_NUMBER):
        text = text.replace(quoted, "9" * 5000)
    return text.encode("utf-8", "surrogatepass")


def damage_json(content: bytes, draws: Random) -> bytes:
    """Break the values of a JSON file."""
    tree = damage_tree(json.loads(content), draws)
    return _with_long_numbers(json.dumps(tree, ensure_ascii=draws.random() < 0.5))


def damage_yaml(content: bytes, draws: Random) -> bytes:
    """Break the values of a YAML file."""
    tree = damage_tree(yaml.safe_load(content), draws)
    return _with_long_numbers(yaml.safe_dump(tree, sort_keys=False, allow_unicode=draws.random() < 0.5))


def damage_text(content: bytes, draws: Random) -> bytes:
    """Break the lines of a text file."""
    return damage_lines(content.decode(), draws).encode("utf-8", "surrogatepass")


def mutate(name: str, content: bytes, draws: Random) -> bytes:
    """Break a file in a way that suits its kind, or any.

    Args:
        name: Its name, whose suffix tells the kind.
        content: Its bytes.
        draws: Decides.

    Returns:
        Its bytes, broken; sometimes by luck another valid file.
    """
    kinds: dict[str, list[Callable[[bytes, Random], bytes]]] = {
        "json": [damage_bytes, damage_json, damage_json, damage_json],
        "yaml": [damage_bytes, damage_text, damage_yaml, damage_yaml],
        "csv": [damage_bytes, damage_text],
    }
    return draws.choice(kinds.get(name.rpartition(".")[2], [damage_bytes]))(content, draws)

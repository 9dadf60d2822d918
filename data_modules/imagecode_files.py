"""Read IMAGECODE's files: descriptions, phenomena annotated by hand, propositions."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from contextblip.errors import DatasetError
from contextblip.safe_yaml import SafeLoader, load_yaml
from data_modules.files import first_file, read_json, read_text, require_file, subfolders

NAME = "IMAGECODE"
FOLDERS = ("imagecode", "ImageCoDe", "IMAGECODE", "imagecode/data", "data")
Split = Literal["train", "valid", "test"]
SPLIT_FILES: dict[Split, str] = {
    "train": "train_data.json",
    "valid": "valid_data.json",
    "test": "test_data_unlabeled.json",
}
PHENOMENA_FILE = "manual_annotation_valid.yaml"
ARCHIVE = "image-sets.zip"
PROPOSITION_FILES: dict[Split, tuple[str, ...]] = {
    "train": (),
    "valid": ("valid_split.json", "dev_model_split_2.json"),
    "test": ("test_model_split_2.json",),
}
PHENOMENA = {
    "s": "spatial",
    "q": "quantities",
    "con": "context",
    "col": "colors",
    "cor": "coreference",
    "v": "occlusion",
    "n": "nuances",
    "neg": "negation",
    "t": "temporal",
    "img": "meta_properties",
}
# beside the two splits whose targets could be checked against it: the names of each set's images in order
ORDER_FILES: dict[Split, str] = {"valid": "image_filenames_valid.json", "test": "image_filenames_test.json"}
SET_SIZE = 10
# the first entries of the file carry all codes, those up to the second number four of them, the rest none
CHALLENGING_ENTRIES = 200
ANNOTATED_ENTRIES = 1002
_TARGET = re.compile(r"0|[1-9][0-9]{0,99}")  # Python refuses thousands of digits
# ids of YouTube have eleven characters, but not in all published names
_OFFICIAL_NAME = re.compile(
    r"open-images-\d+_[0-9a-f]{16}"
    r"|(?:MSR-VTT-video(?:TrainVal|Test)Video_video\d+|YouCook-video\d+|video-storytelling-video[a-z]+_[\w-]+)"
    r"-shot\d+_\d+",
    re.ASCII,
)

Descriptions = dict[str, list[tuple[int, str]]]


def is_video_set(name: str) -> bool:
    """Tell whether a set holds frames of a video; static sets come from Open Images."""
    return "open-images" not in name


def has_official_name(name: str) -> bool:
    """Tell whether a set is called as the published ones, which have ten images each."""
    return _OFFICIAL_NAME.fullmatch(name) is not None


def find_split_file(root: Path, split: Split) -> Path:
    """Find the descriptions of a split.

    Args:
        root: The data set's own folder or a parent that holds it.
        split: Name of the split.

    Returns:
        Path of the file.

    Raises:
        DatasetNotFoundError: It lies in none of the usual places; the message says what lies there instead.
    """
    folders, name = subfolders(root, FOLDERS), SPLIT_FILES[split]
    return require_file(NAME, folders, [name], remedy=_root_remedy(root, folders, name))


def _root_remedy(root: Path, folders: list[Path], name: str) -> str | None:
    if not root.is_dir():
        return f"{root} is no folder; set --data.root to the folder of the data set"
    if (above := first_file(list(root.absolute().parents[:2]), [name])) is not None:
        return f"{root} lies too deep: set --data.root to {above.parent}"
    if (archive := first_file(folders, [ARCHIVE])) is not None:
        return f"{archive} holds images alone: put {name} beside it or set --data.root to the folder of both"
    return None


def read_descriptions(path: Path) -> Descriptions:
    """Read the descriptions of a split.

    Args:
        path: ``{set: {"<target>": text}}``, or ``{set: [text, ...]}`` where targets are secret.

    Returns:
        Target (-1 where secret) and text of each set's descriptions, in file order.

    Raises:
        DatasetError: The file has another form, a key twice, a target that is no index or an empty text.
    """
    content = read_json(path, NAME, unique_keys=True)
    if not isinstance(content, dict):
        raise DatasetError(
            f"{NAME}: {path} holds a {type(content).__name__}, expected an object of sets; download it again"
        )
    if not content:
        raise DatasetError(f"{NAME}: {path} holds no sets; download it again")
    return {name: _read_set(path, name, texts) for name, texts in content.items()}


def _read_set(path: Path, name: str, texts: object) -> list[tuple[int, str]]:
    def refuse(problem: str) -> DatasetError:
        return DatasetError(
            f"{NAME}: {path}, set {name}: {problem}; correct the entry or download the file again"
        )

    if not isinstance(texts, dict | list):
        raise refuse(f"its descriptions are of type {type(texts).__name__}, expected an object or a list")
    keyed = texts.items() if isinstance(texts, dict) else ((None, text) for text in texts)
    rows: list[tuple[int, str]] = []
    for number, (key, text) in enumerate(keyed):
        label = f"description {number}" if key is None else f"target {json.dumps(key)}"
        if key is not None and not _TARGET.fullmatch(key):
            raise refuse(f"{label} is no whole number from 0")
        if not isinstance(text, str):
            raise refuse(f"{label} is of type {type(text).__name__}, not a text")
        if not text.strip():
            raise refuse(f"{label} has an empty text")
        rows.append((-1 if key is None else int(key), text))
    return rows


def require_targets(descriptions: Descriptions, path: Path) -> None:
    """Refuse a split that needs targets and lacks some.

    Args:
        descriptions: The split.
        path: Its file, for the message.

    Raises:
        DatasetError: A set lists its texts without targets.
    """
    for name, rows in descriptions.items():
        if any(target < 0 for target, _ in rows):
            raise DatasetError(
                f"{NAME}: {path}, set {name}: texts without targets; training and validation need "
                '{"<target>": text}, download the file again'
            )


def parse_phenomena(annotation: str) -> list[str]:
    """Translate the codes of one annotation.

    Args:
        annotation: Codes separated by commas; empty codes mean nothing.

    Returns:
        Names, each once; an unknown code stands for itself.
    """
    return list(dict.fromkeys(PHENOMENA.get(code, code) for code in split_codes(annotation) if code))


def split_codes(annotation: str) -> list[str]:
    """Split one annotation at its commas; a stray comma gives an empty code."""
    return [code.strip() for code in annotation.split(",")]


@dataclass(frozen=True)
class Annotations:
    """The phenomena annotated by hand on a part of the validation split.

    Attributes:
        phenomena: Names by set and target, in file order; an empty list is an entry nobody annotated, or one
            in which nothing was found. Some texts have no entry and some entries no text.
        challenging: Set and target of the 200 challenging samples: the first 200 entries.
        challenging_codes: How often each code as published stands in those; "" counts empty codes.
        annotated_codes: The same over the first 1,002 entries, the only ones that were annotated.
    """

    phenomena: Mapping[tuple[str, int], list[str]]
    challenging: frozenset[tuple[str, int]]
    challenging_codes: Mapping[str, int]
    annotated_codes: Mapping[str, int]

    @property
    def n_sets(self) -> int:
        """Sets with an entry."""
        return len({name for name, _ in self.phenomena})

    @property
    def n_entries(self) -> int:
        """Entries of the file."""
        return len(self.phenomena)


NO_ANNOTATIONS = Annotations({}, frozenset(), {}, {})


def read_annotations(path: Path) -> Annotations:
    """Read the file of phenomena.

    Args:
        path: ``{set: {"<target>": {"annotation": "con,v", ...}}}``.

    Returns:
        What it says.

    Raises:
        DatasetError: It is not YAML, has a key twice or another form.
    """
    try:
        entries = {
            (name, int(target)): str.strip(entry["annotation"])
            for name, targets in load_yaml(read_text(path, NAME), _UniqueKeyLoader).items()
            for target, entry in targets.items()
        }
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{NAME}: {path} is no annotation file ({reason}); download it again") from error
    ordered = list(entries)

    def count(number: int) -> Counter[str]:
        return Counter(code for key in ordered[:number] for code in split_codes(entries[key]))

    return Annotations(
        {key: parse_phenomena(annotation) for key, annotation in entries.items()},
        frozenset(ordered[:CHALLENGING_ENTRIES]),
        count(CHALLENGING_ENTRIES),
        count(ANNOTATED_ENTRIES),
    )


class _UniqueKeyLoader(SafeLoader):
    """A safe loader that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key "{key.value}" stands twice in one mapping', key.start_mark
                )
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


def read_propositions(path: Path) -> dict[str, int]:
    """Count the propositions of each text, blank ones included; see `read_proposition_texts`."""
    return {text: len(parts) for text, parts in read_proposition_texts(path).items()}


def read_proposition_texts(path: Path) -> dict[str, list[str]]:
    """Read the propositions of each text, blank ones included, as published.

    Args:
        path: ``{text: [proposition, ...]}``; texts are exactly those of the split, blanks at the ends too.

    Returns:
        Propositions by text.

    Raises:
        DatasetError: The file has another form or a key twice.
    """
    return _read_lists(path, "text and propositions")


def read_image_order(folders: Sequence[Path], split: Split) -> dict[str, list[str]]:
    """Read the published names of a split's images, where a list of them lies there.

    Args:
        folders: Where it may lie.
        split: Name of the split; there is no list of train.

    Returns:
        Names of each set's images in the order that targets count; empty without a list.

    Raises:
        DatasetError: The list has another form or a set twice.
    """
    path = first_file(folders, [ORDER_FILES[split]]) if split in ORDER_FILES else None
    return {} if path is None else _read_lists(path, "sets and image names")


def _read_lists(path: Path, what: str) -> dict[str, list[str]]:
    content = read_json(path, NAME, unique_keys=True)
    lists = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(each, list) and all(isinstance(text, str) for text in each) for each in lists):
        raise DatasetError(f"{NAME}: {path} is not an object of {what}; download it again")
    return dict(content)

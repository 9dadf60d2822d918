"""Read IMAGECODE's files: descriptions, image order, annotated phenomena, propositions."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml

from contextblip.errors import DatasetError, DatasetNotFoundError
from contextblip.types import Query
from data_modules.files import read_json
from data_modules.retrieval import CandidateSet, RetrievalItem

NAME = "IMAGECODE"
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
_IMAGE_NAME = re.compile(r"img(\d+)\.(?:jpe?g|png)", re.IGNORECASE)

Descriptions = dict[str, list[tuple[int, str]]]


def is_video_set(name: str) -> bool:
    """Tell whether a set holds frames of a video; static sets come from Open Images."""
    return "open-images" not in name


def sort_images(names: Sequence[str]) -> list[str]:
    """Order a set's images by the number in their name, which in video sets is a frame number.

    A target index is a rank in this order. Names of another form are left out.

    Args:
        names: File names of a set's folder.

    Returns:
        ``imgN.jpg`` names, N increasing.
    """
    numbered = [(int(match[1]), name) for name in names if (match := _IMAGE_NAME.fullmatch(name))]
    return [name for _, name in sorted(numbered)]


def read_descriptions(path: Path) -> Descriptions:
    """Read the descriptions of a split.

    Args:
        path: ``{set: {"<target>": text}}``, or ``{set: [text, ...]}`` where targets are secret.

    Returns:
        Target (-1 where secret) and text of each set's descriptions, in file order.

    Raises:
        DatasetError: The file has another form.
    """
    content = read_json(path, NAME)
    if not isinstance(content, dict):
        raise DatasetError(f"{NAME}: {path} holds a {type(content).__name__}, expected an object of sets")
    return {name: _read_set(path, name, texts) for name, texts in content.items()}


def _read_set(path: Path, name: str, texts: object) -> list[tuple[int, str]]:
    try:
        if isinstance(texts, dict):
            rows = [(int(target), text) for target, text in texts.items()]
        elif isinstance(texts, list):
            rows = [(-1, text) for text in texts]
        else:
            raise TypeError(f"descriptions are a {type(texts).__name__}")
        if any(not isinstance(text, str) for _, text in rows):
            raise TypeError("a description is no text")
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{NAME}: {path}, set {name}: {error}; download the file again") from error
    return rows


def parse_phenomena(annotation: str) -> list[str]:
    """Translate the codes of one annotation.

    Args:
        annotation: Codes separated by commas; empty codes mean nothing.

    Returns:
        Names; an unknown code stands for itself.
    """
    codes = [code.strip() for code in annotation.split(",")]
    return [PHENOMENA.get(code, code) for code in codes if code]


def read_phenomena(path: Path) -> dict[tuple[str, int], list[str]]:
    """Read the phenomena annotated by hand on a part of the validation split.

    Args:
        path: ``{set: {"<target>": {"annotation": "con,v", ...}}}``.

    Returns:
        Phenomena of each set and target; an empty list is a description nobody annotated.

    Raises:
        DatasetError: It is not YAML or has another form.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time where libyaml is there
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506  # both are safe loaders
        return {
            (name, int(target)): parse_phenomena(entry["annotation"])
            for name, entries in content.items()
            for target, entry in entries.items()
        }
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(f"{NAME}: {path} is no annotation file ({reason}); download it again") from error


def read_propositions(path: Path) -> dict[str, int]:
    """Count the propositions of each text, blank ones included, as published.

    Args:
        path: ``{text: [proposition, ...]}``; texts are exactly those of the split, blanks at the ends too.

    Returns:
        Number of propositions by text.

    Raises:
        DatasetError: The file has another form.
    """
    content = read_json(path, NAME)
    if not isinstance(content, dict) or not all(isinstance(parts, list) for parts in content.values()):
        raise DatasetError(f"{NAME}: {path} is not an object of text and propositions; download it again")
    return {text: len(parts) for text, parts in content.items()}


def list_sets(
    descriptions: Descriptions, image_roots: Sequence[Path], split_file: Path
) -> list[CandidateSet]:
    """Find the images of every set that a split lists.

    Args:
        descriptions: The split.
        image_roots: Folders that may hold the sets' folders, in order of preference.
        split_file: The split's file, for messages.

    Returns:
        Sets in file order.

    Raises:
        DatasetNotFoundError: Sets have no folder.
        DatasetError: A set has fewer images than its targets ask for, or fewer than two.
    """
    listings = [(root, {entry.name for entry in root.iterdir()}) for root in image_roots]
    homes = {name: next((root for root, names in listings if name in names), None) for name in descriptions}
    if missing := [name for name, home in homes.items() if home is None]:
        archives = [root / ARCHIVE for root, names in listings if ARCHIVE in names]
        remedy = f"extract {archives[0]}" if archives else f"extract {ARCHIVE} there"
        raise DatasetNotFoundError(
            f"{NAME}: {len(missing)} of the {len(descriptions)} sets in {split_file} have no folder of "
            f"images, first {missing[0]}: looked in {', '.join(map(str, image_roots))}; "
            f"{remedy} or set --data.image_root to the folder of the sets"
        )
    return [_list_set(home / name, descriptions[name], split_file) for name, home in homes.items() if home]


def _list_set(folder: Path, rows: Sequence[tuple[int, str]], split_file: Path) -> CandidateSet:
    names = sort_images([entry.name for entry in folder.iterdir()])
    highest = max((target for target, _ in rows), default=-1)
    lowest = min((target for target, _ in rows), default=-1)
    if len(names) < 2 or highest >= len(names) or lowest < -1:
        wrong = lowest if lowest < -1 else highest
        raise DatasetError(
            f"{NAME}: set {folder.name} has {len(names)} images imgN.jpg in {folder}, but {split_file} asks "
            f"for target {wrong}; extract this set again or correct the file"
        )
    return CandidateSet(folder.name, tuple(folder / name for name in names), is_video_set(folder.name))


def make_items(
    descriptions: Descriptions, phenomena: dict[tuple[str, int], list[str]], propositions: dict[str, int]
) -> list[RetrievalItem]:
    """Make one item a description, in file order.

    Args:
        descriptions: The split.
        phenomena: By set and target; may lack some.
        propositions: By text; may lack some.

    Returns:
        Items.
    """
    items = []
    for set_row, (name, rows) in enumerate(descriptions.items()):
        for query_index, (target, text) in enumerate(rows):
            query: Query = {
                "set_name": name,
                "query_index": query_index,
                "text": text,
                "phenomena": phenomena.get((name, target), []),
                "n_propositions": propositions.get(text),
            }
            items.append(RetrievalItem(set_row, (query,), (target,)))
    return items

"""Find data sets on disk: official layouts, image paths by their longest existing suffix, JSON."""

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.images import ImageReference, readable_image

__all__ = [
    "ImageFinder",
    "ImageReference",
    "Links",
    "first_file",
    "image_roots",
    "read_json",
    "read_text",
    "readable_image",
    "require_file",
    "subfolders",
]


def first_file(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Return the first existing file: names in order of preference, each in every folder."""
    return next((folder / name for name in names for folder in folders if (folder / name).is_file()), None)


def require_file(
    dataset: str,
    folders: Sequence[Path],
    names: Sequence[str],
    key: str = "--data.root",
    remedy: str | None = None,
) -> Path:
    """Return the first existing file or say where it was looked for.

    Args:
        dataset: Name of the data set, for the message.
        folders: Where to look.
        names: File names in order of preference.
        key: The option that mends it, for the message.
        remedy: What mends it, where more is known than that.

    Returns:
        Path of the file.

    Raises:
        DatasetNotFoundError: None of the files exists.
    """
    if (path := first_file(folders, names)) is not None:
        return path
    remedy = remedy or f"set {key} to the folder of the data set or to a parent that holds it"
    raise DatasetNotFoundError(
        f"{dataset} not found: looked for {' or '.join(names)} in {', '.join(map(str, folders))}; {remedy}"
    )


def subfolders(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the root itself and those of the named folders below it, existing or not, without repeats."""
    return list(dict.fromkeys([root, *(root / name for name in names)]))


def image_roots(
    folders: Sequence[Path], names: Sequence[str], image_root: Path | None, option: str
) -> list[Path]:
    """List the folders below which images may lie.

    Args:
        folders: Of the annotations and of the data, in order of preference.
        names: Usual names of image folders.
        image_root: In place of the folders, if given.
        option: What sets it, for the message.

    Returns:
        Existing folders in order of preference.

    Raises:
        DatasetNotFoundError: ``image_root`` does not exist.
    """
    if image_root is not None and not image_root.is_dir():
        raise DatasetNotFoundError(f"{option} {image_root} is no folder; name that of the images")
    bases = folders if image_root is None else [image_root]
    roots = [base / name for base in bases for name in ("", *names)]
    return list(dict.fromkeys(root for root in roots if root.is_dir()))


def read_text(path: Path, dataset: str) -> str:
    """Read a text file in UTF-8; a byte order mark at its start, which some editors leave, is no part of it.

    Args:
        path: The file.
        dataset: Name of the data set, for the message.

    Returns:
        Its text.

    Raises:
        DatasetError: It cannot be read or is not UTF-8.
    """
    try:
        # as it is: line ends inside quotes belong to a text
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{dataset}: {path} is not UTF-8 ({error}); download it again") from error
    except OSError as error:
        raise DatasetError(f"{dataset}: {path} cannot be read ({error.strerror}); restore it") from error


def read_json(path: Path, dataset: str, unique_keys: bool = False) -> Any:  # noqa: ANN401  # JSON holds anything
    """Read a JSON file.

    Args:
        path: The file.
        dataset: Name of the data set, for the message.
        unique_keys: Whether a key that an object has twice is an error; otherwise its last value counts.

    Returns:
        Its content.

    Raises:
        DatasetError: It cannot be read, is not UTF-8, not JSON, or has a key twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for number, key in enumerate(keys) if key in keys[:number])
            raise DatasetError(
                f"{dataset}: {path} has the key {json.dumps(twice, ensure_ascii=False)} twice in one object; "
                "remove one or download it again"
            )
        return content

    text = read_text(path, dataset)
    try:
        content = json.loads(text, object_pairs_hook=unique if unique_keys else None)
        if "\\ud" in text or "\\uD" in text:  # maybe half of a character, which no tokenizer takes
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # a ValueError also for a number of 5,000 digits
        raise DatasetError(f"{dataset}: {path} is not valid JSON ({error}); download it again") from error
    return content


class Links:
    """Refuses links that lead out of some folders; these, which the user names, may be links themselves.

    Args:
        dataset: Name of the data set, for messages.
        roots: The folders.
    """

    def __init__(self, dataset: str, roots: Sequence[Path]) -> None:
        self.dataset = dataset
        self.roots = roots
        self._targets = [os.path.realpath(root) for root in roots]

    def lead_out(self, path: Path) -> bool:
        """Tell whether a path lies in none of the folders once all links on its way are followed."""
        target = Path(os.path.realpath(path))
        return not any(target.is_relative_to(root) for root in self._targets)

    def refuse_way_out(self, path: Path) -> None:
        """Refuse a path that leads out.

        Args:
            path: Of a link, or with links on its way.

        Raises:
            DatasetError: It does.
        """
        if self.lead_out(path):
            raise DatasetError(
                f"{self.dataset}: {path} is linked to {os.path.realpath(path)}, out of "
                f"{', '.join(map(str, self.roots))}; set --data.image_root to the folder where it is linked "
                "to, or put a copy there"
            )


class ImageFinder:
    """Resolve annotated image paths by their longest suffix that exists below one of several roots.

    Folders are listed once instead of asking for each file, which matters on network file systems. A folder
    annotated with blanks in its name may have underscores instead. No annotation leads out of the roots:
    absolute paths are resolved as all others are, ``..`` counts for nothing, and links out are refused.

    Args:
        dataset: Name of the data set, for messages.
        roots: Folders to look below, in order of preference.
    """

    def __init__(self, dataset: str, roots: Sequence[Path]) -> None:
        self.dataset = dataset
        self.roots = list(dict.fromkeys(roots))
        self._links = Links(dataset, self.roots)
        self._candidates: dict[str, list[Path]] = {}
        self._names: dict[Path, dict[str, bool]] = {}

    def find(self, path: str) -> Path | None:
        """Return the existing file that an annotated path means, or ``None``.

        Args:
            path: As annotated.

        Returns:
            The file.

        Raises:
            DatasetError: A folder that may hold it cannot be listed, or a link leads out of the roots.
        """
        annotated = PurePosixPath(path.replace("\\", "/"))
        for folder in self._folders(annotated.parent):
            is_linked = self._listing(folder).get(annotated.name)
            if is_linked is not None:
                if is_linked:
                    self._links.refuse_way_out(folder / annotated.name)
                return folder / annotated.name
        return None

    def find_all(self, paths: Sequence[str]) -> list[str]:
        """Resolve annotated paths.

        Args:
            paths: As annotated.

        Returns:
            Existing files, in the same order.

        Raises:
            DatasetNotFoundError: Some do not exist.
            DatasetError: A folder that may hold them cannot be listed, or a link leads out of the roots.
        """
        found = [self.find(path) for path in paths]
        if missing := [path for path, file in zip(paths, found, strict=True) if file is None]:
            places = ", ".join(map(str, self.roots))
            raise DatasetNotFoundError(
                f"{self.dataset}: {len(missing)} of {len(paths)} images not found, first {missing[0]}: "
                f"looked below {places}; set --data.image_root to the folder that holds them"
            )
        return [str(file) for file in found]

    def _folders(self, parent: PurePosixPath) -> list[Path]:
        """Existing folders for an annotated parent, longest suffix first."""
        key = str(parent)
        if key not in self._candidates:
            parts = [part for part in parent.parts if part not in ("/", "//", ".", "..")]
            tails = ["/".join(parts[start:]) for start in range(len(parts) + 1)]
            spelled = [
                spelling for tail in tails for spelling in dict.fromkeys((tail, tail.replace(" ", "_")))
            ]
            folders = [root / tail for tail in spelled for root in self.roots]
            self._candidates[key] = [folder for folder in folders if self._is_folder(folder)]
        return self._candidates[key]

    def _listing(self, folder: Path) -> dict[str, bool]:
        """Names in a folder, and whether links have to be followed to them."""
        if folder not in self._names:
            is_out = self._links.lead_out(folder)
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = {entry.name: is_out or entry.is_symlink() for entry in entries}
            except OSError as error:
                raise self._refused(folder, error) from error
        return self._names[folder]

    def _is_folder(self, path: Path) -> bool:
        try:
            return path.is_dir()
        except OSError as error:  # a folder above it may not be searched
            raise self._refused(path, error) from error

    def _refused(self, folder: Path, error: OSError) -> DatasetError:
        return DatasetError(f"{self.dataset}: {folder} cannot be listed ({error.strerror}); make it readable")

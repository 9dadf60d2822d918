"""Find data sets on disk: official layouts, image paths by their longest existing suffix, images."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, ImageOps

from contextblip.errors import DatasetError, DatasetNotFoundError

EXIF_ORIENTATION = 0x0112


def first_file(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Return the first existing file: names in order of preference, each in every folder."""
    return next((folder / name for name in names for folder in folders if (folder / name).is_file()), None)


def require_file(
    dataset: str, folders: Sequence[Path], names: Sequence[str], key: str = "--data.root"
) -> Path:
    """Return the first existing file or say where it was looked for.

    Args:
        dataset: Name of the data set, for the message.
        folders: Where to look.
        names: File names in order of preference.
        key: The option that mends it, for the message.

    Returns:
        Path of the file.

    Raises:
        DatasetNotFoundError: None of the files exists.
    """
    if (path := first_file(folders, names)) is not None:
        return path
    raise DatasetNotFoundError(
        f"{dataset} not found: looked for {' or '.join(names)} in {', '.join(map(str, folders))}; "
        f"set {key} to the folder of the data set or to a parent that holds it"
    )


def subfolders(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the root itself and those of the named folders below it, existing or not, without repeats."""
    return list(dict.fromkeys([root, *(root / name for name in names)]))


def read_json(path: Path, dataset: str) -> Any:  # noqa: ANN401  # JSON holds anything
    """Read a JSON file.

    Args:
        path: The file.
        dataset: Name of the data set, for the message.

    Returns:
        Its content.

    Raises:
        DatasetError: It is not UTF-8 or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DatasetError(f"{dataset}: {path} is not UTF-8 ({error}); download it again") from error
    except json.JSONDecodeError as error:
        raise DatasetError(f"{dataset}: {path} is not valid JSON ({error}); download it again") from error


class ImageFinder:
    """Resolve annotated image paths by their longest suffix that exists below one of several roots.

    Folders are listed once instead of asking for each file, which matters on network file systems.

    Args:
        dataset: Name of the data set, for messages.
        roots: Folders to look below, in order of preference.
    """

    def __init__(self, dataset: str, roots: Sequence[Path]) -> None:
        self.dataset = dataset
        self.roots = list(dict.fromkeys(roots))
        self._candidates: dict[str, list[Path]] = {}
        self._names: dict[Path, frozenset[str]] = {}

    def find(self, path: str) -> Path | None:
        """Return the existing file that an annotated path means, or ``None``."""
        annotated = PurePosixPath(path.replace("\\", "/"))
        for folder in self._folders(annotated.parent):
            if annotated.name in self._listing(folder):
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
            parts = [part for part in parent.parts if part not in ("/", ".", "..")]
            tails = ["/".join(parts[start:]) for start in range(len(parts) + 1)]
            folders = [root / tail for tail in tails for root in self.roots]
            if parent.is_absolute():
                folders.insert(0, Path(parent))
            self._candidates[key] = [folder for folder in folders if folder.is_dir()]
        return self._candidates[key]

    def _listing(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            with os.scandir(folder) as entries:
                self._names[folder] = frozenset(entry.name for entry in entries)
        return self._names[folder]


@contextmanager
def readable_image(path: Path | str, owner: str) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong while it is open becomes one clear line.

    The image is not decoded yet, so that a transform may ask the decoder for a smaller scale first.

    Args:
        path: The file.
        owner: Data set (and set) it belongs to, for the message.

    Yields:
        The image, upright according to its EXIF orientation; any mode.

    Raises:
        DatasetError: The file is missing, truncated, too large or no image.
    """
    try:
        with Image.open(path) as image:
            yield _upright(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = (
            "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        )
        raise DatasetError(
            f"{owner}: cannot read image {path} ({reason}); restore or download this file"
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    # transposing decodes the whole image, so only the rare rotated file pays for it
    if image.getexif().get(EXIF_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)

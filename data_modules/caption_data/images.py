"""What every caption source gives: captioned images by split, keys and files that name a photo alike."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from contextblip.errors import DatasetNotFoundError
from data_modules.files import ImageFinder

Split = Literal["train", "val", "test"]
Files = tuple[Path, ...]

_COCO_ID = re.compile(r"coco_0*(\d+)")
_COCO_NAME = re.compile(r"COCO_(?:train|val|test)\d{4}_0*(\d+)")
_COCO_DIGITS = re.compile(r"(?:.*/)?(?:(?:train|val|test)20\d\d|(?:ms)?coco/images)/(\d{12})", re.IGNORECASE)
_COCO_PATHS = (
    "train2017/{:012d}.jpg",
    "val2017/{:012d}.jpg",
    "train2014/COCO_train2014_{:012d}.jpg",
    "val2014/COCO_val2014_{:012d}.jpg",
)
_COCO_OWNER = re.compile(r"(?:ms)?coco(?:[-_.\d].*)?", re.IGNORECASE)
VISUAL_GENOME_OWNER = "vg"
_VISUAL_GENOME = re.compile(r"(?:.*/)?(?:visual[-_ ]?genome|vg|vg_100k(?:_2)?)/(?:.*/)?(\d+)", re.IGNORECASE)


@dataclass
class CaptionedImage:
    """One image and its captions.

    Attributes:
        key: Names the picture; equal where two sources hold the same one.
        path: As annotated, or rather the longest part of the path that the official layout knows.
        captions: As published.
    """

    key: str
    path: str
    captions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CaptionSource:
    """A caption data set on disk, located but not read yet.

    Attributes:
        name: For messages.
        layout: Which of the known layouts it has, in words.
        folder: Its own folder.
        image_folders: Usual names of its image folders.
        files: Annotation files of each split it has.
        reader: From the files of a split and the split to its images, in file order.
        val_name: Usual name of its validation file, where the layout has one.
        disjoint: Whether its splits share no photo even where they share numbers.
        caution: What is to be known of its training photos, empty where nothing is.
    """

    name: str
    layout: str
    folder: Path
    image_folders: tuple[str, ...]
    files: Mapping[Split, Files]
    reader: Callable[[Files, Split], Iterator[CaptionedImage]]
    val_name: str = ""
    disjoint: bool = False
    caution: str = ""

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that have annotation files."""
        return tuple(self.files)

    def require(self, split: Split) -> Files:
        """Return the annotation files of a split.

        Raises:
            DatasetNotFoundError: The source has no such split.
        """
        if split not in self.files:
            raise DatasetNotFoundError(
                f"{self.name} ({self.layout}) in {self.folder} has no {split} split, only "
                f"{', '.join(self.files)}; add its annotation file or name another layout"
            )
        return self.files[split]

    def read(self, split: Split) -> Iterator[CaptionedImage]:
        """Read a split anew; large files are decoded record by record.

        Args:
            split: Which.

        Returns:
            Its images in file order.

        Raises:
            DatasetNotFoundError: The source has no such split.
            DatasetError: While reading: a file has another form.
        """
        return self.reader(self.require(split), split)


class CaptionImageFinder(ImageFinder):
    """Resolve annotated paths; a COCO photo may lie in the folders of either year.

    The photos of 2014 and 2017 are the same under other names, while Karpathy's and BLIP's annotations name
    those of 2014 alone.

    Args:
        dataset: Name of the data set, for messages.
        roots: Folders to look below, in order of preference.
    """

    def find(self, path: str) -> Path | None:
        """Return the existing file that an annotated path means, or ``None``."""
        if (file := super().find(path)) is not None:
            return file
        kind, _, number = (key_of_path(path) or "").partition("/")
        if kind != "coco":
            return None
        # not in the other split of the same year: a photo is in one of the two
        year = PurePosixPath(path).parent.name[-4:] or "none"
        names = (name.format(int(number)) for name in _COCO_PATHS if year not in name)
        others = (super(CaptionImageFinder, self).find(name) for name in names)
        return next((file for file in others if file is not None), None)


def not_found(name: str, layouts: Sequence[str], root: Path, folders: Sequence[str]) -> DatasetNotFoundError:
    """Say which files were looked for, and where.

    Args:
        name: Name of the data set.
        layouts: Files of each layout, in words.
        root: The folder given.
        folders: Usual names of the data set's own folder below it.

    Returns:
        The error.
    """
    return DatasetNotFoundError(
        f"{name} not found: looked for {' or '.join(layouts)} in {root}, in its folders {', '.join(folders)} "
        "and in annotations below each; set --data.root to the folder of the data set or to a parent that "
        "holds it"
    )


def coco_key(number: int | str) -> str:
    """Name a COCO photo by its id."""
    return f"coco/{int(number)}"


def visual_genome_key(number: int | str) -> str:
    """Name a Visual Genome photo, unless it is COCO's, by its id."""
    return f"visual_genome/{int(number)}"


def key_of_path(path: str, *, is_coco: bool = False) -> str | None:
    """Name a photo by its path, as COCO and Visual Genome name their files.

    Args:
        path: As annotated, such as ``val2014/COCO_val2014_000000000009.jpg``, ``train2017/000000000009.jpg``
            or ``visual-genome/image/1.jpg``.
        is_coco: Whether the photo is known to be COCO's, so that its number alone tells which.

    Returns:
        The key, ``None`` where the path is neither's.
    """
    pure = PurePosixPath(path.replace("\\", "/"))
    if not pure.name:  # such as /
        return None
    if match := _COCO_NAME.fullmatch(pure.stem):
        return coco_key(match[1])
    if is_coco and pure.stem.isdecimal():
        return coco_key(pure.stem)
    if match := _COCO_DIGITS.fullmatch(str(pure.with_suffix(""))):
        return coco_key(match[1])
    if match := _VISUAL_GENOME.fullmatch(str(pure.with_suffix(""))):
        return visual_genome_key(match[1])
    return None


def key_of_row(row: Mapping[str, Any], owner: str) -> str:
    """Name the photo of a row in BLIP's json form.

    Args:
        row: With ``image`` and perhaps ``image_id``.
        owner: Name of the annotation file without ``.json``; ids in different files need not mean the same
            photo, but ``coco.json`` and ``coco_karpathy_*.json`` hold COCO's, ``vg.json`` Visual Genome's.

    Returns:
        The key.

    Raises:
        ValueError: The id is no text.
    """
    number = row.get("image_id")
    if isinstance(number, str) and (match := _COCO_ID.fullmatch(number)):
        return coco_key(match[1])
    path: str = row["image"]
    if key := key_of_path(path, is_coco=_COCO_OWNER.fullmatch(owner) is not None):
        return key
    if owner == VISUAL_GENOME_OWNER and (stem := PurePosixPath(path.replace("\\", "/")).stem).isdecimal():
        return visual_genome_key(stem)
    return path if number is None else f"{owner}/{as_text(str(number), 'image_id')}"


def as_text(value: str, what: str) -> str:
    """Check that a text can be written as UTF-8: JSON may escape one half of a character alone.

    Args:
        value: The text.
        what: What it is, for the message.

    Returns:
        The same text.

    Raises:
        ValueError: It cannot.
    """
    if not value.isascii():  # known without a look at the characters
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{what} is {value!r:.60}, with half of a character") from error
    return value


def as_captions(value: object) -> list[str]:
    """Check one caption or a list of captions.

    Raises:
        TypeError: It is neither.
        ValueError: One cannot be written as UTF-8.
    """
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise TypeError(f"a caption is {value!r:.60}, expected text")
    for caption in captions:
        as_text(caption, "a caption")
    return captions


def as_path(value: object) -> str:
    """Check the name of an image file.

    Raises:
        TypeError: It is no text, or empty.
        ValueError: No file can have that name.
    """
    if not isinstance(value, str) or not value:
        raise TypeError(f"an image's name is {value!r:.60}, expected text")
    if "\0" in value:
        raise ValueError(f"an image's name is {value!r:.60}, with a zero byte")
    return as_text(value, "an image's name")

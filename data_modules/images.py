"""Open images, from files or archives; whatever is wrong with one becomes one clear line."""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from contextblip.errors import DatasetError
from data_modules.archive import ArchivedImage

ImageReference = Path | str | ArchivedImage

# Pillow only warns from this size on and refuses from twice of it
MAX_IMAGE_PIXELS = 89_478_485
# the formats of the data sets and their copies; Pillow would run programs for some others
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
EXIF_ORIENTATION = 0x0112
# what Pillow's decoders raise for damaged files, beside OSError
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, OverflowError)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# while a file is opened only Pillow runs, so nothing of ours hides behind these
_OPENING_ERRORS = (*_DECODING_ERRORS, *_BOMBS, LookupError, TypeError, AttributeError, ArithmeticError)

# the form in which the warnings module keeps a filter
_IGNORED = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@contextmanager
def readable_image(reference: ImageReference, owner: str) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong while it is open becomes one clear line.

    The image is not decoded yet, so that a transform may ask the decoder for a smaller scale first.

    Args:
        reference: The file, or a member of an archive.
        owner: Data set (and set) it belongs to, for the message.

    Yields:
        The image, upright according to its EXIF orientation; any mode of 8 bits a channel.

    Raises:
        DatasetError: The file is missing, empty, truncated, too large or no image.
    """
    _quieten_pillow()
    try:
        image = _open(reference)
    except _OPENING_ERRORS as error:
        raise _unreadable(reference, owner, _reason(error, reference)) from error
    try:
        yield image
    except _DECODING_ERRORS as error:
        raise _unreadable(reference, owner, _reason(error, reference)) from error
    finally:
        image.close()


def _open(reference: ImageReference) -> Image.Image:
    source = BytesIO(reference.read()) if isinstance(reference, ArchivedImage) else reference
    image: Image.Image = Image.open(source, formats=FORMATS)
    try:
        return _upright(image)
    except BaseException:
        image.close()
        raise


def _upright(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise ValueError(f"{width} x {height} pixels, more than the limit of {MAX_IMAGE_PIXELS:,}")
    # transposing decodes the whole image, so only the rare rotated file pays for it
    if _is_turned(image):
        with image:
            image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        with image:
            # Pillow's own conversion cuts at 255, which leaves a white image
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image


def _is_turned(image: Image.Image) -> bool:
    if image.format == "PNG":
        # metadata may stand behind the pixels, and Pillow would decode these to look for them; where that
        # fails it would fail once only, and leave a picture of what had been decoded
        image.load()
    try:
        return image.getexif().get(EXIF_ORIENTATION) in range(2, 9)
    except _OPENING_ERRORS:
        return False  # broken metadata do not make the pixels unreadable


def _reason(error: BaseException, reference: ImageReference) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "empty file" if _is_empty(reference) else "no image, or of an unknown format"
    if isinstance(error, _BOMBS):
        return f"{error}; the limit is {MAX_IMAGE_PIXELS:,} pixels"
    if type(error) in (OSError, ValueError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _is_empty(reference: ImageReference) -> bool:
    if isinstance(reference, ArchivedImage):
        return not reference.read()
    return not Path(reference).stat().st_size


def _unreadable(reference: ImageReference, owner: str, reason: str) -> DatasetError:
    # names that are not UTF-8 could not be printed
    place = str(reference).encode("utf-8", "backslashreplace").decode()
    return DatasetError(f"{owner}: cannot read image {place} ({reason}); restore or download this file")


def _quieten_pillow() -> None:
    """Keep Pillow's warnings about odd files off the terminal: what matters is an error here.

    ``catch_warnings`` around each image would be no substitute: it is not safe among threads and makes every
    other warning of the process appear again and again.
    """
    if warnings.filters[:1] != [_IGNORED]:
        warnings.filterwarnings("ignore", category=Warning, module=_IGNORED[3].pattern)

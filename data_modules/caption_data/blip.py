"""BLIP's (and ALBEF's) json form of captions: one list of ``{"image": path, "caption": text}``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contextblip.errors import DatasetError
from data_modules.caption_data.images import CaptionedImage, as_captions, as_path, key_of_row
from data_modules.caption_data.json_records import parsed, stream_list

FORM = 'a list of {"image": path, "caption": text}'


def read_blip_rows(path: Path, name: str, same: Mapping[str, str]) -> Iterator[CaptionedImage]:
    """Read a file in BLIP's json form, one row a caption or one row an image.

    Args:
        path: The file.
        name: Name of the data set, for messages.
        same: Other keys of photos that are known under several.

    Yields:
        Images in order of first appearance, with the captions of all their rows.

    Raises:
        DatasetError: It has another form, or gives one ``image_id`` to two photos.
    """

    def parse(row: Any) -> tuple[str, str, list[str]]:  # noqa: ANN401  # JSON holds anything
        image = as_path(row["image"])
        return key_of_row(row, path.stem), image, as_captions(row["caption"])

    images: dict[str, CaptionedImage] = {}
    for key, image, captions in parsed(stream_list(path, name), parse, dataset=name, path=path, form=FORM):
        first = images.setdefault(key, CaptionedImage(same.get(key, key), image))
        if image != first.path and _without_id(image, path) != _without_id(first.path, path):
            raise DatasetError(
                f"{name}: {path} has two files for image {key}, {first.path} and {image}, so captions would "
                "be put to the wrong photo; give each an image_id of its own"
            )
        first.captions.extend(captions)
    yield from images.values()


def _without_id(image: str, path: Path) -> str:
    """Name a photo by its file alone: two paths may end in the same number of COCO or Visual Genome."""
    return key_of_row({"image": image}, path.stem)

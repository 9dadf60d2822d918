"""Visual Genome's regions with their boxes: where in a photo lies what a phrase names."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from contextblip.errors import DatasetError
from data_modules.caption_data.images import CaptionedImage, CaptionImageFinder, CaptionSource
from data_modules.caption_data.json_records import parsed, stream_list
from data_modules.caption_data.rows import CaptionSample
from data_modules.caption_data.tables import image_number
from data_modules.files import readable_image
from data_modules.transforms import EvalTransform

LARGEST_SHARE = 0.5
"""Of the image's area that the box of one object takes at most."""
_FORM = '[{"regions": [{"phrase": text, "x": pixels, "y": pixels, "width": pixels, "height": pixels}]}]'


@dataclass(frozen=True)
class Region:
    """A phrase and the box of what it names.

    Attributes:
        key: Names the region, the same in every run.
        path: Of the image, as annotated.
        phrase: As published.
        box: Left, top, right and bottom in pixels of the image file; may reach over its edges.
    """

    key: str
    path: str
    phrase: str
    box: tuple[float, float, float, float]


def read_regions(source: CaptionSource) -> Iterator[Region]:
    """Read the regions that may name one object; the files are decoded image by image.

    Blank phrases and empty boxes are left out. A record may say by ``things`` how many things its phrase
    names, as the miniature world's do and Visual Genome's do not; where it does only 1 is kept.

    Args:
        source: Visual Genome in its official layout.

    Yields:
        Regions in file order.

    Raises:
        DatasetError: A file has another form.
    """
    path = source.require("train")[0]
    records = zip(source.read("train"), stream_list(path, source.name), strict=True)
    for regions in parsed(records, _parse, dataset=source.name, path=path, form=_FORM):
        yield from regions


def _parse(pair: tuple[CaptionedImage, Any]) -> list[Region]:
    image, record = pair
    regions = []
    for number, region in enumerate(record["regions"]):
        x, y, width, height = (float(region[name]) for name in ("x", "y", "width", "height"))
        phrase = image.captions[number]
        if phrase.strip() and min(width, height) > 0 and region.get("things", 1) == 1:
            box = (x, y, x + width, y + height)
            regions.append(Region(f"{image.path}/{number}", image.path, phrase, box))
    return regions


def load_regions(
    source: CaptionSource, finder: CaptionImageFinder, transform: EvalTransform, count: int
) -> tuple[list[CaptionSample], Tensor]:
    """Choose regions and load their images.

    The choice is random over all regions but the same every time, whatever the seed of the run. Boxes over
    `LARGEST_SHARE` of their image are passed over: such phrases tell of a scene.

    Args:
        source: Visual Genome in its official layout.
        finder: Finds its images.
        transform: Squashes an image to the network's input; boxes follow.
        count: How many; fewer where there are not as many.

    Returns:
        The samples, whose captions are the phrases, and their boxes as shares of width and height, left, top,
        right, bottom, ``(N, 4)`` float32 between 0 and 1.

    Raises:
        DatasetNotFoundError: An image is missing.
        DatasetError: A file has another form, an image cannot be read, or no region is left.
    """
    # twice as many as wanted: sizes of images are known only once these are open
    drawn = heapq.nsmallest(2 * count, read_regions(source), key=lambda region: image_number(region.key))
    files = finder.find_all([region.path for region in drawn])
    samples: list[CaptionSample] = []
    boxes: list[Tensor] = []
    for region, file in zip(drawn, files, strict=True):
        with readable_image(file, source.name) as image:
            width, height = image.size
            box = (torch.tensor(region.box) / torch.tensor([width, height] * 2)).clamp(0, 1)
            share = float((box[2:] - box[:2]).prod())
            if not 0 < share <= LARGEST_SHARE:
                continue
            number = len(samples)
            pixels = transform(image)
        samples.append({"image": pixels, "caption": region.phrase, "image_id": number, "index": number})
        boxes.append(box)
        if len(samples) == count:
            break
    if not samples:
        raise DatasetError(
            f"{source.name}: {source.require('train')[0]} has no region whose box is at most half of its "
            "image; leave callbacks.MaskOverlap out"
        )
    return samples, torch.stack(boxes)

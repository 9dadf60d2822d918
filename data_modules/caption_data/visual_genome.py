"""Visual Genome's region descriptions as captions: the official layout and BLIP's ``vg.json``."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.pytorch.utilities import rank_zero_only

from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.caption_data.blip import read_blip_rows
from data_modules.caption_data.images import (
    VISUAL_GENOME_OWNER,
    CaptionedImage,
    CaptionSource,
    Files,
    Split,
    as_captions,
    as_path,
    coco_key,
    not_found,
    visual_genome_key,
)
from data_modules.caption_data.json_records import parsed, stream_list
from data_modules.files import first_file, subfolders

log = logging.getLogger(__name__)

VisualGenomeLayout = Literal["auto", "official", "blip"]

NAME = "Visual Genome"
FOLDERS = ("visual_genome", "visual-genome", "VisualGenome", "VG", "vg")
IMAGE_FOLDERS = ("images", "image", "VG_100K", "VG_100K_2", "images/VG_100K", "images/VG_100K_2")
REGIONS = "region_descriptions.json"
IMAGES = "image_data.json"
BLIP = f"{VISUAL_GENOME_OWNER}.json"
LAYOUTS: Mapping[VisualGenomeLayout, str] = {
    "blip": f"{BLIP} (BLIP)",
    "official": f"{REGIONS} with {IMAGES} (official)",
}


def locate_visual_genome(root: Path, layout: VisualGenomeLayout = "auto") -> CaptionSource:
    """Locate Visual Genome captions; all images are their training split.

    Source: https://homes.cs.washington.edu/~ranjay/visualgenome (Krishna et al., 2017), CC BY 4.0. 108,077
    images, about 5.4 million region phrases, every phrase one caption of its image; BLIP's selection has
    about 100,000 images and 769,000 (or 821,000) phrases::

        visual_genome/region_descriptions.json       official
        visual_genome/image_data.json                 official; beside BLIP's file it names COCO's photos
        visual_genome/vg.json                         BLIP
        visual_genome/{VG_100K,VG_100K_2}/1.jpg      (or below images/; the folder stands in each image's url)

    Args:
        root: Its own folder or a parent that holds ``visual_genome``.
        layout: Which; ``auto`` prefers BLIP's file, the paper's selection.

    Returns:
        The source.

    Raises:
        DatasetNotFoundError: No annotation file, or only one of the official two, lies there.
    """
    folders = [place for base in subfolders(root, FOLDERS) for place in (base, base / "annotations")]
    wanted = [name for name in LAYOUTS if layout in ("auto", name)]
    if "blip" in wanted and (path := first_file(folders, [BLIP])):
        return _source("BLIP", path, blip_files(path), read_blip_regions)
    if "official" in wanted and (path := first_file(folders, [REGIONS])):
        if not (images := path.parent / IMAGES).is_file():
            raise DatasetNotFoundError(
                f"{NAME} not found: {path} needs {IMAGES} beside it, which names the folder of each image; "
                "download it too"
            )
        return _source("official", path, (path, images), _read_official)
    raise not_found(NAME, [LAYOUTS[name] for name in wanted], root, FOLDERS)


def _source(layout: str, path: Path, files: Files, reader: Any) -> CaptionSource:  # noqa: ANN401  # see CaptionSource
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent
    return CaptionSource(NAME, layout, folder, IMAGE_FOLDERS, {"train": files}, reader)


def blip_files(path: Path) -> Files:
    """Return a file in BLIP's form and, where it lies beside it, Visual Genome's list of images."""
    images = path.parent / IMAGES
    return (path, images) if images.is_file() else (path,)


def read_blip_regions(files: Files, split: Split) -> Iterator[CaptionedImage]:
    """Read a file in BLIP's form whose photos may be Visual Genome's.

    Args:
        files: The file and perhaps Visual Genome's list of images, which tells which photos are COCO's.
        split: Not needed: there is one.

    Yields:
        Images in order of first appearance.

    Raises:
        DatasetError: A file has another form.
    """
    del split
    path = files[0]
    same: dict[str, str] = {}
    if len(files) > 1:
        rows = _read_image_data(files[1])
        same = {visual_genome_key(number): key for number, (key, _) in rows.items()}
    is_genome = path.name == BLIP
    unknown = total = 0
    for image in read_blip_rows(path, NAME if is_genome else "BLIP json", same):
        total += 1
        known = image.key in same or image.key.startswith("coco/")
        unknown += not known and (is_genome or image.key.startswith("visual_genome/"))
        yield image
    if unknown:
        _warn_of_unknown(files, unknown, total)


@rank_zero_only
def _warn_of_unknown(files: Files, unknown: int, total: int) -> None:
    path, *lists = files
    reason, remedy = f"no {IMAGES} lies beside {path}, so which of its {unknown:,} images", "put it there"
    if lists:
        reason = f"{lists[0]} lacks {unknown:,} of the {total:,} images of {path.name}, so which of those"
        remedy = "download it again"
    log.warning(
        "%s: %s are COCO's too is not known, and their captions may become negatives of COCO's captions of "
        "the same photo, or show photos that COCO is tested on; %s",
        NAME, reason, remedy,
    )  # fmt: skip


def _read_official(files: Files, split: Split) -> Iterator[CaptionedImage]:
    del split  # there is one
    regions, image_data = files
    images = _read_image_data(image_data)
    seen: set[int] = set()

    def parse(row: Any) -> CaptionedImage:  # noqa: ANN401  # JSON holds anything
        number = row["id"] if "id" in row else row["image_id"]
        if number not in images:
            raise DatasetError(
                f"{NAME}: {regions} and {image_data} do not fit together (image {number!r:.60} is only in "
                "the first); download both again"
            )
        if number in seen:
            raise _twice(regions, number)
        seen.add(number)
        key, path = images[number]
        return CaptionedImage(key, path, as_captions([region["phrase"] for region in row["regions"]]))

    form = '[{"id": image, "regions": [{"phrase": text}]}]'
    yield from parsed(stream_list(regions, NAME), parse, dataset=NAME, path=regions, form=form)


def _read_image_data(path: Path) -> dict[int, tuple[str, str]]:
    """Read key and path of each image by its number."""

    def parse(row: Any) -> tuple[int, tuple[str, str]]:  # noqa: ANN401  # JSON holds anything
        number = row["image_id"] if "image_id" in row else row["id"]
        url = PurePosixPath(urlsplit(row["url"]).path)
        # half of the images are COCO's: the common key keeps captions from being each other's negatives
        coco = row.get("coco_id")
        own = visual_genome_key(number)  # checks it also where the other one counts
        key = own if coco is None else coco_key(coco)
        return number, (key, as_path(f"{url.parent.name}/{url.name}"))

    form = '[{"image_id": image, "url": address}]'
    images: dict[int, tuple[str, str]] = {}
    for number, image in parsed(stream_list(path, NAME), parse, dataset=NAME, path=path, form=form):
        if number in images:
            raise _twice(path, number)
        images[number] = image
    return images


def _twice(path: Path, number: int) -> DatasetError:
    return DatasetError(f"{NAME}: {path} lists image {number!r:.60} twice; remove one or download it again")

"""Read captioned images from COCO, Visual Genome and BLIP's json form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from contextblip.errors import DatasetError
from data_modules.files import first_file, read_json, require_file, subfolders

Split = Literal["train", "val"]

COCO_FOLDERS = ("coco", "COCO", "mscoco", "MSCOCO")
COCO_IMAGE_FOLDERS = ("images",)
COCO_YEARS = (2017, 2014)
VISUAL_GENOME_FOLDERS = ("visual_genome", "visual-genome", "VisualGenome", "VG", "vg")
VISUAL_GENOME_IMAGE_FOLDERS = ("images", "VG_100K", "VG_100K_2", "images/VG_100K", "images/VG_100K_2")


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


@dataclass
class Source:
    """A caption data set on disk.

    Attributes:
        name: For messages.
        folder: Its own folder.
        image_folders: Usual names of its image folders.
        splits: Images of each split that was read, in file order.
        has_validation: Whether it brings a validation split; if not, a share of the training images serves.
    """

    name: str
    folder: Path
    image_folders: tuple[str, ...]
    splits: dict[Split, list[CaptionedImage]]
    has_validation: bool = False


def read_coco(root: Path, splits: Sequence[Split]) -> Source:
    """Read COCO captions in the official layout.

    Source: https://cocodataset.org (Lin et al., 2014; Chen et al., 2015). Captions CC BY 4.0, photos under
    their Flickr licences. 118,287 + 5,000 images (2017) or 82,783 + 40,504 (2014), about 5 captions each::

        coco/annotations/captions_{train,val}{2017,2014}.json
        coco/images/{train,val}2017/000000000009.jpg          (or without images/)
        coco/images/{train,val}2014/COCO_train2014_000000000009.jpg

    Args:
        root: Its own folder or a parent that holds ``coco``.
        splits: Which to read; without a validation file the training split is read in any case.

    Returns:
        The source.

    Raises:
        DatasetNotFoundError: No annotation file lies there.
        DatasetError: A file has another form.
    """
    folders = [place for base in subfolders(root, COCO_FOLDERS) for place in (base / "annotations", base)]
    year = next((y for y in COCO_YEARS if first_file(folders, [f"captions_train{y}.json"])), COCO_YEARS[0])
    train = require_file("COCO", folders, [f"captions_train{y}.json" for y in COCO_YEARS])
    val = first_file([train.parent], [f"captions_val{year}.json"])
    files: dict[Split, Path] = {"train": train} if val is None else {"train": train, "val": val}
    wanted: Sequence[Split] = ["train"] if val is None else splits
    return Source(
        "COCO",
        train.parent.parent if train.parent.name == "annotations" else train.parent,
        COCO_IMAGE_FOLDERS,
        {split: _read_coco_file(files[split], f"{split}{year}") for split in wanted},
        has_validation=val is not None,
    )


def _read_coco_file(path: Path, folder: str) -> list[CaptionedImage]:
    content = _expect(read_json(path, "COCO"), dict, path, "COCO")
    try:
        images = {
            row["id"]: CaptionedImage(f"coco/{row['id']}", f"{folder}/{row['file_name']}")
            for row in content["images"]
        }
        for row in content["annotations"]:
            images[row["image_id"]].captions.append(row["caption"])
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"COCO: {path} is not in COCO's caption form ({error!r}); download it again"
        ) from error
    return list(images.values())


def read_visual_genome(root: Path) -> Source:
    """Read Visual Genome region descriptions in the official layout.

    Source: https://homes.cs.washington.edu/~ranjay/visualgenome (Krishna et al., 2017), CC BY 4.0. 108,077
    images, about 5.4 million region phrases; every phrase is one caption of its image::

        visual_genome/region_descriptions.json
        visual_genome/image_data.json
        visual_genome/{VG_100K,VG_100K_2}/1.jpg      (or below images/; the folder stands in each image's url)

    Args:
        root: Its own folder or a parent that holds ``visual_genome``.

    Returns:
        The source; all images are its training split.

    Raises:
        DatasetNotFoundError: An annotation file is missing.
        DatasetError: A file has another form.
    """
    name = "Visual Genome"
    folders = subfolders(root, VISUAL_GENOME_FOLDERS)
    regions_file = require_file(name, folders, ["region_descriptions.json"])
    images_file = require_file(name, [regions_file.parent], ["image_data.json"])
    regions = _expect(read_json(regions_file, name), list, regions_file, name)
    image_rows = _expect(read_json(images_file, name), list, images_file, name)
    try:
        images = {row["image_id"]: _visual_genome_image(row) for row in image_rows}
        for row in regions:
            images[row["id"]].captions.extend(region["phrase"] for region in row["regions"])
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"{name}: {regions_file} and {images_file} do not fit together ({error!r}); download both again"
        ) from error
    return Source(name, regions_file.parent, VISUAL_GENOME_IMAGE_FOLDERS, {"train": list(images.values())})


def _visual_genome_image(row: Mapping[str, Any]) -> CaptionedImage:
    # half of the images are COCO's: the common key keeps their captions from being each other's negatives
    key = f"coco/{row['coco_id']}" if row.get("coco_id") is not None else f"visual_genome/{row['image_id']}"
    url = PurePosixPath(urlsplit(row["url"]).path)
    return CaptionedImage(key, f"{url.parent.name}/{url.name}")


def read_blip_json(path: Path) -> Source:
    """Read BLIP's (and ALBEF's) json form.

    ``[{"image": path, "caption": text or list of texts, "image_id": optional}, ...]``, one row a caption or
    one row an image, like Salesforce's ``coco.json``, ``vg.json`` and ``coco_karpathy_train.json``.

    Args:
        path: The file.

    Returns:
        The source; all images are its training split, in order of first appearance.

    Raises:
        DatasetNotFoundError: There is no such file.
        DatasetError: It has another form.
    """
    name = "BLIP json"
    require_file(name, [path.parent], [path.name], "--data.annotation_files")
    images: dict[str, CaptionedImage] = {}
    rows = _expect(read_json(path, name), list, path, name)
    try:
        for row in rows:
            # Salesforce writes coco_<id>: the key that the other sources give the same photo
            key = str(row.get("image_id", row["image"])).replace("coco_", "coco/", 1)
            image = images.setdefault(key, CaptionedImage(key, row["image"]))
            captions = row["caption"]
            image.captions.extend([captions] if isinstance(captions, str) else captions)
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{name}: {path} is not a list of {{"image": path, "caption": text}} ({error!r})'
        ) from error
    return Source(f"{name} {path.name}", path.parent, ("images",), {"train": list(images.values())})


def _expect(content: Any, kind: type, path: Path, name: str) -> Any:  # noqa: ANN401  # JSON holds anything
    if not isinstance(content, kind):
        raise DatasetError(f"{name}: {path} holds a {type(content).__name__}, expected a {kind.__name__}")
    return content


def hold_out(
    images: Sequence[CaptionedImage], fraction: float, group_size: int
) -> dict[Split, list[tuple[int, CaptionedImage]]]:
    """Set images aside for validation, whole groups at a time.

    Which ones does not depend on the run's seed, so that runs with different seeds can be compared.

    Args:
        images: In file order.
        fraction: Share held out, 0 to 1.
        group_size: Consecutive images that stay together.

    Returns:
        Group number and image, for both splits, in file order.
    """
    groups = -(-len(images) // group_size)
    held = set(np.random.default_rng(0).permutation(groups)[: round(groups * fraction)].tolist())
    splits: dict[Split, list[tuple[int, CaptionedImage]]] = {"train": [], "val": []}
    for row, image in enumerate(images):
        group = row // group_size
        splits["val" if group in held else "train"].append((group, image))
    return splits

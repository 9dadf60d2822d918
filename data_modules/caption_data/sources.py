"""Where captions come from: COCO, Visual Genome and any file in BLIP's json form."""

from pathlib import Path

import numpy as np

from data_modules.caption_data.coco import CocoLayout, locate_coco
from data_modules.caption_data.images import CaptionedImage, CaptionSource, Split
from data_modules.caption_data.visual_genome import (
    VisualGenomeLayout,
    blip_files,
    locate_visual_genome,
    read_blip_regions,
)
from data_modules.files import require_file
from data_modules.loaders import Order

__all__ = [
    "CaptionSource",
    "CaptionedImage",
    "CocoLayout",
    "Split",
    "VisualGenomeLayout",
    "hold_out",
    "locate_blip_json",
    "locate_coco",
    "locate_visual_genome",
]


def locate_blip_json(path: Path) -> CaptionSource:
    """Locate a file in BLIP's json form; all images are its training split.

    ``[{"image": path, "caption": text or list of texts, "image_id": optional}, ...]``, one row a caption or
    one row an image, like Salesforce's ``coco.json``, ``vg.json`` and ``coco_karpathy_train.json``. A path
    means its longest suffix that exists below a folder of images; before those an absolute path is opened as
    it is, wherever it leads, so use files of others only after a look at theirs.

    Args:
        path: The file.

    Returns:
        The source.

    Raises:
        DatasetNotFoundError: There is no such file.
    """
    name = "BLIP json"
    require_file(name, [path.parent], [path.name], "--data.annotation_files")
    return CaptionSource(
        f"{name} {path.name}",
        "BLIP",
        path.parent,
        ("images",),
        {"train": blip_files(path)},
        read_blip_regions,
    )


def hold_out(images: int, fraction: float, group_size: int) -> dict[Split, Order]:
    """Set images aside for validation, whole groups at a time.

    Which ones does not depend on the run's seed, so that runs with different seeds can be compared.

    Args:
        images: Their number.
        fraction: Share held out, 0 to 1.
        group_size: Consecutive images that stay together.

    Returns:
        Numbers of the images of both splits, in file order.
    """
    groups = -(-images // group_size)
    held = np.zeros(groups, dtype=bool)
    held[np.random.default_rng(0).permutation(groups)[: round(groups * fraction)]] = True
    in_val = np.repeat(held, group_size)[:images]
    return {"train": np.flatnonzero(~in_val), "val": np.flatnonzero(in_val)}

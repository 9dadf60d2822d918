"""Inspect COCO and Visual Genome: which layout, how many images and texts, which images lie where."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from contextblip.errors import DatasetNotFoundError
from data_modules.caption_data.coco import FOLDERS as COCO_FOLDERS
from data_modules.caption_data.coco import LAYOUTS as COCO_LAYOUTS
from data_modules.caption_data.coco import YEARS
from data_modules.caption_data.images import CaptionImageFinder
from data_modules.caption_data.sources import CaptionSource, locate_coco, locate_visual_genome
from data_modules.caption_data.visual_genome import LAYOUTS as VISUAL_GENOME_LAYOUTS
from data_modules.files import first_file, image_roots, subfolders
from data_modules.verification.images import ImageJob
from data_modules.verification.inspection import IMAGE_ROOT, Inspection, short_name, some

COCO = "coco"
# the archive that holds a folder of Visual Genome's images
ARCHIVES = {"VG_100K": "images.zip", "VG_100K_2": "images2.zip"}


def locate(name: str, root: Path) -> CaptionSource:
    """Locate a data set in the layout that data modules prefer.

    Args:
        name: ``coco`` or ``visual_genome``.
        root: Folder of the data or a parent.

    Returns:
        The source.

    Raises:
        DatasetNotFoundError: No known layout lies there.
    """
    return locate_coco(root) if name == COCO else locate_visual_genome(root)


def locate_all(name: str, root: Path) -> list[CaptionSource]:
    """Locate a data set in every layout that lies there, each once.

    Args:
        name: ``coco`` or ``visual_genome``.
        root: Folder of the data or a parent.

    Returns:
        Sources, the one that data modules prefer first.

    Raises:
        DatasetNotFoundError: None lies there.
    """
    locators: list[Callable[[Path], CaptionSource]] = (
        [partial(locate_coco, layout=layout) for layout in COCO_LAYOUTS]
        if name == COCO
        else [partial(locate_visual_genome, layout=layout) for layout in VISUAL_GENOME_LAYOUTS]
    )
    sources = [locate(name, root)]
    for locator in locators:
        try:
            source = locator(root)
        except DatasetNotFoundError:
            continue
        sources += [source] if source.layout != sources[0].layout else []
    return sources


def layouts_beside(name: str, root: Path, sources: Sequence[CaptionSource]) -> list[str]:
    """Name the layouts that lie there too but are not read: of COCO's official ones only one year is.

    Args:
        name: ``coco`` or ``visual_genome``.
        root: Folder of the data or a parent.
        sources: Those that are read.

    Returns:
        Names of the others.
    """
    if name != COCO:
        return []
    folders = [place for base in subfolders(root, COCO_FOLDERS) for place in (base / "annotations", base)]
    years = {
        f"official {year}": [f"captions_{split}{year}.json" for split in ("train", "val")] for year in YEARS
    }
    read = {source.layout for source in sources}
    return [layout for layout, names in years.items() if layout not in read and first_file(folders, names)]


def inspect_captions(name: str, root: Path, image_root: Path | None, with_images: bool) -> Inspection:
    """Read every split of a caption source and look for its images.

    Args:
        name: ``coco`` or ``visual_genome``.
        root: Folder of the data or a parent.
        image_root: Where images lie, if elsewhere.
        with_images: Whether to look for the images.

    Returns:
        What was found.

    Raises:
        DatasetNotFoundError: No known layout lies there.
        DatasetError: An annotation file cannot be read.
    """
    sources = locate_all(name, root)
    source = sources[0]
    files = list(dict.fromkeys(file for split in source.splits for file in source.files[split]))
    inspection = Inspection(name, source.name, source.layout, files)
    paths = _count(source, inspection)
    if others := [*(other.layout for other in sources[1:]), *layouts_beside(name, root, sources)]:
        inspection.notes.append(f"here too, but not verified: {', '.join(others)}")
    if with_images:
        roots = image_roots([source.folder, root], source.image_folders, image_root, IMAGE_ROOT)
        _find(inspection, paths, CaptionImageFinder(source.name, roots), root)
        inspection.remedy = partial(_remedy, name)
    return inspection


def _count(source: CaptionSource, inspection: Inspection) -> list[str]:
    """Count images and texts of each split; return the images' paths, each once."""
    paths: dict[str, None] = {}
    totals = {"images": 0, "texts": 0}
    uncaptioned = blank = 0
    for split in source.splits:
        images = texts = 0
        for image in source.read(split):
            images += 1
            texts += len(image.captions)
            uncaptioned += not image.captions
            blank += sum(not caption.strip() for caption in image.captions)
            paths[image.path] = None
        inspection.found |= {f"{split} images": images, f"{split} texts": texts}
        totals = {"images": totals["images"] + images, "texts": totals["texts"] + texts}
    inspection.found |= totals
    if uncaptioned:
        inspection.notes.append(f"{uncaptioned:,} images have no caption; training leaves them out")
    if blank:
        inspection.notes.append(f"{blank:,} captions are blank; training leaves them out")
    return list(paths)


def _find(inspection: Inspection, paths: list[str], finder: CaptionImageFinder, root: Path) -> None:
    jobs = {}
    for path in paths:
        file = finder.find(path)
        if file is None:
            inspection.missing.append(path)
        else:
            jobs[str(file)] = ImageJob(short_name(Path(file), root), str(file))
    inspection.jobs = list(jobs.values())


def _remedy(name: str, paths: Sequence[str]) -> str:
    """Name the archives that hold these images, as published."""
    folders = [Path(path).parent.name for path in paths]
    archives = [f"{folder}.zip" for folder in folders if re.fullmatch(r"(train|val|test)\d{4}", folder)]
    if name == "visual_genome":
        archives = [ARCHIVES[folder] for folder in folders if folder in ARCHIVES] or list(ARCHIVES.values())
    what = some(list(dict.fromkeys(archives))) or "the archive of the images"
    return f"extract {what} (again), or name the folder of the images by --image_root"

"""Verify a data set on disk: published counts, every image there and decodable, files that fit together."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from rich.console import Console

from contextblip.cores import count_cores
from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from data_modules.statistics.tables import print_table
from data_modules.verification.images import ImageCheck, VerifiedFiles, check_images
from data_modules.verification.inspection import Inspection
from data_modules.verification.progress import progress
from data_modules.verification.report import Report

FOLDER = ".contextblip"
VERIFIED = "verified.jsonl"
# as readers' messages begin
TITLES = {"coco": "COCO", "visual_genome": "Visual Genome", "imagecode": "IMAGECODE", "mmvp_vlm": "MMVP-VLM"}


def verify_dataset(
    name: str,
    root: Path,
    *,
    image_root: Path | None = None,
    num_workers: int | None = None,
    report: Path | None = None,
    with_images: bool = True,
    fresh: bool = False,
    allow_part: bool = False,
    console: Console | None = None,
) -> Report:
    """Verify a data set, write the report and print what it says.

    Good images are remembered by path, size and time; the next run goes on there. A report is always written.

    Args:
        name: ``coco``, ``visual_genome``, ``imagecode`` or ``mmvp_vlm``.
        root: Folder of the data or a parent.
        image_root: Where images lie, if elsewhere.
        num_workers: Processes that decode; ``None``: one a core.
        report: JSON file to write; ``None``: ``.contextblip/verify-NAME.json`` in the root.
        with_images: Whether to look for images and decode them.
        fresh: Decode also what an earlier run found to be good.
        allow_part: Whether a part of the data set that is good as it is passes; it is called a part.
        console: Where to print; ``None`` is standard output.

    Returns:
        The report, of a data set without a fault.

    Raises:
        DatasetNotFoundError: No known layout lies there.
        DatasetError: An image is missing or unreadable, a file unusable or unfit, or a part missing.
        ConfigurationError: The report cannot be written into the root.
    """
    console = console or Console()
    started = time.monotonic()
    target, memory = _places(name, root, report)
    with console.status("reading the files"):
        inspection, is_read = _inspect(name, root, image_root, with_images)
    check = None
    if with_images and is_read:
        check = _decode(inspection, _verified_files(memory, root, fresh), num_workers, console)
    counts = inspection.compare(_expected(inspection)) if is_read else []
    result = Report(inspection, counts, check, time.monotonic() - started, root, allow_part)
    _publish(result, target, console)
    if not result.passed:
        raise DatasetError(result.failure(target))
    return result


def _publish(result: Report, target: Path, console: Console) -> None:
    """Write the report and print what it says."""
    result.write(target)
    if result.counts:
        print_table(console, result.table())
        console.print()
    summary = [result.summary()] if result.passed else []
    for line in [*result.lines(), f"report: {target}", *summary]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _inspect(name: str, root: Path, image_root: Path | None, with_images: bool) -> tuple[Inspection, bool]:
    """Inspect a data set; what its reader refuses becomes a problem, the only one that is found then."""
    try:
        return inspect(name, root, image_root, with_images), True
    except DatasetError as error:
        title = TITLES[name]
        problem = str(error).removeprefix(f"{title}: ")
        note = "the files cannot be read to their end, so nothing else was looked at"
        return Inspection(name, title, "unreadable", problems=[problem], notes=[note]), False


def inspect(name: str, root: Path, image_root: Path | None, with_images: bool) -> Inspection:
    """Read a data set's files and look for its images, without opening them.

    Args:
        name: As for ``verify_dataset``.
        root: Folder of the data or a parent.
        image_root: Where images lie, if elsewhere.
        with_images: Whether to look for images.

    Returns:
        What was found.

    Raises:
        DatasetNotFoundError: No known layout lies there.
        DatasetError: A file cannot be read.
    """
    if name == "imagecode":
        from data_modules.verification.imagecode import inspect_imagecode

        return inspect_imagecode(root, image_root, with_images)
    if name == "mmvp_vlm":
        from data_modules.verification.mmvp_vlm import inspect_mmvp_vlm

        return inspect_mmvp_vlm(root, image_root, with_images)
    from data_modules.verification.captions import inspect_captions

    return inspect_captions(name, root, image_root, with_images)


def _decode(
    inspection: Inspection, verified: VerifiedFiles, num_workers: int | None, console: Console
) -> ImageCheck:
    try:
        with progress(console, len(inspection.jobs)) as advance:
            return check_images(inspection.jobs, verified, num_workers or count_cores(), advance)
    except KeyboardInterrupt:
        console.print("what was decoded is remembered: the same command goes on from here", highlight=False)
        raise


def _verified_files(memory: Path, root: Path, fresh: bool) -> VerifiedFiles:
    """Open what is remembered; in a file outside the root its names need the root."""
    prefix = "" if memory.is_relative_to(root) else f"{root.resolve()}{os.sep}"
    return VerifiedFiles(memory, fresh, prefix)


def _expected(inspection: Inspection) -> dict[str, int | tuple[int, ...]]:
    from data_modules.catalogue import expected

    return expected(inspection.name, inspection.layout)


def _places(name: str, root: Path, report: Path | None) -> tuple[Path, Path]:
    """Choose the files of the report and of what was verified."""
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"--root {root} is no folder; name the data set's folder or a parent that holds it"
        )
    if _may_write(root):
        return report or root / FOLDER / f"verify-{name}.json", root / FOLDER / VERIFIED
    if report is None:
        raise ConfigurationError(f"--root {root} is read-only; name a file for the report by --report FILE")
    return report, report.parent / VERIFIED


def _may_write(folder: Path) -> bool:
    """Tell whether a folder may be written; root's right to do so anyway is not used."""
    writable_by = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & writable_by)

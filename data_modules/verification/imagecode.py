"""Inspect IMAGECODE: sets, texts, targets, annotations, propositions, and the images of every set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.archive import ArchivedFolder
from data_modules.files import first_file, image_roots
from data_modules.imagecode_files import (
    ARCHIVE,
    NAME,
    PHENOMENA_FILE,
    PROPOSITION_FILES,
    SPLIT_FILES,
    Descriptions,
    Split,
    find_split_file,
    read_annotations,
    read_descriptions,
    read_image_order,
    read_propositions,
    require_targets,
)
from data_modules.imagecode_sets import find_sets
from data_modules.retrieval import CandidateSet
from data_modules.verification.images import ImageJob
from data_modules.verification.inspection import IMAGE_ROOT, Inspection, short_name, some

IMAGE_FOLDERS = ("image-sets",)
Splits = dict[Split, Descriptions]


def inspect_imagecode(root: Path, image_root: Path | None, with_images: bool) -> Inspection:
    """Read all files of IMAGECODE and compare them with each other and with the images.

    Args:
        root: Folder of the data or a parent.
        image_root: Folder of the sets or of ``image-sets.zip``, if elsewhere.
        with_images: Whether to look for the images.

    Returns:
        What was found.

    Raises:
        DatasetNotFoundError: No split lies there.
        DatasetError: A file cannot be read.
    """
    files = find_splits(root)
    splits: Splits = {split: read_descriptions(path) for split, path in files.items()}
    inspection = Inspection("imagecode", NAME, "official", list(files.values()))
    for split in SPLIT_FILES:
        rows = splits.get(split, {})
        inspection.found |= {f"{split} sets": len(rows), f"{split} texts": sum(map(len, rows.values()))}
    names = list(dict.fromkeys(name for rows in splits.values() for name in rows))
    inspection.found["sets"] = len(names)
    inspection.found["texts"] = sum(len(texts) for rows in splits.values() for texts in rows.values())
    inspection.notes += [f"{SPLIT_FILES[split]} is not there" for split in SPLIT_FILES if split not in files]
    inspection.problems += _shared_sets(splits)
    for split, path in files.items():
        inspection.problems += _secret_targets(splits[split], path) if split != "test" else []
        _check_propositions(inspection, path, split, splits[split])
    if "valid" in files:
        _check_annotations(inspection, files["valid"], splits["valid"])
    if with_images:
        folder = next(iter(files.values())).parent
        roots = image_roots([folder, root], IMAGE_FOLDERS, image_root, IMAGE_ROOT)
        _check_sets(inspection, splits, files, roots, root)
    return inspection


def find_splits(root: Path) -> dict[Split, Path]:
    """Find the splits that are there.

    Args:
        root: Folder of the data or a parent.

    Returns:
        Their files.

    Raises:
        DatasetNotFoundError: There is none.
    """
    files: dict[Split, Path] = {}
    problems: list[DatasetNotFoundError] = []
    for split in SPLIT_FILES:
        try:
            files[split] = find_split_file(root, split)
        except DatasetNotFoundError as error:
            problems.append(error)
    if not files:
        raise problems[0]
    return files


def _shared_sets(splits: Splits) -> list[str]:
    """Name the first set that two splits have: training on it would spoil the other's accuracy."""
    seen: dict[str, Split] = {}
    for split, rows in splits.items():
        for name in rows:
            if name in seen:
                both = f"{SPLIT_FILES[seen[name]]} and in {SPLIT_FILES[split]}"
                return [f"set {name} is both in {both}; download both again"]
            seen[name] = split
    return []


def _secret_targets(rows: Descriptions, path: Path) -> list[str]:
    """Say that a split which needs targets lacks some."""
    try:
        require_targets(rows, path)
    except DatasetError as error:
        return [str(error).removeprefix(f"{NAME}: ")]
    return []


def _check_propositions(inspection: Inspection, split_file: Path, split: Split, rows: Descriptions) -> None:
    folder = split_file.parent
    path = first_file([folder, folder / "analysis"], PROPOSITION_FILES[split])
    if path is None:
        return
    inspection.files.append(path)
    known = read_propositions(path)
    texts = {text for texts in rows.values() for _, text in texts}
    if lacking := [text for text in texts if text not in known]:
        inspection.problems.append(
            f"{path} lacks {len(lacking):,} of the {len(texts):,} texts of {split_file.name}, first "
            f"{min(lacking)!r:.60}; texts are compared with the blanks at their ends; download it again"
        )
    elif len(known) > len(texts):
        inspection.notes.append(f"{path.name} is for {len(known):,} texts, of which {len(texts):,} are here")


def _check_annotations(inspection: Inspection, split_file: Path, rows: Descriptions) -> None:
    folder = split_file.parent
    path = first_file([folder, folder / "analysis"], [PHENOMENA_FILE])
    if path is None:
        return
    inspection.files.append(path)
    entries = read_annotations(path).phenomena
    known = {(name, target) for name, texts in rows.items() for target, _ in texts}
    matching = sum(entry in known for entry in entries)
    if entries and not matching:
        inspection.problems.append(
            f"{path}: none of its {len(entries):,} entries is a text of {split_file}; download both again"
        )
    inspection.notes.append(f"{path.name}: {matching:,} of {len(entries):,} entries match a text")


def _check_sets(
    inspection: Inspection, splits: Splits, files: Mapping[Split, Path], roots: Sequence[Path], root: Path
) -> None:
    """Look for the sets as data modules do; compare their images with the published ones and the targets."""
    order: dict[str, list[str]] = {}
    for split, path in files.items():
        order |= read_image_order([path.parent, path.parent / "analysis"], split)
    found = find_sets({name for rows in splits.values() for name in rows}, roots, order)
    for rows in splits.values():
        for name, texts in rows.items():
            if name not in found:
                inspection.missing_sets.append(name)
                continue
            inspection.jobs += _jobs(found[name], root)
            _check_set(inspection, found[name], order.get(name), [target for target, _ in texts])
    inspection.found["images"] = len(inspection.jobs)
    archived = {
        str(each.folder.archive.path) for each in found.values() if isinstance(each.folder, ArchivedFolder)
    }
    inspection.layout += f", images in {ARCHIVE}" if archived else ""
    remedy = f"extract {ARCHIVE} (again), or name the folder of the sets by --image_root"
    if archived:
        remedy = f"download {min(archived)} again"
    inspection.remedy = lambda _names: remedy


def _jobs(candidates: CandidateSet, root: Path) -> list[ImageJob]:
    """Make the jobs of decoding a set's images."""
    folder = candidates.folder
    if isinstance(folder, Path):
        return [ImageJob(short_name(folder / name, root), str(folder / name)) for name in candidates.names]
    path, members = folder.archive.path, [folder.joinpath(name).name for name in candidates.names]
    return [ImageJob(f"{short_name(path, root)}/{member}", str(path), member) for member in members]


def _check_set(
    inspection: Inspection, candidates: CandidateSet, official: list[str] | None, targets: Sequence[int]
) -> None:
    """Compare a set's images with the published list, where there is one, and with its targets."""
    name, images = candidates.name, candidates.names
    missing = [image for image in official or [] if image not in images]
    inspection.missing += [f"{name}/{image}" for image in missing]
    if official is not None and (extra := [image for image in images if image not in official]):
        inspection.problems.append(
            f"set {name} in {candidates.folder} has images that the published list lacks, which shift its "
            f"targets: {some(extra)}; remove them"
        )
    elif candidates.fault is not None and not missing:
        inspection.problems.append(candidates.fault)
    elif len(images) < 2 or max(targets, default=-1) >= len(images):
        inspection.problems.append(
            f"set {name} in {candidates.folder} has {len(images)} images imgN.jpg, but a text asks for "
            f"target {max(targets, default=-1)}; extract it again"
        )

"""Inspect IMAGECODE: sets, texts, targets, annotations, propositions, and the images of every set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contextblip.candidate_order import candidate_number, sort_candidates
from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.archive import ImageArchive
from data_modules.files import first_file, read_json
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
    read_propositions,
    require_targets,
)
from data_modules.verification.images import ImageJob
from data_modules.verification.inspection import Inspection, image_roots, short_name, some

IMAGE_FOLDERS = ("image-sets",)
ORDER_FILES: dict[Split, str] = {"valid": "image_filenames_valid.json", "test": "image_filenames_test.json"}
Splits = dict[Split, Descriptions]


@dataclass(frozen=True)
class SetFolder:
    """Where the images of a set lie.

    Attributes:
        path: Its folder, or the archive.
        prefix: Its path inside the archive; ``None`` for a folder.
        images: Names ``imgN.jpg`` in the order that targets count.
    """

    path: Path
    prefix: str | None
    images: tuple[str, ...]

    def job(self, name: str, root: Path) -> ImageJob:
        """Make the job of decoding an image."""
        if self.prefix is None:
            return ImageJob(short_name(self.path / name, root), str(self.path / name))
        member = f"{self.prefix}/{name}"
        return ImageJob(f"{short_name(self.path, root)}/{member}", str(self.path), member)


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
        roots = image_roots(root, image_root, next(iter(files.values())).parent, IMAGE_FOLDERS)
        _check_sets(inspection, splits, files, _find_folders(roots, set(names)), root)
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


def _find_folders(roots: Sequence[Path], names: set[str]) -> dict[str, SetFolder]:
    """Find the sets' folders: extracted ones first, the rest in ``image-sets.zip``."""
    found: dict[str, SetFolder] = {}
    for root in roots:
        with os.scandir(root) as entries:
            homes = [entry.name for entry in entries if entry.name in names and entry.name not in found]
        for name in homes:
            folder = root / name
            if folder.is_dir():
                found[name] = SetFolder(
                    folder, None, tuple(sort_candidates(path.name for path in folder.iterdir()))
                )
    archive = first_file(roots, [ARCHIVE])
    if archive is not None:
        for prefix, files in ImageArchive.open(archive, NAME).folders():
            name, images = prefix.rpartition("/")[2], tuple(sort_candidates(files))
            # as data modules do: the archive stands in for sets that are absent or only partly extracted
            if name in names and (name not in found or set(found[name].images) < set(images)):
                found[name] = SetFolder(archive, prefix, images)
    return found


def _check_sets(
    inspection: Inspection,
    splits: Splits,
    files: Mapping[Split, Path],
    folders: Mapping[str, SetFolder],
    root: Path,
) -> None:
    for split, rows in splits.items():
        order = _read_order(files[split].parent, split)
        for name, texts in rows.items():
            folder = folders.get(name)
            if folder is None:
                inspection.missing_sets.append(name)
                continue
            inspection.jobs += [folder.job(image, root) for image in folder.images]
            _check_set(inspection, name, folder, order.get(name), [target for target, _ in texts])
    inspection.found["images"] = len(inspection.jobs)
    archived = {str(folder.path) for folder in folders.values() if folder.prefix is not None}
    inspection.layout += f", images in {ARCHIVE}" if archived else ""
    remedy = f"extract {ARCHIVE} (again), or name the folder of the sets by --image_root"
    if archived:
        remedy = f"download {min(archived)} again"
    inspection.remedy = lambda _names: remedy


def _check_set(
    inspection: Inspection, name: str, folder: SetFolder, order: list[str] | None, targets: Sequence[int]
) -> None:
    """Compare a set's images with the official list, where there is one, and with its targets."""
    images, place = folder.images, f"set {name} in {folder.path}"
    if order is not None:
        inspection.missing += [f"{name}/{image}" for image in order if image not in images]
        if extra := [image for image in images if image not in order]:
            inspection.problems.append(
                f"{place} has images that the official list lacks, which shift its targets: {some(extra)}; "
                "remove them"
            )
    numbers = Counter(map(candidate_number, images))
    if repeated := [number for number, count in numbers.items() if count > 1]:
        inspection.problems.append(f"{place} has two images numbered {repeated[0]}; remove one of them")
    if len(images) < 2 or max(targets, default=-1) >= len(images):
        inspection.problems.append(
            f"{place} has {len(images)} images imgN.jpg, but a text asks for target "
            f"{max(targets, default=-1)}; extract it again"
        )


def _read_order(folder: Path, split: Split) -> dict[str, list[str]]:
    """Read the official order of a split's images, where its list lies beside the split."""
    path = first_file([folder, folder / "analysis"], [ORDER_FILES[split]]) if split in ORDER_FILES else None
    return {} if path is None else dict(read_json(path, NAME))

"""Find the images of IMAGECODE's sets, extracted or in the archive."""

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern

from lightning.pytorch.utilities import rank_zero_info

from contextblip.candidate_order import candidate_number, sort_candidates
from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.archive import ArchivedFolder, ImageArchive
from data_modules.files import Links
from data_modules.imagecode_files import (
    ARCHIVE,
    NAME,
    SET_SIZE,
    Descriptions,
    has_official_name,
    is_video_set,
)
from data_modules.retrieval import CandidateSet

log = logging.getLogger(__name__)

Order = Mapping[str, Sequence[str]]
NO_ORDER: Order = {}


def list_sets(
    descriptions: Descriptions,
    image_roots: Sequence[Path],
    split_file: Path,
    order: Order = NO_ORDER,
    keep_faulty: bool = False,
) -> list[CandidateSet]:
    """Find the images of every set that a split lists.

    Args:
        descriptions: The split.
        image_roots: Folders that may hold the sets' folders or ``image-sets.zip``, in order of preference.
        split_file: The split's file, for messages.
        order: Published names of each set's images, where they are known.
        keep_faulty: Whether sets whose images are not all there, or too many, are returned too, with their
            ``fault``.

    Returns:
        Sets in file order.

    Raises:
        DatasetNotFoundError: Sets have no folder.
        DatasetError: The archive is damaged, or a set has another number of images than the published ten,
            fewer than its targets ask for, fewer than two, or two of one number.
    """
    found = find_sets(descriptions, image_roots, order)
    if missing := [name for name in descriptions if name not in found]:
        raise _not_found(missing, len(descriptions), image_roots, split_file)
    sets = [found[name] for name in descriptions]
    faulty = [candidates for candidates in sets if candidates.fault is not None]
    if faulty and not keep_faulty:
        more = f" (so too {len(faulty) - 1:,} more of the {len(sets):,} sets)" if faulty[1:] else ""
        raise DatasetError(f"{NAME}: {faulty[0].fault}{more}")
    for candidates in sets:
        if candidates.fault is None:
            _check_set(candidates, descriptions[candidates.name], split_file)
    archived = Counter(each.folder.archive.path for each in sets if isinstance(each.folder, ArchivedFolder))
    for path, count in archived.items():
        rank_zero_info(f"{NAME}: {count:,} sets are read straight from {path}")
    usual, small = _smaller_than_usual(found)
    if small:
        log.warning(
            "%s: %s of the %s sets in %s have fewer than %s images, first %s with %s in %s; "
            "if it is only partly extracted its targets mean other images: extract it again",
            *(NAME, len(small), len(sets), split_file, usual),
            *(small[0].name, len(small[0].names), small[0].folder),
        )
    return sets


def find_sets(
    names: Collection[str], image_roots: Sequence[Path], order: Order = NO_ORDER
) -> dict[str, CandidateSet]:
    """Find the images of sets, extracted or in the archive.

    Extracted folders come first. The archive is opened only where a set has no folder or not its images: for
    a published name the ten (or exactly those of ``order``), for any other as many as most have. What it
    holds then stands in for missing and for partly extracted sets.

    Args:
        names: Of the sets.
        image_roots: Folders that may hold the sets' folders or ``image-sets.zip``, in order of preference.
        order: Published names of each set's images, where they are known.

    Returns:
        Sets by name, those that were found, with the ``fault`` that each has.

    Raises:
        DatasetError: The archive is damaged, a folder cannot be listed, or a link leads out of the roots.
    """
    found = _list_folders(names, image_roots, order)
    doubtful = {name for name in names if name not in found or found[name].fault is not None}
    doubtful |= {candidates.name for candidates in _smaller_than_usual(found)[1]}
    for path in _archives(image_roots) if doubtful else []:
        _fill_from_archive(found, doubtful, ImageArchive.open(path, NAME), order)
    return found


def _make_set(name: str, folder: Path | ArchivedFolder, files: Sequence[str], order: Order) -> CandidateSet:
    fault = _fault(name, folder, files, order.get(name))
    # interned: thousands of sets share the names of their files
    return CandidateSet(name, folder, tuple(map(intern, files)), is_video_set(name), fault)


def _fault(
    name: str, folder: Path | ArchivedFolder, files: Sequence[str], official: Sequence[str] | None
) -> str | None:
    """Say why targets, which are ranks among the images, would mean other ones."""
    numbers = [candidate_number(file) for file in files]
    if repeated := [number for number, count in Counter(numbers).items() if count > 1]:
        return (
            f"set {name} has two images numbered {repeated[0]} in {folder}, so that its targets are "
            "ambiguous; remove one of them"
        )
    size = f"{len(files)} image{'' if len(files) == 1 else 's'} imgN.jpg"
    again = "extract this set again" if isinstance(folder, Path) else "download the archive again"
    if official is not None:
        expected = {candidate_number(file) for file in official}
        lacking = [file for file in official if candidate_number(file) not in numbers]
        odd = [file for file, number in zip(files, numbers, strict=True) if number not in expected]
        if lacking or odd:
            what = f"{lacking[0]} is missing" if lacking else f"{odd[0]} is none of its images"
            return (
                f"set {name} has {size} in {folder}, not the {len(official)} of the published list ({what}), "
                f"so that its targets mean other images; {_remedy(again, odd)}"
            )
    elif has_official_name(name) and len(files) != SET_SIZE:
        odd = list(files[SET_SIZE:])
        return (
            f"set {name} has {size} in {folder}, not the published {SET_SIZE}, so that its targets mean "
            f"other images; {_remedy(again, odd)}"
        )
    return None


def _remedy(again: str, odd: Sequence[str]) -> str:
    return f"remove what is not the set's, or {again}" if odd else again


def _list_folders(
    names: Collection[str], image_roots: Sequence[Path], order: Order
) -> dict[str, CandidateSet]:
    """Find the extracted sets; of several folders of one name the first root's counts."""
    homes: dict[str, Path] = {}
    links = Links(NAME, image_roots)
    for root in image_roots:
        try:
            with os.scandir(root) as entries:
                for entry in entries:
                    if entry.name in names and entry.name not in homes and entry.is_dir():
                        homes[entry.name] = root
                        if entry.is_symlink():
                            links.refuse_way_out(root / entry.name)
        except OSError as error:
            raise DatasetError(
                f"{NAME}: {root} cannot be listed ({error.strerror}); make it readable"
            ) from error
    found = {}
    for name, root in homes.items():
        try:
            files = sort_candidates(_list_files(root / name, links))
        except OSError as error:
            raise DatasetError(
                f"{NAME}: set {name}: {root / name} cannot be listed ({error.strerror}); make it readable"
            ) from error
        found[name] = _make_set(name, root / name, files, order)
    return found


def _list_files(folder: Path, links: Links) -> list[str]:
    """Names in a set's folder, none of which is a link that leads out."""
    with os.scandir(folder) as entries:
        linked = {entry.name: entry.is_symlink() for entry in entries}
    for name, is_linked in linked.items():
        if is_linked:
            links.refuse_way_out(folder / name)
    return list(linked)


def _smaller_than_usual(found: Mapping[str, CandidateSet]) -> tuple[int, list[CandidateSet]]:
    """Of sets that may have any number of images: what most of them have, and which have fewer."""
    free = [candidates for candidates in found.values() if not has_official_name(candidates.name)]
    counts = Counter(len(candidates.names) for candidates in free)
    usual = max(counts, key=lambda size: counts[size], default=0)
    if 2 * counts[usual] <= len(free):
        return usual, []
    return usual, [candidates for candidates in free if len(candidates.names) < usual]


def _archives(image_roots: Sequence[Path]) -> list[Path]:
    return [root / ARCHIVE for root in image_roots if (root / ARCHIVE).is_file()]


def _fill_from_archive(
    found: dict[str, CandidateSet], doubtful: set[str], archive: ImageArchive, order: Order
) -> None:
    """Take sets without a folder, or with other images than their own, from the archive."""
    replaced = []
    for name, folder, files in _archived_sets(archive, doubtful):
        archived, extracted = _make_set(name, folder, files, order), found.get(name)
        if extracted is not None and not _is_better(archived, extracted):
            continue
        replaced += [name] if extracted is not None else []
        found[name] = archived
    if replaced:
        log.warning(
            "%s: %s sets are partly or wrongly extracted, first %s; they are read from %s",
            *(NAME, len(replaced), replaced[0], archive.path),
        )


def _is_better(archived: CandidateSet, extracted: CandidateSet) -> bool:
    """Tell whether an archive's images of a set are more surely its own than the extracted ones."""
    if (archived.fault is None) != (extracted.fault is None):
        return archived.fault is None
    return set(extracted.names) < set(archived.names)


def _archived_sets(
    archive: ImageArchive, wanted: set[str]
) -> Iterator[tuple[str, ArchivedFolder, list[str]]]:
    """Walk the archive's folders that are called as a wanted set, however deep they lie; each set once."""
    seen: set[str] = set()
    for folder, names in archive.folders():
        name = folder.rpartition("/")[2]
        files = sort_candidates(names)
        if files and name in wanted and name not in seen:
            seen.add(name)
            yield name, ArchivedFolder(archive, folder), files


def _not_found(
    missing: Sequence[str],
    n_sets: int,
    image_roots: Sequence[Path],
    split_file: Path,
) -> DatasetNotFoundError:
    archives, remedy = _archives(image_roots), f"put {ARCHIVE} there, extracted or as it is"
    if archives:
        remedy = f"{archives[0]} lacks them too, download it again"
    remedy += ", or set --data.image_root to the folder of the sets"
    inside = next((root for root in image_roots if _is_set_folder(root)), None)
    if inside is not None:
        remedy = f"{inside} is the folder of one set, set --data.image_root to {inside.parent}"
    return DatasetNotFoundError(
        f"{NAME}: {len(missing)} of the {n_sets} sets in {split_file} have no folder of images, first "
        f"{missing[0]}: looked in {', '.join(map(str, image_roots))}; {remedy}"
    )


def _is_set_folder(folder: Path) -> bool:
    names = (entry.name for entry in folder.iterdir())
    return any(candidate_number(name) is not None for name in names)


def _check_set(candidates: CandidateSet, rows: Sequence[tuple[int, str]], split_file: Path) -> None:
    name, folder, size = candidates.name, candidates.folder, len(candidates.names)
    if size < 2:
        raise DatasetError(
            f"{NAME}: set {name} has {size} image{'' if size == 1 else 's'} imgN.jpg in {folder}, at least 2 "
            "are needed; extract this set again"
        )
    highest = max((target for target, _ in rows), default=-1)
    if highest >= size:
        raise DatasetError(
            f"{NAME}: set {name} has {size} images imgN.jpg in {folder}, but {split_file} asks for target "
            f"{highest}, counted from 0; extract this set again or correct the file"
        )

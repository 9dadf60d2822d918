"""Find the images of IMAGECODE's sets, extracted or in the archive, and join them with the texts."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern

from lightning.pytorch.utilities import rank_zero_info

from contextblip.candidate_order import candidate_number, sort_candidates
from contextblip.errors import DatasetError, DatasetNotFoundError
from contextblip.types import Query
from data_modules.archive import ArchivedFolder, ImageArchive
from data_modules.imagecode_files import ARCHIVE, NAME, Annotations, Descriptions, is_video_set
from data_modules.retrieval import CandidateSet, RetrievalItem

log = logging.getLogger(__name__)


def list_sets(
    descriptions: Descriptions, image_roots: Sequence[Path], split_file: Path
) -> list[CandidateSet]:
    """Find the images of every set that a split lists.

    Extracted folders come first. The archive is opened only where a set has no folder or fewer images than
    most; what it holds then stands in for missing and for partly extracted sets.

    Args:
        descriptions: The split.
        image_roots: Folders that may hold the sets' folders or ``image-sets.zip``, in order of preference.
        split_file: The split's file, for messages.

    Returns:
        Sets in file order.

    Raises:
        DatasetNotFoundError: Sets have no folder.
        DatasetError: The archive is damaged, or a set has fewer images than its targets ask for, fewer than
            two, or two of one number.
    """
    found = _list_folders(descriptions, image_roots)
    usual, is_usual = _usual_size(found)
    doubtful = {
        name for name in descriptions if name not in found or (is_usual and len(found[name].names) < usual)
    }
    archives = [root / ARCHIVE for root in image_roots if (root / ARCHIVE).is_file()] if doubtful else []
    for path in archives:
        _fill_from_archive(found, doubtful, ImageArchive.open(path, NAME))
    if missing := [name for name in descriptions if name not in found]:
        raise _not_found(missing, len(descriptions), image_roots, archives, split_file)
    sets = [found[name] for name in descriptions]
    for candidates in sets:
        _check_set(candidates, descriptions[candidates.name], split_file)
    small = [candidates for candidates in sets if is_usual and len(candidates.names) < usual]
    if small:
        log.warning(
            "%s: %s of the %s sets in %s have fewer than %s images, first %s with %s in %s; "
            "if it is only partly extracted its targets mean other images: extract it again",
            *(NAME, len(small), len(sets), split_file, usual),
            *(small[0].name, len(small[0].names), small[0].folder),
        )
    return sets


def _list_folders(descriptions: Descriptions, image_roots: Sequence[Path]) -> dict[str, CandidateSet]:
    """Find the extracted sets; of several folders of one name the first root's counts."""
    homes: dict[str, Path] = {}
    for root in image_roots:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.name in descriptions and entry.name not in homes and entry.is_dir():
                    homes[entry.name] = root
    found = {}
    for name, root in homes.items():
        try:
            files = sort_candidates(entry.name for entry in (root / name).iterdir())
        except OSError as error:
            raise DatasetError(
                f"{NAME}: set {name}: {root / name} cannot be listed ({error.strerror}); make it readable"
            ) from error
        # interned: thousands of sets share the names of their files
        found[name] = CandidateSet(name, root / name, tuple(map(intern, files)), is_video_set(name))
    return found


def _usual_size(found: Mapping[str, CandidateSet]) -> tuple[int, bool]:
    """Return the most common number of candidates and whether more than half of the sets have it."""
    counts = Counter(len(candidates.names) for candidates in found.values())
    size = max(counts, key=lambda size: counts[size], default=0)
    return size, 2 * counts[size] > len(found)


def _fill_from_archive(found: dict[str, CandidateSet], doubtful: set[str], archive: ImageArchive) -> None:
    """Take sets without a folder, or with a part of their images, from the archive."""
    partial, used = [], 0
    for name, folder, files in _archived_sets(archive, doubtful):
        extracted = set(found[name].names) if name in found else set()
        if extracted < set(files):
            partial += [name] if name in found else []
            used += 1
            found[name] = CandidateSet(name, folder, tuple(map(intern, files)), is_video_set(name))
    if partial:
        log.warning(
            "%s: %s sets are only partly extracted, first %s; they are read from %s",
            *(NAME, len(partial), partial[0], archive.path),
        )
    if used:
        rank_zero_info(f"{NAME}: {used:,} sets are read straight from {archive.path}")


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
    archives: Sequence[Path],
    split_file: Path,
) -> DatasetNotFoundError:
    remedy = f"put {ARCHIVE} there, extracted or as it is"
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
    numbers = Counter(candidate_number(file) for file in candidates.names)
    if repeated := [number for number, count in numbers.items() if count > 1]:
        raise DatasetError(
            f"{NAME}: set {name} has two images numbered {repeated[0]} in {folder}, so that its targets are "
            "ambiguous; remove one of them"
        )
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


def make_items(
    descriptions: Descriptions, annotations: Annotations, propositions: Mapping[str, int]
) -> list[RetrievalItem]:
    """Make one item a description, in file order.

    Args:
        descriptions: The split.
        annotations: May lack some texts.
        propositions: By text; may lack some.

    Returns:
        Items.
    """
    items = []
    for set_row, (name, rows) in enumerate(descriptions.items()):
        for query_index, (target, text) in enumerate(rows):
            query: Query = {
                "set_name": name,
                "query_index": query_index,
                "text": text,
                "phenomena": annotations.phenomena.get((name, target), []),
                "n_propositions": propositions.get(text),
                "challenging": (name, target) in annotations.challenging,
            }
            items.append(RetrievalItem(set_row, (query,), (target,)))
    return items

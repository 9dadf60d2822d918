"""Inspect MMVP-VLM: pairs of every type and their images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from data_modules.files import ImageFinder, image_roots
from data_modules.mmvp_vlm import IMAGE_FOLDER, NAME, find_questions, image_names, read_pairs
from data_modules.verification.images import ImageJob
from data_modules.verification.inspection import IMAGE_ROOT, Inspection, short_name

PAIRS_A_TYPE = 15


def inspect_mmvp_vlm(root: Path, image_root: Path | None, with_images: bool) -> Inspection:
    """Read the questions and look for their images.

    Args:
        root: Folder of the data or a parent.
        image_root: Where images lie, if elsewhere.
        with_images: Whether to look for the images.

    Returns:
        What was found.

    Raises:
        DatasetNotFoundError: ``Questions.csv`` is missing.
        DatasetError: It cannot be used.
    """
    questions = find_questions(root)
    pairs = read_pairs(questions)
    types = Counter(kind for kind, _ in pairs)
    inspection = Inspection("mmvp_vlm", NAME, "official", [questions])
    names = image_names(pairs)
    inspection.found = {
        "pairs": len(pairs),
        "statements": 2 * len(pairs),
        "types": len(types),
        "images": len(names),
    }
    if uneven := [f"{kind} {count}" for kind, count in types.items() if count != PAIRS_A_TYPE]:
        inspection.notes.append(f"pairs of a type other than {PAIRS_A_TYPE}: {', '.join(uneven)}")
    if with_images:
        finder = ImageFinder(
            NAME, image_roots([questions.parent, root], (IMAGE_FOLDER,), image_root, IMAGE_ROOT)
        )
        found = {name: finder.find(name) for name in names}
        inspection.missing = [name for name, file in found.items() if file is None]
        inspection.jobs = [
            ImageJob(short_name(Path(file), root), str(file)) for file in found.values() if file is not None
        ]
        inspection.remedy = lambda _names: f"copy the folder {IMAGE_FOLDER} of MMVP/MMVP_VLM there (again)"
    return inspection

"""The order of a set's candidates: by the number in the file name, in video sets a frame number."""

import re
from collections.abc import Iterable

# no file system has names of more than 255 bytes; Python itself refuses numbers of some thousand digits
_IMAGE_NAME = re.compile(r"img([0-9]{1,255})\.(?:jpe?g|png)", re.IGNORECASE)


def candidate_number(name: str) -> int | None:
    """Return N of a file name ``imgN.jpg`` (or jpeg, png), ``None`` for any other name."""
    match = _IMAGE_NAME.fullmatch(name)
    return int(match[1]) if match else None


def sort_candidates(names: Iterable[str]) -> list[str]:
    """Order a set's images as target indices count them: a target is a rank in this order, not a number.

    Args:
        names: File names of a set's folder; those of another form are left out.

    Returns:
        ``imgN.jpg`` (or jpeg, png) names, N increasing.
    """
    numbered = [(number, name) for name in names if (number := candidate_number(name)) is not None]
    return [name for _, name in sorted(numbered)]

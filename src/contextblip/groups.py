"""Names of the groups that accuracies are reported for, and what an accuracy is; quick to import."""

from typing import NamedTuple

# Annotated on 200 of IMAGECODE's validation queries; Table 2 has eight of them
PHENOMENA = (
    "spatial",
    "quantities",
    "context",
    "colors",
    "coreference",
    "occlusion",
    "nuances",
    "negation",
    "temporal",
    "meta_properties",
)
PROPOSITIONS = range(1, 7)
# Lowest and highest number of words of each group; None is no limit
WORD_RANGES: tuple[tuple[int, int | None], ...] = ((1, 10), (11, 20), (21, 30), (31, 40), (41, None))

MMVP_TYPES = (
    "Orientation",
    "Presence",
    "State",
    "Quantity",
    "Spatial",
    "Color",
    "Structural Character",
    "Text",
    "Camera Perspective",
)


class Share(NamedTuple):
    """An accuracy and what it rests on.

    Attributes:
        value: Share of right answers, 0 to 1.
        n: Number of answers.
    """

    value: float
    n: int

    @property
    def correct(self) -> int:
        """Number of right answers."""
        return round(self.value * self.n)

"""Names of the groups that accuracies are reported for, and what a number rests on; quick to import."""

import re
from typing import NamedTuple

# Annotated by hand: context, occlusion, nuances and negation on the first 1,002 entries of IMAGECODE's
# annotation file, the others on the first 200. Table 2 has eight of them.
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
# Table 8: draws of at most 50 static and 50 video queries, one of each a seed
SAMPLE_SEEDS = (1, 10, 100)
SAMPLES = tuple(f"{subset}_{seed}" for subset in ("static", "video") for seed in SAMPLE_SEEDS)

# What is right or wrong of each answer; other metrics are means, which no Wilson interval fits
_SHARES = re.compile(r"(pair_)?accuracy\b.*|accuracy_(video|static)|baseline/.*|.*recall@\d+")

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


class Mean(NamedTuple):
    """A mean and what it rests on.

    Attributes:
        value: Mean over the answers.
        n: Number of answers.
    """

    value: float
    n: int


def is_share(metric: str) -> bool:
    """Tell whether a metric is a share of right answers, by its name without ``val/`` or ``test/``."""
    return _SHARES.fullmatch(metric) is not None

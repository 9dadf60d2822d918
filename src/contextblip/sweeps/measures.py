"""The names that `measures` takes: misspelt ones are found before anything runs."""

from __future__ import annotations

import re

from contextblip.cli.errors import nearest
from contextblip.errors import ConfigurationError
from contextblip.metrics import PAIR_GROUPS, RETRIEVAL_GROUPS
from contextblip.sweeps.definition import Sweep

_SUBSETS = ("", "_video", "_static")
_KNOWN = (
    *RETRIEVAL_GROUPS,
    *PAIR_GROUPS,
    *(f"{name}{subset}" for name in ("mean_rank", "mrr", "baseline/position_prior") for subset in _SUBSETS),
    *("frame_distance", "ece", "accuracy_itm", "recall_1"),
    *("loss", "loss_itm", "loss_itc", "loss_lm", "loss_tmim", "loss_mean_colour"),
    *("attention_entropy", "masked_attention", "mask_changed", "masks_changed"),
    *(f"{prefix}recall_mean" for prefix in ("", "itc/")),
    *(f"{prefix}{side}_recall@1" for prefix in ("", "itc/") for side in ("text", "image")),
)
_RECALL = re.compile(r"(itc/)?(text|image)_recall@\d+")  # a task may count other depths than 1
_PART = re.compile(r"(train|val|test)/")
_ALIKE = 0.85  # a misspelt name; what is less alike may be a metric that is not listed here


def check_measures(sweep: Sweep) -> None:
    """Check that no measure is a misspelt metric.

    Args:
        sweep: The file's content.

    Raises:
        ConfigurationError: A name is unknown and close to a known one.
    """
    for stage, names in sweep.measures.items():
        for name in names:
            bare = _PART.sub("", name, count=1)
            if bare in _KNOWN or _RECALL.fullmatch(bare):
                continue
            if hint := nearest(bare, _KNOWN, cutoff=_ALIKE):
                place = f"sweep {sweep.name}: measures: {stage}"
                raise ConfigurationError(f"{place}: there is no metric {name!r}{hint}")

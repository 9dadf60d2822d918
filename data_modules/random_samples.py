"""The random draws of 50 static and 50 video queries that the paper's Table 8 is measured on."""

import random
from collections.abc import Mapping

from contextblip.groups import SAMPLE_SEEDS
from data_modules.imagecode_files import Descriptions, is_video_set

SAMPLE_SIZE = 50

Samples = Mapping[tuple[str, int], list[str]]
NO_SAMPLES: Samples = {}


def draw_samples(descriptions: Descriptions) -> Samples:
    """Draw as the published code does from the validation split.

    Two lists in file order, static and video, of set and target; for each seed alike both are copied, the
    static one is shuffled, then the video one, and the first 50 of each are the draw. Where a list is
    shorter, the draw is the whole of it. Only the complete file gives the published draws.

    Args:
        descriptions: The split.

    Returns:
        Names of the draws, such as ``static_10``, by set and target; nothing where targets are secret.
    """
    lists: dict[str, list[tuple[str, int]]] = {"static": [], "video": []}
    for name, rows in descriptions.items():
        lists["video" if is_video_set(name) else "static"] += [(name, target) for target, _ in rows]
    if any(target < 0 for keys in lists.values() for _, target in keys):
        return NO_SAMPLES
    samples: dict[tuple[str, int], list[str]] = {}
    for seed in SAMPLE_SEEDS:
        generator = random.Random(seed)  # noqa: S311  # the same numbers as random.seed(seed) gives
        for subset, keys in lists.items():
            shuffled = keys.copy()
            generator.shuffle(shuffled)
            for key in shuffled[:SAMPLE_SIZE]:
                samples.setdefault(key, []).append(f"{subset}_{seed}")
    return samples

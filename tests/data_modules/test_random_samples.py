"""Table 8's draws: those of the published code on the real file, and what smaller files give."""

import random
from collections import Counter
from pathlib import Path

import pytest
import torch

from contextblip.groups import SAMPLES
from contextblip.ranking_metrics import PositionPrior
from data_modules.imagecode_files import is_video_set, read_descriptions
from data_modules.random_samples import SAMPLE_SIZE, draw_samples

STATIC, VIDEO = "open-images-1_00", "MSR-VTT-videoTestVideo_video1-shot1"


def test_published_draws_of_the_real_file(real_data: Path) -> None:
    descriptions = read_descriptions(real_data / "imagecode" / "valid_data.json")
    samples = draw_samples(descriptions)
    for name, target, seed in (
        ("open-images-2220_21c428b9550131d7", 6, 1),
        ("open-images-1272_0fca544c6022ab25", 6, 10),
        ("open-images-1324_34abce2135090295", 5, 100),
    ):
        assert f"static_{seed}" in samples[name, target]
    assert Counter(name for names in samples.values() for name in names) == dict.fromkeys(SAMPLES, 50)
    known = {(name, target) for name, rows in descriptions.items() for target, _ in rows}
    assert samples.keys() <= known
    for (name, _), drawn in samples.items():
        assert {sample.partition("_")[0] for sample in drawn} == {"video" if is_video_set(name) else "static"}


@pytest.mark.parametrize(("seed", "first"), [(1, 6), (10, 6), (100, 5)])
def test_the_draw_is_a_shuffle_of_static_then_video(real_data: Path, seed: int, first: int) -> None:
    """The published recipe, word by word."""
    lists: dict[str, list[tuple[str, int]]] = {"static": [], "video": []}
    descriptions = read_descriptions(real_data / "imagecode" / "valid_data.json")
    for name, rows in descriptions.items():
        lists["static" if "open-images" in name else "video"] += [(name, target) for target, _ in rows]
    random.seed(seed)
    random.shuffle(lists["static"])
    random.shuffle(lists["video"])
    assert lists["static"][0][1] == first
    samples = draw_samples(descriptions)
    for subset, keys in lists.items():
        drawn = {key for key, names in samples.items() if f"{subset}_{seed}" in names}
        assert drawn == set(keys[:SAMPLE_SIZE])


def test_a_draw_leaves_the_runs_random_numbers_alone() -> None:
    random.seed(3)
    state = random.getstate()
    draw_samples({STATIC: [(0, "a")]})
    assert random.getstate() == state


def test_fewer_than_fifty_are_all_drawn() -> None:
    samples = draw_samples({STATIC: [(2, "a"), (0, "b")], VIDEO: [(1, "c")]})
    assert samples == {
        (STATIC, 2): ["static_1", "static_10", "static_100"],
        (STATIC, 0): ["static_1", "static_10", "static_100"],
        (VIDEO, 1): ["video_1", "video_10", "video_100"],
    }


def test_secret_targets_cannot_be_drawn() -> None:
    assert draw_samples({STATIC: [(-1, "a"), (-1, "b")]}) == {}


def test_best_constant_guess_on_the_real_file(real_data: Path) -> None:
    metric = PositionPrior()
    for name, rows in read_descriptions(real_data / "imagecode" / "valid_data.json").items():
        metric.update(torch.tensor([t for t, _ in rows]), torch.tensor([is_video_set(name)] * len(rows)))
    prior = {name: (round(share.value, 3), share.n) for name, share in metric.compute().items()}
    assert prior["baseline/position_prior"] == (0.130, 2302)
    assert [prior[f"baseline/position_prior_{subset}"][1] for subset in ("video", "static")] == [1872, 430]

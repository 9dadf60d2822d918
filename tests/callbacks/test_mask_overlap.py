"""Whether masks cover what a phrase names: boxes and masks by hand, then whole runs."""

import csv
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from callbacks import MaskOverlap
from callbacks.mask_overlap import Overlap, append, object_masked, patch_weights, summarise
from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from contextblip.tasks import ZeroShot
from data_modules.caption_data.images import CaptionImageFinder
from data_modules.caption_data.regions import load_regions
from data_modules.caption_data.rows import CaptionSample
from data_modules.caption_data.sources import locate_visual_genome
from data_modules.transforms import EvalTransform
from tests.callbacks.pretraining_runs import fit, make_data, make_trainer

QUARTERS = {
    "on the borders of patches": ((0.25, 0.25, 0.75, 0.5), {5: 1.0, 6: 1.0}),
    "inside one patch": ((0.05, 0.05, 0.2, 0.15), {0: 0.6 * 0.4}),
    "across two patches": ((0.125, 0.75, 0.375, 1.0), {12: 0.5, 13: 0.5}),
    "around a corner": ((0.2, 0.2, 0.3, 0.3), {0: 0.04, 1: 0.04, 4: 0.04, 5: 0.04}),
}


@pytest.mark.parametrize(("box", "expected"), QUARTERS.values(), ids=QUARTERS)
def test_weights_of_patches_by_hand(box: tuple[float, ...], expected: dict[int, float]) -> None:
    weights = patch_weights(torch.tensor([box]), 4)[0]
    assert weights.shape == (16,)
    found = {patch: weight for patch, weight in enumerate(weights.tolist()) if weight > 1e-6}
    assert found == pytest.approx(expected, abs=1e-6)


def as_mask(*patches: int) -> Tensor:
    return torch.isin(torch.arange(16), torch.tensor(patches))[None]


def test_share_of_an_object_by_hand() -> None:
    whole = patch_weights(torch.tensor([[0.25, 0.25, 0.75, 0.5]]), 4)
    assert object_masked(as_mask(5, 6, 0, 1), whole).tolist() == [1.0]
    assert object_masked(as_mask(5, 0, 1, 2), whole).tolist() == [0.5]
    inside = patch_weights(torch.tensor([[0.05, 0.05, 0.2, 0.15]]), 4)
    assert object_masked(as_mask(0, 7, 8, 9), inside).tolist() == [1.0]
    assert object_masked(as_mask(1, 7, 8, 9), inside).tolist() == [0.0]
    uneven = patch_weights(torch.tensor([[0.125, 0.0, 0.5, 0.25]]), 4)  # half of patch 0, all of patch 1
    assert object_masked(as_mask(0, 7, 8, 9), uneven).tolist() == pytest.approx([1 / 3])


def test_chance_is_the_mean_over_all_masks() -> None:
    weights = patch_weights(torch.tensor([[0.1, 0.3, 0.9, 0.6]]), 2)
    shares = [
        float(object_masked(torch.isin(torch.arange(4), torch.tensor(hidden))[None], weights))
        for hidden in combinations(range(4), 3)
    ]
    assert sum(shares) / len(shares) == pytest.approx(3 / 4)
    assert summarise(shares, 3 / 4, 0).object_masked_ratio == pytest.approx(1.0)


def test_the_interval_is_students() -> None:
    found = summarise([0.2, 0.4, 0.6], 0.25, 7)
    half = 4.302653 * 0.2 / 3**0.5
    assert (found.low, found.high) == pytest.approx((0.4 - half, 0.4 + half))
    assert (found.step, found.n) == (7, 3)
    assert summarise([0.5], 0.25, 0).low is None


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "mask_overlap.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_validation_is_measured_and_logged(backbone: Path, world: Path, tmp_path: Path) -> None:
    trainer, _ = fit(tmp_path, backbone, world, [MaskOverlap(num_regions=6)], mask_ratio=0.5)
    found = rows(tmp_path)
    assert list(found[0]) == list(Overlap._fields)
    assert [int(row["step"]) for row in found] == [0, 1, 2]
    assert {row["n"] for row in found} == {"6"}
    assert {float(row["object_masked_chance"]) for row in found} == {0.5}
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    for name in ("object_masked", "object_masked_chance", "object_masked_ratio"):
        assert logged[f"val/{name}"] == pytest.approx(float(found[-1][name]), abs=1e-5)
    assert logged["val/object_masked_ratio"] == pytest.approx(logged["val/object_masked"] / 0.5)


@pytest.mark.parametrize(("strategy", "expected"), [("top", 1.0), ("bottom", 0.0)])
def test_a_policy_forced_to_the_object(
    strategy: str,
    expected: float,
    backbone: Path,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attention that is the object itself masks all of it, or with the weakest attention none."""
    callback = MaskOverlap(num_regions=BATCH)

    def attention_to_the_object(attention: Tensor, row_weights: Tensor) -> Tensor:
        assert len(attention) == len(row_weights)
        return callback._weights

    monkeypatch.setattr("callbacks.guided_masks.patch_attention", attention_to_the_object)
    ratio = 0.75 if strategy == "top" else 0.25  # of 16 patches; a thing lies in 9 at most
    fit(tmp_path, backbone, world, [callback], steps=1, mask_ratio=ratio, mask_strategy=strategy)
    assert [float(row["object_masked"]) for row in rows(tmp_path)] == [expected] * 2


BATCH = 4
"""Regions of one batch."""


@pytest.mark.parametrize("strategy", ["random", "mixture"])
def test_training_is_the_same_with_and_without_it(
    strategy: str, backbone: Path, world: Path, tmp_path: Path
) -> None:
    """Neither the generators nor the mode of the model are touched, whatever is drawn for a mask."""
    states: list[Tensor] = []

    class Probe(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
            states.append(torch.get_rng_state())
            assert pl_module.training

        def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
            states.append(torch.get_rng_state())
            assert not pl_module.training

    keys: dict[str, Any] = {"mask_strategy": strategy, "steps": 2}
    _, watched = fit(tmp_path, backbone, world, [Probe(), MaskOverlap(4), Probe()], **keys)
    assert len(states) == 6
    assert all(torch.equal(before, after) for before, after in zip(states[::2], states[1::2], strict=True))
    _, alone = fit(tmp_path, backbone, world, [], **keys)
    weights = alone.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in watched.state_dict().items())


def test_random_masks_are_the_same_every_time(backbone: Path, world: Path, tmp_path: Path) -> None:
    fit(tmp_path, backbone, world, [MaskOverlap(8)], mask_strategy="random")
    assert len({row["object_masked"] for row in rows(tmp_path)}) == 1


def test_a_resumed_run_goes_on(backbone: Path, world: Path, tmp_path: Path) -> None:
    fit(tmp_path, backbone, world, [MaskOverlap(4)], steps=2)
    before = rows(tmp_path)
    fit(tmp_path, backbone, world, [MaskOverlap(4)], steps=4, resume=tmp_path / "last.ckpt")
    after = rows(tmp_path)
    assert [int(row["step"]) for row in after] == [0, 1, 2, 3, 4]
    assert after[:3] == before


def test_what_lies_after_the_checkpoint_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "mask_overlap.csv"
    for step in (0, 10, 20, 10):
        append(path, summarise([0.2, 0.4], 0.25, step))
    assert [int(row["step"]) for row in rows(tmp_path)] == [0, 10]


def test_without_tmim_it_is_a_control(backbone: Path, world: Path, tmp_path: Path) -> None:
    fit(tmp_path, backbone, world, [MaskOverlap(4)], steps=1, use_tmim=False)
    assert [int(row["step"]) for row in rows(tmp_path)] == [0, 1]


def test_refusals(backbone: Path, world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="num_regions is 0"):
        MaskOverlap(0)
    trainer = make_trainer(tmp_path, [MaskOverlap(4)], 1)
    with pytest.raises(ConfigurationError, match=r"masks of contextblip.tasks.Pretraining, .* is ZeroShot"):
        trainer.validate(ZeroShot(str(backbone)), make_data(backbone, world), verbose=False)
    with pytest.raises(DatasetNotFoundError, match="Visual Genome not found"):
        fit(tmp_path, backbone, world / "coco", [MaskOverlap(4)])


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    """One photo of 40 x 20 pixels and regions of every kind."""
    root = tmp_path / "visual_genome"
    (root / "VG_100K").mkdir(parents=True)
    Image.new("RGB", (40, 20), "red").save(root / "VG_100K" / "7.jpg")
    url = "https://cs.stanford.edu/people/rak248/VG_100K/7.jpg"
    (root / "image_data.json").write_text(json.dumps([{"image_id": 7, "url": url}]))
    kinds: list[tuple[str, tuple[int, int, int, int], dict[str, int]]] = [
        ("a cat", (10, 5, 10, 5), {}),
        ("a dog", (30, 15, 20, 20), {"things": 1}),  # reaches over the edges
        ("two birds", (0, 0, 5, 5), {"things": 2}),
        ("a street", (0, 0, 40, 11), {}),  # over half of the image
        ("a line", (0, 0, 0, 11), {}),
        (" ", (0, 0, 5, 5), {}),
    ]
    regions = [
        {"phrase": phrase, "x": x, "y": y, "width": width, "height": height, **more}
        for phrase, (x, y, width, height), more in kinds
    ]
    (root / "region_descriptions.json").write_text(json.dumps([{"id": 7, "regions": regions}]))
    return root


def load(root: Path, count: int) -> tuple[list[CaptionSample], Tensor]:
    source = locate_visual_genome(root, "official")
    finder = CaptionImageFinder(source.name, [root / "VG_100K"])
    return load_regions(source, finder, EvalTransform(16), count)


def test_regions_of_one_object_and_their_boxes(genome: Path) -> None:
    samples, boxes = load(genome, 256)
    found = {sample["caption"]: box.tolist() for sample, box in zip(samples, boxes, strict=True)}
    assert found == {"a cat": [0.25, 0.25, 0.5, 0.5], "a dog": [0.75, 0.75, 1.0, 1.0]}
    assert all(sample["image"].shape == (3, 16, 16) for sample in samples)
    assert [sample["caption"] for sample in load(genome, 1)[0]] == [samples[0]["caption"]]


def test_damaged_or_missing_regions_are_one_line(genome: Path) -> None:
    (genome / "VG_100K" / "7.jpg").rename(genome / "VG_100K" / "8.jpg")
    with pytest.raises(DatasetNotFoundError, match=r"images not found, first .*7\.jpg"):
        load(genome, 2)
    path = genome / "region_descriptions.json"
    path.write_text(json.dumps([{"id": 7, "regions": [{"phrase": "a cat", "x": 1, "y": 1}]}]))
    with pytest.raises(DatasetError, match="entry 0: no 'width'"):
        load(genome, 2)
    path.write_text(json.dumps([{"id": 7, "regions": []}]))
    with pytest.raises(DatasetError, match="no region whose box is at most half"):
        load(genome, 2)

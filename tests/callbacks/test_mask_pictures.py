"""What the pictures of masks show: tiles pixel by pixel, then the files of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torch import Tensor

from callbacks import MaskPictures
from callbacks.guided_masks import GuidedMasks, guided_masks
from callbacks.mask_drawing import HATCH, HIDDEN, NEWLY_HIDDEN, fill_in, heat, hide, thin_out, wrap
from callbacks.mask_pictures import as_levels, as_pixels, draw_over_training, evenly_spread, remember
from contextblip.errors import ConfigurationError
from contextblip.losses import normalize_patches
from contextblip.models.masking import PatchMask
from contextblip.models.mim_decoder import take_patches
from contextblip.models.vision_encoder import patchify
from contextblip.tasks import Pretraining
from contextblip.types import CaptionBatch
from data_modules.transforms import normalize_images
from tests.callbacks.pretraining_runs import fit, make_data

GRID, SIDE = 2, 4
SCALE = 40  # 4 pixels are shown as 160
PATCH = SCALE * SIDE // GRID


@pytest.fixture
def image() -> Tensor:
    """Every pixel another colour, ``(3, 4, 4)``."""
    return torch.arange(48, dtype=torch.uint8).mul(5).reshape(3, SIDE, SIDE)


def patch_of(tile: Image.Image, number: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    row, column = divmod(number, GRID)
    pixels = np.asarray(tile)
    return pixels[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]


def colours(tile: Image.Image, number: int) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in patch_of(tile, number).reshape(-1, 3).tolist()}


def test_masked_patches_are_hidden_and_no_others(image: Tensor) -> None:
    tile = hide(as_pixels(image), torch.tensor([False, True, True, False]), GRID)
    assert tile.size == (160, 160)
    shown = Image.fromarray(as_pixels(image)).resize((160, 160), Image.Resampling.NEAREST)
    for number, hidden in enumerate((False, True, True, False)):
        assert (colours(tile, number) == {HIDDEN, HATCH}) == hidden
        assert np.array_equal(patch_of(tile, number), patch_of(shown, number)) == (not hidden)


def test_patches_masked_anew_are_framed(image: Tensor) -> None:
    masks = torch.tensor([[True, True, False, False], [False, True, True, False]])
    tile = hide(as_pixels(image), masks[1], GRID, before=masks[0])
    assert [NEWLY_HIDDEN in colours(tile, number) for number in range(4)] == [False, False, True, False]


def test_heat_is_brightest_where_attention_is_highest(image: Tensor) -> None:
    tile = heat(np.zeros_like(as_pixels(image)), torch.tensor([0.1, 0.4, 0.2, 0.0]), GRID)
    means = [float(patch_of(tile, number).mean()) for number in range(4)]
    assert sorted(range(4), key=means.__getitem__) == [3, 0, 2, 1]


def as_found(ids_mask: Tensor) -> GuidedMasks:
    mask = torch.zeros(1, GRID**2, dtype=torch.bool).scatter(1, ids_mask, True)
    return GuidedMasks(mask.float(), PatchMask(ids_mask, ids_mask, mask), None)


@pytest.mark.parametrize("normalize_pixels", [False, True])
def test_a_perfect_reconstruction_is_the_image(normalize_pixels: bool, image: Tensor) -> None:
    """Patches, their order and both normalisations are undone."""
    images, ids_mask = normalize_images(image[None]), torch.tensor([[3, 0, 1]])
    target = take_patches(patchify(images, SIDE // GRID), ids_mask)
    target = normalize_patches(target) if normalize_pixels else target
    texts = torch.ones(1, 3, dtype=torch.long)
    batch: CaptionBatch = {
        "images": images,
        "input_ids": texts,
        "attention_mask": texts,
        "image_id": texts[:, 0],
        "index": texts[:, 0],
    }
    levels = as_levels(target, as_found(ids_mask), batch, normalize_pixels)
    filled = fill_in(np.zeros_like(as_pixels(image)), levels[0], ids_mask[0], GRID)
    whole = Image.fromarray(as_pixels(image)).resize((160, 160), Image.Resampling.NEAREST)
    for number, shown in enumerate((True, True, False, True)):
        assert np.array_equal(patch_of(filled, number), patch_of(whole, number)) == shown


def test_masks_of_earlier_steps_are_remembered(tmp_path: Path) -> None:
    path, mask = tmp_path / "masks.json", torch.tensor([[True, False, False, True]])
    remember(path, ["a cat"], 0, mask)
    remember(path, ["a cat"], 20, mask)
    history = remember(path, ["a cat"], 10, ~mask)  # resumed before step 20
    assert list(history) == [0, 10]
    assert torch.equal(history[0], mask)
    assert torch.equal(history[10], ~mask)
    assert json.loads(path.read_text())["masked"] == {"0": [[0, 3]], "10": [[1, 2]]}
    assert list(remember(path, ["a dog"], 30, mask)) == [30]


def test_the_strip_keeps_first_and_last(image: Tensor) -> None:
    assert thin_out([0, 5, 10], 12) == [0, 5, 10]
    chosen = thin_out(range(0, 1000, 10), 12)
    assert (len(chosen), chosen[0], chosen[-1]) == (12, 0, 990)
    masks = {step: torch.tensor([[True, False, False, False]]) for step in range(40)}
    few = draw_over_training([as_pixels(image)], ["a cat"], dict(list(masks.items())[:12]))
    many = draw_over_training([as_pixels(image)], ["a cat"], masks)
    assert many.size == few.size


def test_long_captions_are_broken() -> None:
    assert wrap("a cat on a mat", 10_000) == ["a cat on a mat"]
    lines = wrap("a cat on a mat " * 20, 200)
    assert len(lines) > 5
    assert " ".join(lines) == ("a cat on a mat " * 20).strip()


def test_pictures_of_a_run_that_goes_on(backbone: Path, world: Path, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    fit(tmp_path, backbone, world, [MaskPictures(3)], steps=2, trainer_keys={"logger": logger})
    folder = tmp_path / "masks"
    names = {f"step_{step:06d}.png" for step in range(3)} | {"over_training.png", "masks.json"}
    assert {path.name for path in folder.iterdir()} == names
    columns = {}
    for name in sorted(names - {"masks.json"}):
        with Image.open(folder / name) as picture:
            columns[name] = picture.width // 160
    assert columns["step_000002.png"] == 4  # image, attention, masked, reconstruction
    assert columns["over_training.png"] == 4  # image and three validations
    fit(tmp_path, backbone, world, [MaskPictures(3)], steps=3, resume=tmp_path / "last.ckpt")
    content = json.loads((folder / "masks.json").read_text())
    assert list(content["masked"]) == ["0", "1", "2", "3"]
    assert [len(hidden) for hidden in content["masked"]["3"]] == [4, 4, 4]  # a quarter of 16 patches
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("masks/step")] == [0, 1, 2]


def test_without_tmim_there_is_no_reconstruction(backbone: Path, world: Path, tmp_path: Path) -> None:
    fit(tmp_path, backbone, world, [MaskPictures(1)], steps=1, use_tmim=False)
    with Image.open(tmp_path / "masks" / "step_000001.png") as picture:
        assert picture.width // 160 == 3


def test_training_is_the_same_with_and_without_them(
    backbone: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the decoder is looked at without dropout and without a graph, before training too."""
    modes: list[tuple[bool, bool]] = []

    def noted(task: Pretraining, batch: CaptionBatch, *, reconstruct: bool) -> GuidedMasks:
        modes.append(
            (task.model.mim_decoder is None or task.model.mim_decoder.training, torch.is_grad_enabled())
        )
        return guided_masks(task, batch, reconstruct=reconstruct)

    monkeypatch.setattr("callbacks.mask_pictures.guided_masks", noted)
    _, watched = fit(tmp_path, backbone, world, [MaskPictures(2)], mask_strategy="random")
    assert modes == [(False, False)] * 3
    _, alone = fit(tmp_path, backbone, world, [], mask_strategy="random")
    weights = alone.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in watched.state_dict().items())


def test_captions_are_spread_and_have_to_be_there(backbone: Path, world: Path) -> None:
    data = make_data(backbone, world)
    data.setup("fit")
    assert data.val_set is not None
    total = len(data.val_set)
    assert [sample["index"] for sample in evenly_spread(data, 2)] == [0, total // 2]
    assert len(evenly_spread(data, 10 * total)) == total
    empty = make_data(backbone, world, datasets=["visual_genome"], val_fraction=0.0)
    empty.setup("fit")
    with pytest.raises(ConfigurationError, match="the validation set, which is empty"):
        evenly_spread(empty, 2)
    with pytest.raises(ConfigurationError, match="num_captions is 0"):
        MaskPictures(0)

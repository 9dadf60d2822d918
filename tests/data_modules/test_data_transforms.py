"""Transforms: what they compute, and that their randomness is the sample's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from data_modules.transforms import EvalTransform, TrainTransform, rand_augment, sample_seed


def noise(size: tuple[int, int] = (48, 32), mode: str = "RGB") -> Image.Image:
    """An image of smooth random colours."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode)


def test_evaluation_squashes_and_normalises() -> None:
    left_half_white = Image.new("RGB", (40, 10))
    left_half_white.paste((255, 255, 255), (0, 0, 20, 10))
    pixels = EvalTransform(16)(left_half_white)
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == torch.float32
    white = (1 - torch.tensor(OPENAI_CLIP_MEAN)) / torch.tensor(OPENAI_CLIP_STD)
    black = -torch.tensor(OPENAI_CLIP_MEAN) / torch.tensor(OPENAI_CLIP_STD)
    torch.testing.assert_close(pixels[:, 8, 0], white)
    torch.testing.assert_close(pixels[:, 8, 15], black)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = noise(mode=mode)
    if mode == "P":
        image.info["transparency"] = bytes(range(256))
    expected = EvalTransform(8)(noise().convert(mode).convert("RGB"))
    torch.testing.assert_close(EvalTransform(8)(image), expected)
    assert TrainTransform(8)(image, 1).shape == (3, 8, 8)


def test_pixels_follow_from_the_seed_alone() -> None:
    transform = TrainTransform(16, horizontal_flip=True)
    state = torch.get_rng_state()
    first = transform(noise(), 7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(transform(noise(), 7), first)
    assert len({transform(noise(), seed).sum().item() for seed in range(8)}) == 8


def test_sample_seeds_differ() -> None:
    seeds = {sample_seed(*place) for place in np.ndindex(4, 4, 4)}
    assert len(seeds) == 64
    assert sample_seed(1, 2, 3) == sample_seed(1, 2, 3)


def test_switched_off_augmentation_is_the_evaluation_resize() -> None:
    transform = TrainTransform(16, crop_scale_min=1.0, randaugment_ops=0)
    assert torch.equal(transform(noise(), 3), EvalTransform(16)(noise()))


def test_flip_mirrors_half_of_the_images() -> None:
    plain = TrainTransform(16, crop_scale_min=1.0, randaugment_ops=0)
    flipping = TrainTransform(16, crop_scale_min=1.0, randaugment_ops=0, horizontal_flip=True)
    flipped = 0
    for seed in range(40):
        pixels = flipping(noise(), seed)
        is_flipped = torch.allclose(pixels.flip(-1), plain(noise(), seed), atol=0.05)
        assert is_flipped != torch.equal(pixels, plain(noise(), seed))
        flipped += is_flipped
    assert 10 <= flipped <= 30


def test_crops_keep_their_share_of_the_area() -> None:
    # a picture that holds its own coordinates: the extent of the crop can be read from its colours
    ramp = np.zeros((224, 224, 3), dtype=np.uint8)
    ramp[..., 0] = np.arange(224)
    ramp[..., 1] = np.arange(224)[:, None]
    transform = TrainTransform(32, crop_scale_min=0.2, randaugment_ops=0)
    scale = torch.tensor(OPENAI_CLIP_STD).view(3, 1, 1) * 255
    areas = []
    for seed in range(60):
        pixels = transform(Image.fromarray(ramp), seed) * scale
        spread = (pixels.amax((1, 2)) - pixels.amin((1, 2))) / 223
        areas.append(float(spread[0] * spread[1]))
    assert 0.15 < min(areas) < 0.45
    assert max(areas) > 0.75


def test_large_jpegs_are_decoded_small_with_nearly_equal_pixels(tmp_path: Path) -> None:
    noise((1600, 1200)).save(tmp_path / "large.jpg", quality=95)
    transform = TrainTransform(64, crop_scale_min=0.5, randaugment_ops=0)
    with Image.open(tmp_path / "large.jpg") as image:
        reduced = transform(image, 5)
        assert max(image.size) <= 400  # decoded at a quarter or less
    with Image.open(tmp_path / "large.jpg") as image:
        whole = transform(image.convert("RGB"), 5)
    assert (reduced - whole).abs().mean() < 0.05


def test_rand_augment_draws_each_kind_of_operation() -> None:
    image = noise((32, 32))
    torch.manual_seed(0)
    results = [rand_augment(image, 1, 5) for _ in range(60)]
    assert {result.size for result in results} == {(32, 32)}
    # 3 of 10 operations change nothing at magnitude 5; the signed ones come in both directions
    distinct = {result.tobytes() for result in results}
    assert image.tobytes() in distinct
    assert len(distinct) == 1 + 2 + 5 * 2
    assert rand_augment(image, 0, 5) is image

"""RandAugment on bytes gives what torchvision's operations on PIL images give."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from data_modules.augmentation import OPERATIONS, rand_augment
from data_modules.transforms import to_pixels

FILL = [128, 128, 128]


def picture(side: int = 64) -> Image.Image:
    """Smooth random colours, not all of the levels."""
    pixels = np.random.default_rng(0).integers(30, 220, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def affine(
    image: Image.Image, shift: tuple[int, int] = (0, 0), slopes: tuple[float, float] = (0, 0)
) -> Image.Image:
    shear = [math.degrees(math.atan(slope)) for slope in slopes]
    moved: Image.Image = F.affine(
        image, 0.0, list(shift), 1.0, shear, InterpolationMode.BILINEAR, fill=FILL, center=[0, 0]
    )
    return moved


def shift_of(image: Image.Image, level: float, sign: int) -> int:
    return sign * round(image.width * 10 / 224 * level)


# the plain operations, in the same order
PLAIN: list[Callable[[Image.Image, float, int], Image.Image]] = [
    lambda image, _level, _sign: image,
    lambda image, _level, _sign: F.autocontrast(image),
    lambda image, _level, _sign: F.equalize(image),
    lambda image, level, _sign: F.adjust_brightness(image, 1.8 * level + 0.1),
    lambda image, level, _sign: F.adjust_sharpness(image, 1.8 * level + 0.1),
    lambda image, level, sign: affine(image, slopes=(0.3 * level * sign, 0)),
    lambda image, level, sign: affine(image, slopes=(0, 0.3 * level * sign)),
    lambda image, level, sign: affine(image, shift=(shift_of(image, level, sign), 0)),
    lambda image, level, sign: affine(image, shift=(0, shift_of(image, level, sign))),
    lambda image, level, sign: F.rotate(image, 30 * level * sign, InterpolationMode.BILINEAR, fill=FILL),
]
WARPS = (5, 6, 9)


def difference(number: int, image: Image.Image, level: float, sign: int) -> Tensor:
    expected = to_pixels(PLAIN[number](image, level, sign)).int()
    return (OPERATIONS[number](to_pixels(image), level, sign).int() - expected).abs()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("level", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("number", range(10))
def test_operations_are_the_plain_ones(number: int, level: float, sign: int) -> None:
    differences = difference(number, picture(), level, sign)
    if number not in WARPS:
        assert differences.max() <= (number == 1)  # AutoContrast rounds where PIL cuts off
        return
    # PIL cuts off as well, and leaves the border hard where we blend the grey in, as OpenCV does
    assert differences.float().mean() < 2
    assert differences.float().quantile(0.9) <= 1


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (7, 8, 9)])
@pytest.mark.parametrize("number", [1, 2])
def test_histograms_of_one_colour(number: int, colour: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (20, 10), colour)
    assert difference(number, image, 0.5, 1).max() == 0


def test_equalize_of_few_pixels() -> None:
    # fewer pixels than levels: PIL leaves them as they are
    image = picture(12)
    assert difference(2, image, 0.5, 1).max() == 0
    assert torch.equal(OPERATIONS[2](to_pixels(image), 0.5, 1), to_pixels(image))


def test_what_does_nothing_costs_nothing() -> None:
    image = to_pixels(picture())
    for number in (0, 3, 4):
        assert OPERATIONS[number](image, 0.5, 1) is image
    assert not torch.equal(OPERATIONS[3](image, 0.4, 1), image)
    assert not torch.equal(OPERATIONS[4](image, 0.4, 1), image)


@pytest.mark.parametrize("number", range(10))
def test_the_image_itself_is_left_as_it_is(number: int) -> None:
    image = to_pixels(picture())
    before = image.clone()
    changed = OPERATIONS[number](image, 0.9, -1)
    assert torch.equal(image, before)
    assert changed.shape == image.shape
    assert changed.dtype == torch.uint8


def test_rand_augment_draws_each_kind_of_operation() -> None:
    image = to_pixels(picture(32))
    torch.manual_seed(0)
    results = [rand_augment(image, 1, 5) for _ in range(60)]
    # 3 of 10 operations change nothing at magnitude 5; the signed ones come in both directions
    distinct = {result.numpy().tobytes() for result in results}
    assert image.numpy().tobytes() in distinct
    assert len(distinct) == 1 + 2 + 5 * 2
    assert rand_augment(image, 0, 5) is image

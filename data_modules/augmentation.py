"""RandAugment with BLIP's list of operations, on bytes (Cubuk et al., 2020)."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms.v2 import functional as F

MAX_LEVEL = 10
# Grey that fills what moves in from outside. The published operations shift by up to 10 pixels of 224.
_FILL = 128
_SHIFT = 10 / 224


def rand_augment(image: Tensor, operations: int, magnitude: int) -> Tensor:
    """Apply randomly chosen operations of BLIP's list.

    The list is Identity, AutoContrast, Equalize, Brightness, Sharpness, ShearX, ShearY, TranslateX,
    TranslateY, Rotate, drawn with replacement from torch's default generator. Brightness and Sharpness have
    the factor ``1.8 magnitude / 10 + 0.1``, hence change nothing at BLIP's magnitude of 5.

    Args:
        image: ``(3, H, W)`` uint8.
        operations: How many to draw; 2 in BLIP.
        magnitude: 0 to 10; 5 in BLIP.

    Returns:
        The augmented image, same shape and type.
    """
    for choice in torch.randint(len(OPERATIONS), (operations,)).tolist():
        sign = 1 if torch.rand(()) < 0.5 else -1
        image = OPERATIONS[choice](image, magnitude / MAX_LEVEL, sign)
    return image


def _factor(level: float) -> float:
    return round(1.8 * level + 0.1, 9)  # so that 0.5 gives 1 exactly


def _brightness(image: Tensor, level: float, _sign: int) -> Tensor:
    changed: Tensor = F.adjust_brightness(image, _factor(level)) if _factor(level) != 1 else image
    return changed


def _sharpness(image: Tensor, level: float, _sign: int) -> Tensor:
    changed: Tensor = F.adjust_sharpness(image, _factor(level)) if _factor(level) != 1 else image
    return changed


def _equalize(image: Tensor, _level: float, _sign: int) -> Tensor:
    """Equalise each channel's histogram as PIL does; torchvision's own way takes three times as long."""
    equalized = torch.empty_like(image)
    for channel, to in zip(image, equalized, strict=True):
        counts = torch.bincount(channel.flatten(), minlength=256)
        step = int(len(channel.flatten()) - counts[counts.nonzero()[-1]]) // 255
        below = counts.cumsum(0) - counts
        table = ((below + step // 2) // step).clamp_(max=255) if step else torch.arange(256)
        np.take(table.numpy().astype(np.uint8), channel.numpy(), out=to.numpy(), mode="clip")
    return equalized


def _shear_x(image: Tensor, level: float, sign: int) -> Tensor:
    return _warp(image, (1.0, 0.3 * level * sign, 0.0), (0.0, 1.0, 0.0))


def _shear_y(image: Tensor, level: float, sign: int) -> Tensor:
    return _warp(image, (1.0, 0.0, 0.0), (0.3 * level * sign, 1.0, 0.0))


def _rotate(image: Tensor, level: float, sign: int) -> Tensor:
    angle = torch.tensor(30.0 * level * sign).deg2rad()
    cosine, sine = angle.cos().item(), angle.sin().item()
    x, y = image.shape[-1] / 2, image.shape[-2] / 2
    return _warp(image, (cosine, -sine, x - cosine * x + sine * y), (sine, cosine, y - sine * x - cosine * y))


def _warp(image: Tensor, row_x: tuple[float, float, float], row_y: tuple[float, float, float]) -> Tensor:
    """Move an image bilinearly; grey blends in at the borders.

    Args:
        image: ``(3, H, W)`` uint8.
        row_x: Factors of a pixel's x, y and 1 in the x of where it comes from; the corner is at 0.
        row_y: The same for its y.

    Returns:
        The moved image, ``(3, H, W)`` uint8.
    """
    grid = _grid(image.shape[-2], image.shape[-1], row_x, row_y)
    difference = torch.sub(image, float(_FILL))[None]
    moved = grid_sample(difference, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved[0].add_(_FILL + 0.5).to(torch.uint8)


@lru_cache(maxsize=8)  # three operations in two directions
def _grid(
    height: int, width: int, row_x: tuple[float, float, float], row_y: tuple[float, float, float]
) -> Tensor:
    """Where each pixel comes from, counted from -1 to 1, ``(1, H, W, 2)``."""
    x, y = torch.arange(width) + 0.5, (torch.arange(height) + 0.5)[:, None]
    places = (row[0] * x + row[1] * y + row[2] for row in (row_x, row_y))
    sizes = torch.tensor([width, height])
    return torch.stack(list(places), -1)[None] * 2 / sizes - 1


def _translate_x(image: Tensor, level: float, sign: int) -> Tensor:
    return _shift(image, -1, sign * round(image.shape[-1] * _SHIFT * level))


def _translate_y(image: Tensor, level: float, sign: int) -> Tensor:
    return _shift(image, -2, sign * round(image.shape[-2] * _SHIFT * level))


def _shift(image: Tensor, axis: int, pixels: int) -> Tensor:
    """Shift by whole pixels, right or down where they are positive."""
    moved = torch.full_like(image, _FILL)
    length = image.shape[axis] - abs(pixels)
    to, start = max(pixels, 0), max(-pixels, 0)
    moved.narrow(axis, to, length).copy_(image.narrow(axis, start, length))
    return moved


# each takes the image, the level in 0..1 and a sign
OPERATIONS: list[Callable[[Tensor, float, int], Tensor]] = [
    lambda image, _level, _sign: image,
    lambda image, _level, _sign: F.autocontrast(image),
    _equalize,
    _brightness,
    _sharpness,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
    _rotate,
]

"""Image transforms: BLIP's training augmentation and evaluation resize, random by the sample's own seed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

_MAX_LEVEL = 10
_FILL = [128, 128, 128]
_ASPECT_RATIO = (3 / 4, 4 / 3)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Mix run seed, epoch and sample into one 64-bit seed.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        index: Row of the data set.

    Returns:
        A seed that depends on nothing else, so neither workers nor devices change a sample.
    """
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0])


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; a palette goes by way of RGBA, since its transparency may be a table."""
    if image.mode == "P":
        image = image.convert("RGBA")
    return image.convert("RGB")


def to_pixels(image: Image.Image) -> Tensor:
    """Normalise an RGB image with CLIP's mean and standard deviation, as BLIP does.

    Args:
        image: RGB, any size.

    Returns:
        Pixels, ``(3, H, W)`` float32.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float()
    mean = torch.tensor(OPENAI_CLIP_MEAN).view(3, 1, 1) * 255
    std = torch.tensor(OPENAI_CLIP_STD).view(3, 1, 1) * 255
    return pixels.sub_(mean).div_(std)


def _affine(
    image: Image.Image, *, x: float = 0, y: float = 0, shear_x: float = 0, shear_y: float = 0
) -> Image.Image:
    """Shift by pixels or shear by slopes about the upper left corner."""
    shear = [math.degrees(math.atan(shear_x)), math.degrees(math.atan(shear_y))]
    # center: torchvision shears about the middle by default, the published operations about the corner
    moved: Image.Image = F.affine(
        image, 0.0, [round(x), round(y)], 1.0, shear, InterpolationMode.BILINEAR, fill=_FILL, center=[0, 0]
    )
    return moved


# each takes the image, the level in 0..1 and a sign; full translation was published as 10 pixels of 224
_OPERATIONS: list[Callable[[Image.Image, float, int], Image.Image]] = [
    lambda image, _level, _sign: image,
    lambda image, _level, _sign: F.autocontrast(image),
    lambda image, _level, _sign: F.equalize(image),
    lambda image, level, _sign: F.adjust_brightness(image, 1.8 * level + 0.1),
    lambda image, level, _sign: F.adjust_sharpness(image, 1.8 * level + 0.1),
    lambda image, level, sign: _affine(image, shear_x=0.3 * level * sign),
    lambda image, level, sign: _affine(image, shear_y=0.3 * level * sign),
    lambda image, level, sign: _affine(image, x=image.width * 10 / 224 * level * sign),
    lambda image, level, sign: _affine(image, y=image.height * 10 / 224 * level * sign),
    lambda image, level, sign: F.rotate(image, 30.0 * level * sign, InterpolationMode.BILINEAR, fill=_FILL),
]


def rand_augment(image: Image.Image, operations: int, magnitude: int) -> Image.Image:
    """Apply randomly chosen operations of BLIP's list (RandAugment, Cubuk et al., 2020).

    The list is Identity, AutoContrast, Equalize, Brightness, Sharpness, ShearX, ShearY, TranslateX,
    TranslateY, Rotate, drawn with replacement. Brightness and Sharpness have the factor
    ``1.8 magnitude / 10 + 0.1``, hence change nothing at BLIP's magnitude of 5.

    Args:
        image: RGB.
        operations: How many to draw; 2 in BLIP.
        magnitude: 0 to 10; 5 in BLIP.

    Returns:
        The augmented image, same size.
    """
    for choice in torch.randint(len(_OPERATIONS), (operations,)).tolist():
        sign = 1 if torch.rand(()) < 0.5 else -1
        image = _OPERATIONS[choice](image, magnitude / _MAX_LEVEL, sign)
    return image


@dataclass(frozen=True)
class EvalTransform:
    """Squash to a square by bicubic resampling, without a crop, and normalise.

    Attributes:
        image_size: Side of the square in pixels.
    """

    image_size: int

    def __call__(self, image: Image.Image, seed: int = 0) -> Tensor:
        """Transform an image.

        Args:
            image: Any mode and size.
            seed: Not needed: nothing is random here.

        Returns:
            Pixels, ``(3, image_size, image_size)`` float32.
        """
        del seed  # one signature for both transforms
        side = self.image_size
        return to_pixels(to_rgb(image).resize((side, side), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class TrainTransform:
    """Random crop, optional flip, RandAugment, normalisation; all drawn from the sample's seed.

    Attributes:
        image_size: Side of the square in pixels.
        crop_scale_min: Least share of the area a crop may have; 1.0 resizes the whole image instead.
        horizontal_flip: Mirror half of the images; descriptions that say left or right become wrong.
        randaugment_ops: Operations an image; 0 switches RandAugment off.
        randaugment_magnitude: Their strength, 0 to 10.
    """

    image_size: int
    crop_scale_min: float = 0.2
    horizontal_flip: bool = False
    randaugment_ops: int = 2
    randaugment_magnitude: int = 5

    def __call__(self, image: Image.Image, seed: int) -> Tensor:
        """Transform an image.

        Args:
            image: Any mode and size; an undecoded JPEG is decoded at reduced scale where the crop allows.
            seed: Of this sample in this epoch.

        Returns:
            Pixels, ``(3, image_size, image_size)`` float32.
        """
        with torch.random.fork_rng(devices=[]):
            # the default generator alone: torch.manual_seed would reset those of the accelerators too
            torch.default_generator.manual_seed(seed)
            image = self._crop(image)
            if self.horizontal_flip and torch.rand(()) < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            return to_pixels(rand_augment(image, self.randaugment_ops, self.randaugment_magnitude))

    def _crop(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        box = (0.0, 0.0, float(width), float(height))
        if self.crop_scale_min < 1:
            top, left, crop_height, crop_width = RandomResizedCrop.get_params(
                image, [self.crop_scale_min, 1.0], list(_ASPECT_RATIO)
            )
            box = (left, top, left + crop_width, top + crop_height)
        # a JPEG decoder halves sizes almost for free; the crop must keep at least the wanted pixels
        scale = max(self.image_size / (box[2] - box[0]), self.image_size / (box[3] - box[1]))
        image.draft("RGB", (math.ceil(width * scale), math.ceil(height * scale)))
        shrunk_x, shrunk_y = image.width / width, image.height / height
        box = (box[0] * shrunk_x, box[1] * shrunk_y, box[2] * shrunk_x, box[3] * shrunk_y)
        side = self.image_size
        return to_rgb(image).resize((side, side), Image.Resampling.BICUBIC, box=box)

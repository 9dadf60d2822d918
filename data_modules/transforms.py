"""Image transforms: BLIP's training augmentation and evaluation resize, random by the sample's own seed."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import RandomResizedCrop

from data_modules.augmentation import rand_augment

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
    return image if image.mode == "RGB" else image.convert("RGB")


def to_pixels(image: Image.Image) -> Tensor:
    """Copy the pixels of an RGB image, channels first.

    Args:
        image: RGB, any size.

    Returns:
        Pixels, ``(3, H, W)`` uint8.
    """
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))


def normalize_images(images: Tensor) -> Tensor:
    """Normalise pixels with CLIP's mean and standard deviation, as BLIP does.

    Args:
        images: Pixels, ``(…, 3, H, W)`` uint8.

    Returns:
        Normalised pixels, same shape, float32 on the same device.
    """
    mean = torch.tensor(OPENAI_CLIP_MEAN, device=images.device).view(3, 1, 1) * 255
    std = torch.tensor(OPENAI_CLIP_STD, device=images.device).view(3, 1, 1) * 255
    return images.float().sub_(mean).div_(std)


def normalize_batch(batch: Any, dtype: torch.dtype) -> Any:  # noqa: ANN401  # a batch, or several of them
    """Normalise the images of a batch as it came from a loader.

    Args:
        batch: With ``images`` ``(…, 3, H, W)`` uint8 and perhaps ``candidate_mask`` ``(S, K)``; a list or
            tuple of batches where several loaders run side by side; anything else passes through.
        dtype: Of the module that takes the images; the arithmetic is float32 whatever it is.

    Returns:
        The batch with normalised images, zero at padded candidates.
    """
    if isinstance(batch, list | tuple):
        return type(batch)(normalize_batch(one, dtype) for one in batch)
    if not isinstance(batch, dict) or "images" not in batch or batch["images"].dtype != torch.uint8:
        return batch
    images = normalize_images(batch["images"])
    if "candidate_mask" in batch:
        # not by an index: a comparison's result would have to come back from the device first
        images.masked_fill_(~batch["candidate_mask"][:, :, None, None, None], 0.0)
    return {**batch, "images": images.to(dtype)}


@dataclass(frozen=True)
class EvalTransform:
    """Squash to a square by bicubic resampling, without a crop.

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
            Pixels, ``(3, image_size, image_size)`` uint8.
        """
        del seed  # one signature for both transforms
        side = self.image_size
        return to_pixels(to_rgb(image).resize((side, side), Image.Resampling.BICUBIC))


def decode_crop(image: Image.Image, box: tuple[int, int, int, int], side: int) -> Image.Image:
    """Cut a part out of an image, which is decoded only as large as the part needs.

    A JPEG decoder halves sizes almost for free. The part then grows to whole pixels of the smaller image.

    Args:
        image: Any mode; a JPEG that is not decoded yet.
        box: Left, upper, right and lower edge of the part, in pixels.
        side: Pixels that both of its sides must keep, unless they have fewer.

    Returns:
        The part, RGB.
    """
    width, height = image.size
    left, top, right, bottom = box
    scale = max(side / (right - left), side / (bottom - top))
    image.draft("RGB", (math.ceil(width * scale), math.ceil(height * scale)))
    factor = round(width / image.width)  # 1, 2, 4 or 8
    return to_rgb(image).crop((left // factor, top // factor, -(-right // factor), -(-bottom // factor)))


@dataclass(frozen=True)
class TrainTransform:
    """Random crop, optional flip, RandAugment; all drawn from the sample's seed.

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
            Pixels, ``(3, image_size, image_size)`` uint8.
        """
        with torch.random.fork_rng(devices=[]):
            # the default generator alone: torch.manual_seed would reset those of the accelerators too
            torch.default_generator.manual_seed(seed)
            pixels = self._crop(image)
            if self.horizontal_flip and torch.rand(()) < 0.5:
                pixels = pixels.flip(-1)
            return rand_augment(pixels, self.randaugment_ops, self.randaugment_magnitude)

    def _crop(self, image: Image.Image) -> Tensor:
        box = (0, 0, image.width, image.height)
        if self.crop_scale_min < 1:
            top, left, height, width = RandomResizedCrop.get_params(
                image, [self.crop_scale_min, 1.0], list(_ASPECT_RATIO)
            )
            box = (left, top, left + width, top + height)
        cropped = decode_crop(image, box, self.image_size)
        # torch resamples bytes three times as fast as PIL, to within a rounding
        pixels = torch.from_numpy(np.array(cropped)).permute(2, 0, 1)
        side = (self.image_size, self.image_size)
        return interpolate(pixels[None], side, mode="bicubic", antialias=True)[0].contiguous()

"""Photographs of miniature scenes: what a camera adds to a clean drawing."""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

GREATEST_FALL = 0.12
"""Most that the light changes from the middle to either side: far less than a picture called dark loses."""
GREATEST_TINT = 0.03
"""Too little to turn a grey background into a pale blue one."""
NOISE = (8.5, 18.5)
"""Strong: a backbone of clean drawings loses some eight points by it, which leaves something to adapt to."""


@dataclass(frozen=True)
class Camera:
    """The circumstances of a picture; no description depends on them.

    Args:
        fall: Change of the light from the middle to the right and to the lower edge, as a fraction.
        tint: Error of the white balance: a factor for each of red, green and blue.
        noise: Standard deviation of the sensor's noise in grey levels of 255.
        seed: Of the noise, which differs from picture to picture.
    """

    fall: tuple[float, float]
    tint: tuple[float, float, float]
    noise: float
    seed: int


def draw_camera(rng: random.Random) -> Camera:
    """Draw a camera by lot."""
    fall = (rng.uniform(-GREATEST_FALL, GREATEST_FALL), rng.uniform(-GREATEST_FALL, GREATEST_FALL))
    red, green, blue = (1 + rng.uniform(-GREATEST_TINT, GREATEST_TINT) for _ in range(3))
    return Camera(fall, (red, green, blue), rng.uniform(*NOISE), rng.getrandbits(32))


def photograph(drawing: Image.Image, camera: Camera) -> Image.Image:
    """Turn a drawing into a photograph.

    Args:
        drawing: RGB picture.
        camera: Light, white balance and noise.

    Returns:
        RGB picture of the same size.
    """
    pixels = np.asarray(drawing, dtype=np.float32)
    height, width = pixels.shape[:2]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    # Hardly brighter than the drawing: white would be cut off, and with it the pale backgrounds' differences.
    light = 1 + camera.fall[0] * across + camera.fall[1] * down
    light /= 1 + abs(camera.fall[0]) + abs(camera.fall[1])
    noise = np.random.default_rng(camera.seed).normal(0, camera.noise, pixels.shape).astype(np.float32)
    taken = pixels * light[:, :, None] * np.asarray(camera.tint, dtype=np.float32) + noise
    return Image.fromarray(np.clip(np.rint(taken), 0, 255).astype(np.uint8))

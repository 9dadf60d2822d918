"""The camera adds nothing that a description could be about."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules.miniature.camera import GREATEST_FALL, GREATEST_TINT, NOISE, Camera, draw_camera, photograph
from data_modules.miniature.render import render
from data_modules.miniature.scenes import BACKGROUNDS, draw_scene
from data_modules.miniature.writers import Recipe

SIDE = 64
GREY = Image.new("RGB", (SIDE, SIDE), (120, 120, 120))


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float)


def cameras(number: int = 200) -> list[Camera]:
    rng = random.Random(0)  # noqa: S311
    return [draw_camera(rng) for _ in range(number)]


def test_light_falls_off_towards_one_side() -> None:
    shown = levels(photograph(GREY, Camera((0.1, 0.0), (1.0, 1.0, 1.0), 0.0, 0)))[..., 0]
    assert (np.diff(shown, axis=1) >= 0).all()
    assert (np.diff(shown, axis=0) == 0).all()
    assert shown[0, 0] / shown[0, -1] == pytest.approx(0.9 / 1.1, abs=0.01)
    assert shown.max() == 120  # never brighter than the drawing, where white would be cut off


def test_white_balance_is_a_factor_a_colour() -> None:
    shown = levels(photograph(GREY, Camera((0.0, 0.0), (1.02, 1.0, 0.97), 0.0, 0)))
    assert shown.reshape(-1, 3).mean(axis=0).tolist() == [round(120 * tint) for tint in (1.02, 1.0, 0.97)]


def test_noise_has_its_deviation_and_depends_on_the_seed() -> None:
    camera = Camera((0.0, 0.0), (1.0, 1.0, 1.0), 8.0, 1)
    first, again, other = (levels(photograph(GREY, replace(camera, seed=seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first - 120).std() == pytest.approx(8, rel=0.05)
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] == pytest.approx(0, abs=0.05)


def test_circumstances_stay_within_their_limits_and_use_them() -> None:
    drawn = cameras()
    falls = np.abs([camera.fall for camera in drawn])
    tints = np.abs(np.array([camera.tint for camera in drawn]) - 1)
    noise = np.array([camera.noise for camera in drawn])
    assert 0.8 * GREATEST_FALL < falls.max() <= GREATEST_FALL
    assert 0.8 * GREATEST_TINT < tints.max() <= GREATEST_TINT
    assert NOISE[0] <= noise.min() < noise.max() <= NOISE[1]
    assert len({camera.seed for camera in drawn}) == len(drawn)


def test_no_camera_makes_a_picture_look_dark_or_faded() -> None:
    """Of every scene the darkest photograph is brighter than the dark picture, and keeps more contrast."""
    for number in range(20):
        scene = draw_scene(Recipe(Path(), 0, SIDE).rng("camera", number), 3)
        drawing = render(scene, SIDE)
        dark, faded = (levels(render(replace(scene, look=look), SIDE)) for look in ("dark", "faded"))
        shown = [levels(photograph(drawing, camera)) for camera in cameras(20)]
        assert min(photo.mean() for photo in shown) > 1.2 * dark.mean()
        assert min(photo.std() for photo in shown) > 1.2 * faded.std()


def test_backgrounds_stay_apart() -> None:
    """What a grey background is called does not depend on the white balance."""
    names = sorted(BACKGROUNDS)
    plain = np.array([BACKGROUNDS[name] for name in names], dtype=float)
    for camera in cameras(50):
        for name in names:
            picture = Image.new("RGB", (SIDE, SIDE), BACKGROUNDS[name])
            shown = levels(photograph(picture, replace(camera, fall=(0.0, 0.0)))).mean(axis=(0, 1))
            assert names[int(np.abs(plain - shown).sum(axis=1).argmin())] == name

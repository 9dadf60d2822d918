"""Transforms: what they compute, and that their randomness is the sample's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torchvision.transforms import InterpolationMode, RandomResizedCrop

from data_modules.transforms import (
    EvalTransform,
    TrainTransform,
    decode_crop,
    normalize_batch,
    normalize_images,
    sample_seed,
    to_pixels,
)


def noise(size: tuple[int, int] = (48, 32), mode: str = "RGB") -> Image.Image:
    """An image of smooth random colours."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode)


def difference(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Absolute differences of pixels, in 256 levels."""
    return (one.int() - other.int()).abs()


def test_evaluation_squashes() -> None:
    left_half_white = Image.new("RGB", (40, 10))
    left_half_white.paste((255, 255, 255), (0, 0, 20, 10))
    pixels = EvalTransform(16)(left_half_white)
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    pixels = normalize_images(pixels)
    assert pixels.dtype == torch.float32
    white = (1 - torch.tensor(OPENAI_CLIP_MEAN)) / torch.tensor(OPENAI_CLIP_STD)
    black = -torch.tensor(OPENAI_CLIP_MEAN) / torch.tensor(OPENAI_CLIP_STD)
    torch.testing.assert_close(pixels[:, 8, 0], white)
    torch.testing.assert_close(pixels[:, 8, 15], black)


def test_normalised_bytes_are_what_normalised_floats_were() -> None:
    # one image at a time as float, as the transforms did before loaders sent bytes
    images = torch.arange(256, dtype=torch.uint8).repeat(2, 3, 4).view(2, 3, 32, 32)
    mean = torch.tensor(OPENAI_CLIP_MEAN).view(3, 1, 1) * 255
    std = torch.tensor(OPENAI_CLIP_STD).view(3, 1, 1) * 255
    expected = torch.stack([image.float().sub_(mean).div_(std) for image in images])
    assert torch.equal(normalize_images(images), expected)
    batch = normalize_batch({"images": images}, torch.float32)
    assert torch.equal(batch["images"], expected)
    assert images.dtype == torch.uint8  # the loader's own batch is left as it is
    # the arithmetic is float32 also where the weights are not
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(normalize_batch({"images": images}, dtype)["images"], expected.to(dtype))


def test_padded_candidates_are_zero() -> None:
    images = torch.full((2, 3, 3, 4, 4), 200, dtype=torch.uint8)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    normalised = normalize_batch({"images": images, "candidate_mask": mask}, torch.float32)["images"]
    assert torch.equal(normalised[mask], normalize_images(images[mask]))
    assert normalised[~mask].count_nonzero() == 0


def test_other_batches_pass_through_and_lists_are_entered() -> None:
    texts = {"input_ids": torch.ones(2, 3)}
    floats = {"images": torch.rand(2, 3, 4, 4)}
    pictures = {"images": torch.ones(2, 3, 4, 4, dtype=torch.uint8), "index": torch.ones(2)}
    assert normalize_batch(texts, torch.float32) is texts
    assert normalize_batch(floats, torch.float32) is floats
    both = normalize_batch([pictures, texts], torch.float32)
    assert both[1] is texts
    assert both[0]["images"].dtype == torch.float32
    assert both[0]["index"] is pictures["index"]


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
    image = noise((480, 360))
    pixels = TrainTransform(224, crop_scale_min=1.0, randaugment_ops=0)(image, 3)
    assert difference(pixels, EvalTransform(224)(image)).max() <= 2  # two resamplers, each rounds twice


def test_flip_mirrors_half_of_the_images() -> None:
    plain = TrainTransform(16, crop_scale_min=1.0, randaugment_ops=0)
    flipping = TrainTransform(16, crop_scale_min=1.0, randaugment_ops=0, horizontal_flip=True)
    flipped = 0
    for seed in range(40):
        pixels = flipping(noise(), seed)
        is_flipped = int(difference(pixels.flip(-1), plain(noise(), seed)).max()) <= 3
        assert is_flipped != torch.equal(pixels, plain(noise(), seed))
        flipped += is_flipped
    assert 10 <= flipped <= 30


def test_crops_keep_their_share_of_the_area() -> None:
    # a picture that holds its own coordinates: the extent of the crop can be read from its colours
    ramp = np.zeros((224, 224, 3), dtype=np.uint8)
    ramp[..., 0] = np.arange(224)
    ramp[..., 1] = np.arange(224)[:, None]
    transform = TrainTransform(32, crop_scale_min=0.2, randaugment_ops=0)
    areas = []
    for seed in range(60):
        pixels = transform(Image.fromarray(ramp), seed).float()
        spread = (pixels.amax((1, 2)) - pixels.amin((1, 2))) / 223
        areas.append(float(spread[0] * spread[1]))
    assert 0.15 < min(areas) < 0.45
    assert max(areas) > 0.75


def photos_of(folder: Path) -> list[Path]:
    photos = sorted((folder / "coco" / "images").rglob("*.jpg"))
    assert len(photos) > 100
    return photos


def plain_crop(image: Image.Image, seed: int) -> torch.Tensor:
    """What torchvision alone makes of the same draw."""
    crop = RandomResizedCrop(224, (0.2, 1.0), interpolation=InterpolationMode.BICUBIC)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return to_pixels(crop(image.convert("RGB")))


def test_real_photos_are_cropped_as_torchvision_does(real_data: Path) -> None:
    transform = TrainTransform(224, randaugment_ops=0)
    means = []
    for seed, path in enumerate(photos_of(real_data)[::3]):
        with Image.open(path) as image:
            image.load()  # decoded whole
            means.append(difference(transform(image, seed), plain_crop(image, seed)).float().mean())
    assert max(means) < 0.3
    assert sum(means) / len(means) < 0.05


@pytest.mark.parametrize(("size", "factor"), [((640, 480), 2), ((1008, 752), 4), ((1600, 1200), 4)])
def test_photos_decoded_small_are_nearly_those_decoded_whole(
    real_data: Path, tmp_path: Path, size: tuple[int, int], factor: int
) -> None:
    means = []
    side = min(size) // factor
    for path in photos_of(real_data)[::16]:
        with Image.open(path) as photo:
            photo.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(tmp_path / "x.jpg", quality=90)
        with Image.open(tmp_path / "x.jpg") as image:
            small = decode_crop(image, (8, 16, size[0] - 5, size[1]), side - 10)
            assert image.width == -(-size[0] // factor)
        with Image.open(tmp_path / "x.jpg") as image:
            image.load()
            box = (8, 16, min(factor * (8 // factor + small.width), size[0]), size[1])
            whole = decode_crop(image, box, side - 10)
        assert min(small.size) >= side - 10
        pair = (part.resize((64, 64), Image.Resampling.BICUBIC) for part in (small, whole))
        means.append(difference(*map(to_pixels, pair)).float().mean())
    assert max(means) < 3
    assert sum(means) / len(means) < 1


@pytest.mark.parametrize("box", [(0, 0, 448, 448), (3, 5, 451, 453), (0, 0, 449, 1200)])
def test_no_decoded_crop_is_smaller_than_the_input(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    noise((1600, 1200)).save(tmp_path / "large.jpg")
    with Image.open(tmp_path / "large.jpg") as image:
        crop = decode_crop(image, box, 224)
        assert image.size == (800, 600)
    assert min(crop.size) >= 224
    assert crop.width - (box[2] - box[0]) / 2 < 2


def test_small_crops_need_the_whole_decoding(tmp_path: Path) -> None:
    noise((640, 480)).save(tmp_path / "photo.jpg")
    with Image.open(tmp_path / "photo.jpg") as image:
        assert decode_crop(image, (10, 20, 457, 400), 224).size == (447, 380)
        assert image.size == (640, 480)


def test_evaluation_decodes_whole_whatever_the_size(tmp_path: Path) -> None:
    noise((1600, 1200)).save(tmp_path / "large.jpg")
    with Image.open(tmp_path / "large.jpg") as image:
        pixels = EvalTransform(32)(image)
        assert image.size == (1600, 1200)
        assert torch.equal(pixels, to_pixels(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)))

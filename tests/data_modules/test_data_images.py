"""Every kind of image file: what opens, what is refused, and in which words."""

import io
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contextblip.errors import DatasetError
from data_modules import images
from data_modules.images import readable_image
from data_modules.transforms import EvalTransform

OWNER = "IMAGECODE, set s"


def refused(path: Path, owner: str = OWNER) -> str:
    """Return the message for an image that fails while it is opened or decoded."""
    with pytest.raises(DatasetError) as error, readable_image(path, owner) as image:
        image.load()
    message = str(error.value)
    assert message.startswith(f"{owner}: cannot read image {path} (")
    assert message.endswith("); restore or download this file")
    assert "\n" not in message
    return message


def test_missing_empty_truncated_and_other_files(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    empty, text, page = (tmp_path / name for name in ("empty.jpg", "text.jpg", "page.jpg"))
    empty.touch()
    text.write_text("no image")
    page.write_text("<html>404</html>")
    assert "(no such file)" in refused(tmp_path / "missing.jpg")
    assert "(empty file)" in refused(empty)
    assert "(no image, or of an unknown format)" in refused(text)
    assert "(no image, or of an unknown format)" in refused(page)
    assert "Is a directory" in refused(tmp_path)
    for suffix in ("jpg", "png"):
        whole = write_image(tmp_path / f"truncated.{suffix}", size=(200, 200))
        whole.write_bytes(whole.read_bytes()[:300])
        assert "truncated" in refused(whole)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
def test_whatever_the_damage_it_is_one_line(tmp_path: Path, suffix: str) -> None:
    """Random damage either leaves an image or gives our error, never another one or a warning."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    pixels = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
    pixels.save(buffer, Image.registered_extensions()[f".{suffix}"], exif=Image.Exif())
    failures = 0
    for _ in range(60):
        data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
        places = rng.integers(0, min(len(data), 400), 3)
        data[places] = rng.integers(0, 255, 3)
        path = tmp_path / f"damaged.{suffix}"
        path.write_bytes(data.tobytes()[: len(data) // rng.integers(1, 3)])
        with suppress(DatasetError):
            with readable_image(path, OWNER) as image:
                image.load()
            failures -= 1
        failures += 1
    assert failures > 5


def test_no_programs_are_run_for_exotic_formats(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "page.eps")
    (tmp_path / "page.eps").rename(tmp_path / "page.jpg")
    assert "(no image, or of an unknown format)" in refused(tmp_path / "page.jpg")


@pytest.mark.parametrize(
    ("mode", "colour", "suffix"),
    [
        ("L", 128, "jpg"),
        ("CMYK", (127, 127, 127, 0), "jpg"),
        ("P", 7, "png"),
        ("LA", (128, 255), "png"),
        ("RGBA", (128, 128, 128, 255), "png"),
        ("I;16", 128 * 257, "png"),
        ("1", 1, "png"),
    ],
)
def test_every_mode_becomes_colours(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...], suffix: str
) -> None:
    path = tmp_path / f"image.{suffix}"
    picture = Image.new(mode, (20, 10), colour)
    if mode == "P":
        picture.putpalette([128] * 768)
    picture.save(path)
    with readable_image(path, OWNER) as image:
        pixels = EvalTransform(4)(image)
    assert pixels.shape == (3, 4, 4)
    expected = 255 if mode == "1" else 128
    assert (pixels.int() - expected).abs().max() <= 2


def test_palette_with_transparency_in_bytes_gives_no_warning(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 3)
    picture.putpalette([200] * 768)
    picture.save(tmp_path / "p.png", transparency=bytes([255] * 256))
    with readable_image(tmp_path / "p.png", OWNER) as image:
        assert EvalTransform(4)(image).float().mean() == 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (20, 10))
    upright.paste((255, 255, 255), (0, 0, 10, 5))  # the upper left quarter is white
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (upright if method is None else upright.transpose(method)).save(tmp_path / "r.png", exif=exif)
    with readable_image(tmp_path / "r.png", "COCO") as image:
        assert image.size == (20, 10)
        assert np.array_equal(np.asarray(image), np.asarray(upright))


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_orientations_that_mean_nothing_change_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (20, 10)).save(tmp_path / "r.jpg", exif=exif)
    with readable_image(tmp_path / "r.jpg", "COCO") as image:
        assert image.size == (20, 10)
        assert isinstance(image, Image.Image)


def test_broken_metadata_do_not_make_an_image_unreadable(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (9, 9, 9)).save(tmp_path / "x.jpg", exif=b"Exif\0\0no metadata at all")
    with readable_image(tmp_path / "x.jpg", "COCO") as image:
        assert np.asarray(image).max() == 9


def test_too_many_pixels_are_refused_by_size_and_limit(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")
    assert "(10000 x 9000 pixels, more than the limit of 89,478,485)" in refused(tmp_path / "large.png")
    Image.new("1", (20_000, 9_000)).save(tmp_path / "huge.png")
    message = refused(tmp_path / "huge.png")
    assert "Image size (180000000 pixels)" in message
    assert "the limit is 89,478,485 pixels" in message


def test_images_up_to_the_limit_are_read(
    tmp_path: Path, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_image(tmp_path / "x.png", size=(10, 10))
    monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", 100)
    with readable_image(path, OWNER) as image:
        image.load()
    monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", 99)
    assert "(10 x 10 pixels, more than the limit of 99)" in refused(path)


def test_other_warnings_keep_their_filters(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    path = write_image(tmp_path / "x.png")
    for _ in range(2):
        with readable_image(path, OWNER):
            pass
    assert warnings.filters.count(warnings.filters[0]) == 1
    with pytest.warns(UserWarning, match="ours"):
        warnings.warn("ours", stacklevel=1)


def test_names_that_are_not_utf8_can_be_printed(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    write_image(path)
    with readable_image(path, OWNER) as image:
        assert image.size == (20, 10)
    path.write_bytes(b"?")
    with pytest.raises(DatasetError) as error, readable_image(path, OWNER):
        pass
    assert str(error.value).encode("utf-8").startswith(f"{OWNER}: cannot read image {tmp_path}".encode())


def test_paths_may_be_text_and_images_are_not_decoded_yet(
    tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    path = write_image(tmp_path / "x.jpg", size=(800, 800))
    with readable_image(str(path), OWNER) as image:
        image.draft("RGB", (100, 100))
        assert image.size == (100, 100)


def test_errors_while_the_image_is_open_name_it(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    path = write_image(tmp_path / "x.jpg")
    with pytest.raises(DatasetError, match=r"x\.jpg \(broken data stream\)"), readable_image(path, OWNER):
        raise OSError("broken data stream")
    with pytest.raises(KeyError), readable_image(path, OWNER):
        raise KeyError("a mistake of ours stays what it is")

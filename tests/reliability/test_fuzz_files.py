"""Broken images and annotation files: read, or refused by an error of ours; no hang, no endless memory."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from contextblip.errors import UserError
from data_modules.archive import ArchivedFolder, ImageArchive
from data_modules.images import ImageReference, readable_image
from data_modules.transforms import EvalTransform
from data_modules.verification.images import ImageJob, check_chunk
from tests.reliability.bounds import limited_memory, limited_time
from tests.reliability.data_sets import DataSet, lay_out
from tests.reliability.mutations import damage_bytes, mutate

OWNER = "IMAGECODE, set s"
MEMBER = "image-sets/s/img1.jpg"
ORIENTATION = 0x0112


def outcome_of(read: Callable[[], None]) -> str | None:
    """Say what went wrong beside an error of ours, if anything."""
    try:
        with limited_memory(), limited_time():
            read()
    except UserError as error:
        try:
            str(error).encode()
        except UnicodeEncodeError:
            return f"cannot be printed: {error!r:.300}"
        return None if str(error) else "says nothing"
    except Exception as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else ""
        return f"{type(error).__name__} at {place}: {error!s:.300}"
    return None


def pictures() -> dict[str, bytes]:
    """Encode a picture in every format and in the manners that decoders treat apart."""
    ramp = np.arange(48 * 40 * 3, dtype=np.uint32).reshape(40, 48, 3)
    colours = Image.fromarray((ramp * ramp // 97 % 256).astype(np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    manners: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "baseline.jpg": (colours, {}),
        "progressive.jpg": (colours, {"progressive": True}),
        "turned.jpg": (colours, {"exif": exif}),
        "cmyk.jpg": (colours.convert("CMYK"), {}),
        "grey.jpg": (colours.convert("L"), {"quality": 40}),
        "colours.png": (colours, {"exif": exif}),
        "palette.png": (colours.convert("P"), {"transparency": 3}),
        "deep.png": (Image.new("I;16", (40, 30), 30_000), {}),
        "alpha.png": (colours.convert("RGBA"), {"dpi": (72, 72)}),
        "frames.gif": (colours, {"save_all": True, "append_images": [colours.rotate(9)]}),
        "colours.webp": (colours, {}),
        "colours.bmp": (colours, {}),
        "deflated.tif": (colours, {"compression": "tiff_adobe_deflate"}),
        "packed.tif": (colours.convert("1"), {"compression": "packbits"}),
    }
    content = {}
    for name, (picture, options) in manners.items():
        buffer = io.BytesIO()
        picture.save(buffer, Image.registered_extensions()[Path(name).suffix], **options)
        content[name] = buffer.getvalue()
    return content


def read_image(reference: ImageReference) -> None:
    with readable_image(reference, OWNER) as image:
        pixels = EvalTransform(16)(image)
    assert pixels.shape == (3, 16, 16)


def read_archived(path: Path) -> None:
    """Read a picture of an archive as data sets do."""
    archive = ImageArchive(path, "IMAGECODE")
    for folder, names in archive.folders():
        for name in names:
            read_image(ArchivedFolder(archive, folder).joinpath(name))


def verify(path: Path, member: str | None = None) -> None:
    """Verify an image: a reason is one line; what can be read whole has none."""
    (outcome,) = check_chunk([(ImageJob("x", str(path), member), None)])
    if outcome.reason is None and member is None:
        with Image.open(path) as image:
            image.load()
    assert outcome.reason is None or (outcome.reason and "MemoryError" not in outcome.reason)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # whole images with broken metadata
@pytest.mark.parametrize(("cases", "seed"), [(150, 1), pytest.param(5000, 2, marks=pytest.mark.slow)])
def test_broken_images_are_read_or_refused(cases: int, seed: int, tmp_path: Path) -> None:
    originals = pictures()
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr(MEMBER, originals["baseline.jpg"])
    originals["images.zip"] = buffer.getvalue()
    found = []
    for number in range(cases):
        draws = Random(f"{seed}/{number}")  # noqa: S311  # broken files, no secrets
        name = list(originals)[number % len(originals)]
        content = damage_bytes(originals[name], draws)
        path = tmp_path / f"{number}-{name}"  # of its own: archives are remembered by name
        path.write_bytes(content)
        readers: list[Callable[[], None]] = [partial(read_image, path), partial(verify, path)]
        if name == "images.zip":
            readers = [partial(read_archived, path), partial(verify, path, MEMBER)]
        said = [said for reader in readers if (said := outcome_of(reader))]
        found += [f"{seed}/{number} {name}: {each}" for each in said]
        path.unlink()
    assert not found, "\n".join(found)


@pytest.fixture(scope="module")
def data_sets(world: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[DataSet]:
    return lay_out(world, backbone, tmp_path_factory.mktemp("data sets"))


def test_whole_data_sets_are_read(data_sets: list[DataSet]) -> None:
    """Or the fuzz would break nothing."""
    for each in data_sets:
        each.inspect()
        each.train_or_test()
        assert each.files


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("cases", "seed"), [(50, 1), pytest.param(4000, 2, marks=pytest.mark.slow)])
def test_broken_annotations_are_read_or_refused(cases: int, seed: int, data_sets: list[DataSet]) -> None:
    targets = [(each, path) for each in data_sets for path in each.files]
    found = []
    for number in range(cases):
        draws = Random(f"{seed}/{number}")  # noqa: S311  # broken files, no secrets
        each, path = targets[number % len(targets)]
        whole = path.read_bytes()
        path.write_bytes(mutate(path.name, whole, draws))
        said = [said for reader in (each.inspect, each.train_or_test) if (said := outcome_of(reader))]
        found += [f"{seed}/{number} {path.name}: {line}" for line in said]
        path.write_bytes(whole)
    assert not found, "\n".join(found)

"""What broken files were found to break: one small case of each kind."""

import gc
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from contextblip.cli import main
from contextblip.errors import DatasetError
from contextblip.safe_yaml import load_yaml
from data_modules.archive import ImageArchive
from data_modules.caption_data.images import CaptionImageFinder
from data_modules.caption_data.sources import locate_coco, locate_visual_genome
from data_modules.files import read_json
from data_modules.imagecode_files import read_annotations, read_descriptions, read_image_order
from data_modules.images import readable_image
from data_modules.mmvp_vlm import read_pairs

LAUGHS = "x: &x [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]" + "".join(
    f"\nx{n}: &x{n} [{', '.join(['*x' + (str(n - 1) if n else '')] * 10)}]" for n in range(9)
)
ENDLESS = {
    "a: 2024-13-45": "month must be in 1..12",
    "a: &a [*a]": "an alias stands inside of what it names",
    "a: &a {b: *a}": "an alias stands inside of what it names",
    LAUGHS: "its aliases stand for more than 100,000 values",
    "a: " + "[" * 3000: "nested more than 100 levels deep",
    "a: " + "[" * 100 + "]" * 100: "nested more than 100 levels deep",
    "a: " + "9" * 5000: "integer string conversion",
}


@pytest.mark.parametrize(("text", "said"), ENDLESS.items(), ids=lambda text: text[:20])
def test_every_fault_of_yaml_is_one_error(text: str, said: str) -> None:
    with pytest.raises(yaml.YAMLError, match=said):
        load_yaml(text)


def test_aliases_that_end_are_written_out() -> None:
    assert load_yaml("a: &a [1, {b: 2}]\nc: [*a, *a]") == {"a": [1, {"b": 2}], "c": [[1, {"b": 2}]] * 2}


@pytest.fixture
def refuse(checkout: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end with status 2 and one line."""
    del checkout  # only the working directory

    def call(*words: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return call


@pytest.mark.parametrize(("text", "said"), {**ENDLESS, "? [a]\n: b": "a key must be a word"}.items(), ids=str)
def test_such_a_configuration_or_sweep_is_one_line(text: str, said: str, refuse: Callable[..., str]) -> None:
    Path("broken.yaml").write_text(text)
    line = refuse("fit", "--config=experiments/pretrain.yaml", "--config=broken.yaml")
    assert line.startswith("error: broken.yaml")
    assert said in line
    if "?" not in text:
        assert said in refuse("sweep", "broken.yaml", "--dry_run")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (r'experiment: "\ud83d"', "experiment: "),
        (r'data: {init_args: {datasets: [coco, "\ud83d"]}}', "data.init_args.datasets: "),
        (r'"\ud83d": 3', ""),
        (r'trainer: {logger: [{"\ud83d": 3}]}', "trainer.logger: "),
    ],
)
def test_half_of_a_character_is_named_where_it_stands(
    text: str, where: str, refuse: Callable[..., str]
) -> None:
    Path("broken.yaml").write_text(text)
    line = refuse("fit", "--config=experiments/pretrain.yaml", "--config=broken.yaml")
    assert line == rf"error: broken.yaml: {where}'\ud83d' holds half of a character, which no file can hold"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--trainer.devices=0", "trainer.devices 0: "),
        ("--trainer.num_nodes=0", "trainer.num_nodes is 0, but must be 1 or more"),
        ("--data.global_batch_size=0", "data.global_batch_size is 0, but must be 1 or more"),
        ("--data.global_batch_size=-8", "data.global_batch_size is -8, but must be 1 or more"),
        ('--run_dir="a\\0b"', "run_dir 'a\\x00b': no folder can have that name"),
        ('--experiment="a\\0b"', "experiment 'a\\x00b': no folder can have that name"),
    ],
)
def test_values_that_nothing_can_have(word: str, said: str, refuse: Callable[..., str]) -> None:
    words = ["fit", "--config=experiments/finetune.yaml", "--trainer.accelerator=cpu"]
    key, _, value = word.partition("=")
    Path("value.yaml").write_text(as_yaml(key.removeprefix("--").split("."), value))
    assert refuse(*words, "--config=value.yaml").startswith(f"error: {said}")


def as_yaml(keys: list[str], value: str) -> str:
    keys = ["data", "init_args", *keys[1:]] if keys[0] == "data" else keys
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(keys)]
    return "\n".join(lines) + f" {value}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainer: null", "error: value.yaml:1: trainer must hold keys and values, not nothing"),
        ("trainer: [1]", "error: value.yaml:1: trainer must hold keys and values, not [1]"),
        ("checkpoint: null", "error: value.yaml:1: checkpoint must hold keys and values, not nothing"),
        ("seed_everything: -5", "error: value.yaml:1: seed_everything is -5, expected 0 to 4294967295"),
        ("seed_everything: 4294967296", "error: value.yaml:1: seed_everything is 4294967296, expected 0"),
    ],
)
def test_sections_without_keys_and_seeds_out_of_range(
    text: str, said: str, refuse: Callable[..., str]
) -> None:
    Path("value.yaml").write_text(text)
    assert refuse("fit", "--config=experiments/finetune.yaml", "--config=value.yaml").startswith(said)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_png_with_broken_pixels_is_never_taken_for_whole(tmp_path: Path, place: float) -> None:
    """Looking for its orientation decoded it, and a second time its decoder complained of nothing."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    start = int(len(content) * place)
    content[start : start + 40] = bytes(40)
    path = tmp_path / "x.png"
    path.write_bytes(content)
    said = pytest.raises(DatasetError, match=r"^D: cannot read image .*x\.png \(")
    with said, readable_image(path, "D") as image:
        image.load()
    gc.collect()  # an open file left behind would be said here, and warnings are errors


def test_an_archive_whose_members_lie_before_it(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as writer:
        writer.writestr("s/img1.jpg", b"x")
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    (offset,) = struct.unpack_from("<L", content, end + 16)
    struct.pack_into("<L", content, end + 16, offset + 7)
    path.write_bytes(content)
    with pytest.raises(
        DatasetError, match=r"x\.zip is no complete zip archive \(its directory places members"
    ):
        ImageArchive(path, "D")


def test_numbers_and_nesting_beyond_python(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text in ("9" * 5000, "[" * 100_000):
        path.write_text(text)
        with pytest.raises(DatasetError, match=r"x\.json is not valid JSON \("):
            read_json(path, "D")
    path.write_text(json.dumps({"s": {"9" * 5000: "a circle"}}))
    with pytest.raises(DatasetError, match="is no whole number from 0"):
        read_descriptions(path)
    for text in (".inf: {annotation: v}", "[" * 3000, "2024-13-45: {annotation: v}"):
        path.write_text(f"s: {{ {text} }}")
        with pytest.raises(DatasetError, match="is no annotation file"):
            read_annotations(path)


def test_halves_of_characters_are_refused_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "image_filenames_valid.json"
    for content in ({"s": {"0": "half \ud83d"}}, {"\ud83d": {"0": "whole"}}):
        path.write_text(json.dumps(content))
        with pytest.raises(DatasetError, match="surrogates not allowed") as error:
            read_descriptions(path)
        str(error.value).encode()
    path.write_text(json.dumps({"s": ["\ud83d.jpg"]}))
    with pytest.raises(DatasetError, match="surrogates not allowed"):
        read_image_order([tmp_path], "valid")


def test_line_ends_inside_a_statement_stay(tmp_path: Path) -> None:
    path = tmp_path / "Questions.csv"
    path.write_bytes(b'Question ID,Type,Statement\r\n1,t,"a\rb"\r\n2,t,"a\r\nb"\r\n')
    assert read_pairs(path) == [("t", ((1, "a\rb"), (2, "a\r\nb")))]


def test_photos_without_a_usable_number_or_name(tmp_path: Path) -> None:
    official = {"images": [], "annotations": [{"image_id": "\ud83d", "caption": "a"}]}
    (tmp_path / "captions_train2017.json").write_text(json.dumps(official))
    with pytest.raises(DatasetError, match="has captions of image .*, which it does not list") as error:
        list(locate_coco(tmp_path).read("train"))
    str(error.value).encode()
    url = "https://x/VG_100K/1.jpg"
    (tmp_path / "image_data.json").write_text(json.dumps([{"image_id": None, "coco_id": 1, "url": url}]))
    (tmp_path / "vg.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"image_data\.json is not .*entry 0: int\(\)"):
        list(locate_visual_genome(tmp_path).read("train"))
    assert CaptionImageFinder("COCO", [tmp_path]).find("/") is None

"""What `stats` counts: the published numbers on the real files, hand-counted ones on small files."""

import io
import json
import re
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import data_modules.text
from contextblip.errors import ConfigurationError, DatasetNotFoundError
from data_modules.statistics import print_statistics
from data_modules.statistics.texts import EvenSample, TextCounter, describe
from data_modules.verification import inspect

Rows = dict[str, list[str]]


def run(name: str, root: Path, width: int = 80, **options: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401
    """Print in this process; give the text and the numbers."""
    out = io.StringIO()
    stats = print_statistics(name, root, console=Console(file=out, width=width), **options)
    return out.getvalue(), stats


def rows_of(out: str) -> Rows:
    """Read the tables again: the cells behind each name."""
    lines = (re.split(r" {2,}", line.strip()) for line in out.splitlines())
    return {cells[0]: " ".join(cells[1:]).split() for cells in lines if len(cells) > 1}


@pytest.fixture(scope="module")
def imagecode(real_data: Path) -> tuple[str, dict[str, Any]]:
    """The statistics of the real files, printed once."""
    return run("imagecode", real_data / "imagecode", width=100)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("sets", "7,317 1,039 1,046"),
        ("static", "1,281 155 178"),
        ("with 1 text", "1,306 210 218"),
        ("with 2 texts", "2,745 395 396"),
        ("with 3 texts", "3,266 434 432"),
        ("from video-storytelling", "3,274 233 230"),
        ("from MSR-VTT TrainVal", "2,641 0 0"),
        ("from MSR-VTT Test", "0 571 554"),
        ("from open-images", "1,281 155 178"),
        ("from YouCook", "121 80 84"),
        ("texts", "16,594 2,302 2,306"),
        ("of static sets", "3,501 (21.1%) 430 (18.7%) 485 (21.0%)"),
        ("of video sets", "13,093 (78.9%) 1,872 (81.3%) 1,821 (79.0%)"),
        ("blank at an end", "3,886 854 901 5,641"),
        ("nothing but blanks", "0 0 0 0"),
        ("repeat another text", "3 0 0 4"),
        ("not ASCII", "61 3 1 65"),
        ("all static", "432 389 406 372 370 403 389 418 367 385 11.0%"),
        ("all video", "712 1227 1932 1867 1874 1920 1778 1781 1170 704 12.9%"),
    ],
)
def test_imagecode_has_the_published_sets_texts_and_targets(
    imagecode: tuple[str, dict[str, Any]], name: str, cells: str
) -> None:
    assert rows_of(imagecode[0])[name] == cells.split()


def test_imagecode_has_the_published_lengths(imagecode: tuple[str, dict[str, Any]]) -> None:
    splits, every = imagecode[1]["splits"], imagecode[1]["all"]
    for split, mean, longest in (("train", 21.3, 138), ("valid", 20.6, 70), ("test", 21.1, 73)):
        words = splits[split]["words"]
        assert (words["mean"], words["p50"], words["max"]) == (pytest.approx(mean, abs=0.05), 20, longest)
    tokens = every["tokens"]
    assert tokens["mean"] == pytest.approx(26.0, abs=0.05)
    assert (tokens["p50"], tokens["p95"], tokens["p99"], tokens["max"]) == (24, 46, 60, 153)
    assert splits["valid"]["targets"] is not None
    assert splits["test"]["targets"] is None


def test_imagecode_has_the_published_cuts(imagecode: tuple[str, dict[str, Any]]) -> None:
    rows = rows_of(imagecode[0])
    assert " ".join(rows["cut at 30 words"]).startswith("2,636 (15.89%) 261 (11.34%) 289 (12.53%)")
    assert " ".join(rows["cut by either"]).startswith("3,659 (22.05%) 397 (17.25%) 424 (18.39%)")
    cuts = [imagecode[1]["splits"][split]["cut"] for split in ("train", "valid", "test")]
    shares = [100 * cut["either"] / cut["of"] for cut in cuts]
    assert shares == [pytest.approx(share, abs=0.06) for share in (22.0, 17.3, 18.4)]


def test_imagecode_has_the_published_annotations(imagecode: tuple[str, dict[str, Any]]) -> None:
    out, stats = imagecode
    counts = {code: values["first_200"] for code, values in stats["annotations"]["codes"].items()}
    assert counts == {
        "s": 141, "q": 97, "con": 94, "col": 85, "cor": 83, "v": 77, "n": 56, "neg": 42, "t": 30, "img": 24,
    }  # fmt: skip
    rows = rows_of(out)
    assert rows["con (context)"] == ["94", "94", "474", "473"]
    assert rows["v (occlusion)"] == ["77", "77", "456", "455"]
    assert rows["n (nuances)"] == ["56", "56", "264", "264"]
    assert rows["neg (negation)"] == ["42", "42", "179", "179"]
    assert rows["none (an empty code)"] == ["3", "230"]
    assert (
        "annotations: 2,275 entries of 1,030 sets, 2,273 match a text; 29 texts have no entry\n"
        "the first 200 are the challenging samples: 95 sets, 151 entries of videos, 49 static\n"
        "the last 1,273 entries were not annotated\n" in out
    )


def test_imagecode_has_the_published_propositions(imagecode: tuple[str, dict[str, Any]]) -> None:
    splits = imagecode[1]["splits"]
    valid, test = splits["valid"]["propositions"], splits["test"]["propositions"]
    assert valid["per_text"] == {1: 72, 2: 899, 3: 1215, 4: 99, 5: 14, 6: 3}
    assert test["per_text"] == {1: 61, 2: 863, 3: 1239, 4: 126, 5: 16, 6: 1}
    assert (valid["texts"], valid["blank"], test["texts"], test["blank"]) == (2302, 4, 2306, 6)
    assert splits["train"]["propositions"] is None


def test_coco_and_visual_genome_have_the_counted_numbers(real_data: Path) -> None:
    out, stats = run("coco", real_data)
    rows = rows_of(out)
    assert rows["images"] == ["80", "79"]
    assert rows["texts"] == ["400", "395"]
    assert rows["words, mean"] == ["10.6", "10.5"]
    assert rows["words, max"] == ["41", "24"]
    assert rows["blank at an end"] == ["50", "53"]
    assert stats["shared"] == {"with": "Visual Genome", "images": 0}
    blip, _ = run("coco", real_data / "coco" / "blip_format")
    assert "Layout BLIP" in blip
    assert rows_of(blip)["images"] == ["80", "40", "39"]
    regions, _ = run("visual_genome", real_data)
    assert rows_of(regions)["texts"] == ["7,278"]
    assert rows_of(regions)["words, mean"] == ["5.2"]
    assert rows_of(regions)["repeat another text"] == ["992"]


def test_mmvp_types_and_quotes(real_data: Path) -> None:
    rows = rows_of(run("mmvp_vlm", real_data)[0])
    assert rows["Text"] == ["1", "4.0", "4", "2", "0"]
    assert rows["all"][:1] == ["4"]


@pytest.mark.parametrize("name", ["coco", "visual_genome", "imagecode", "mmvp_vlm"])
def test_tables_fit_eighty_columns_and_numbers_are_written(world: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "numbers" / f"{name}.json"
    out, stats = run(name, world, json_file=target)
    tables, _, notes = out.rpartition("\n\n")
    assert max(map(len, tables.splitlines()[1:])) <= 80
    assert "…" not in tables
    assert notes.splitlines()[-2:] == [f"tokenizer: {world}/vocab.txt", f"numbers: {target}"]
    assert json.loads(target.read_text()) == json.loads(json.dumps(stats))
    assert (stats["max_words"], stats["root"]) == (30, str(world))


def test_numbers_are_never_cut_short(world: Path) -> None:
    narrow, wide = (run("imagecode", world, width=width)[0].split("\n\n") for width in (40, 120))
    assert narrow[1:5] == wide[1:5]


def test_images_in_both_data_sets_are_counted(world: Path, tmp_path: Path) -> None:
    root = shutil.copytree(world, tmp_path / "data")
    path = root / "visual_genome" / "image_data.json"
    images = json.loads(path.read_text())
    photos = json.loads((root / "coco" / "annotations" / "captions_train2017.json").read_text())["images"]
    for image, photo in zip(images[:3], photos, strict=False):
        image["coco_id"] = photo["id"]
    path.write_text(json.dumps(images))
    assert "images shared with COCO, which is here too: 3\n" in run("visual_genome", root)[0]
    assert "images shared with Visual Genome, which is here too: 3\n" in run("coco", root / "coco")[0]


def test_every_layout_that_is_there_is_counted(world: Path, tmp_path: Path) -> None:
    root = shutil.copytree(world, tmp_path / "data")
    rows = [{"image": "val2014/COCO_val2014_000000000001.jpg", "caption": ["a red ring", "a ring "]}]
    (root / "coco" / "coco_karpathy_val.json").write_text(json.dumps(rows))
    out, stats = run("coco", root)
    assert list(stats["layouts"]) == ["BLIP", "official 2017"]
    assert stats["layouts"]["BLIP"]["val"]["blank_ends"] == 1
    assert "data modules use the layout BLIP\n" in out
    assert inspect("coco", root, None, False).notes == ["here too, but not verified: official 2017"]


def test_limits_change_the_cuts(world: Path) -> None:
    rows = rows_of(run("imagecode", world, max_words=5, max_tokens=6)[0])
    assert rows["cut at 5 words"][-2:] == ["33", "(100.00%)"]
    assert rows["cut at 6 tokens"][-2:] == ["33", "(100.00%)"]


def test_a_split_alone_is_counted(world: Path, tmp_path: Path) -> None:
    shutil.copy(world / "imagecode" / "test_data_unlabeled.json", tmp_path)
    out, stats = run("imagecode", tmp_path, tokenizer=str(world / "vocab.txt"))
    assert list(stats["splits"]) == ["test"]
    assert "Target index" not in out
    assert "Annotations" not in out


def test_without_a_tokenizer_the_rest_is_counted(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(source: str) -> None:
        raise ConfigurationError(f"tokenizer {source!r}: the hub does not give it; pass --data.tokenizer")

    monkeypatch.setattr(data_modules.text, "load_tokenizer", offline)
    root = tmp_path / "far" / "imagecode"
    shutil.copytree(world / "imagecode", root, ignore=shutil.ignore_patterns("image-sets"))
    out, stats = run("imagecode", root)
    assert rows_of(out)["tokens and cuts"] == ["no", "tokenizer"] * 4
    assert rows_of(out)["sets"] == ["6", "6", "3"]
    assert stats["tokenizer"] is None
    remedy = f"put a vocab.txt into {root}, or name one by --tokenizer"
    assert out.splitlines()[-1] == (
        f"no tokenizer: no vocab.txt beside the data; {remedy} (a file, or bert-base-uncased of the hub)"
    )
    with pytest.raises(ConfigurationError, match=r"tokenizer 'mine': .*; pass --tokenizer"):
        run("imagecode", root, tokenizer="mine")
    (root / "vocab.txt").write_text("broken")
    why = f"no tokenizer: {root / 'vocab.txt'} is no vocabulary of bert-base-uncased; {remedy}"
    assert run("imagecode", root)[0].splitlines()[-1] == why


def test_wrong_roots_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetNotFoundError, match=r"--root .*/none is no folder; name the data set's folder or"
    ):
        run("coco", tmp_path / "none")
    for name in ("coco", "visual_genome", "imagecode", "mmvp_vlm"):
        with pytest.raises(DatasetNotFoundError, match="not found: looked for"):
            run(name, tmp_path)


def test_texts_are_counted_one_by_one() -> None:
    counter = TextCounter()
    for text in ("a ring", " a ring", "a ring", "a\tring\n", "", "  ", "né"):
        counter.add(text)
    assert counter.as_dict() == {
        "texts": 7,
        "words": {"mean": 9 / 7, "p50": 2, "p95": 2, "p99": 2, "max": 2},
        "blank_ends": 3,
        "empty": 2,
        "repeats": 1,
        "non_ascii": 1,
    }
    assert TextCounter().as_dict()["words"] is None


def test_describe_equals_the_list_it_counts() -> None:
    assert describe(Counter({1: 50, 2: 49, 101: 1})) == {
        "mean": 2.49,
        "p50": 1.5,
        "p95": 2.0,
        "p99": pytest.approx(2.99),
        "max": 101,
    }
    assert describe(Counter()) is None


@pytest.mark.parametrize(("seen", "kept"), [(3, 3), (8, 8), (9, 5), (1000, 8)])
def test_a_sample_is_even_without_knowing_the_end(seen: int, kept: int) -> None:
    sample = EvenSample(8)
    for number in range(seen):
        sample.add(str(number))
    numbers = [int(text) for text in sample.texts]
    assert len(numbers) == kept
    assert len({after - before for before, after in pairwise(numbers)}) == 1
    assert numbers[-1] + numbers[1] - numbers[0] >= seen

import csv
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from contextblip.errors import DatasetError
from data_modules.miniature import MiniatureSize, draw_miniature, main
from data_modules.miniature import world as miniature_world
from data_modules.miniature.imagecode import CODES
from data_modules.miniature.lessons import CAPTIONS, SPECIAL_SHAPES
from data_modules.miniature.pairs import PAIRS_PER_TYPE, TYPES
from data_modules.miniature.render import render
from data_modules.miniature.scenes import SHAPES
from data_modules.miniature.sets import CANDIDATES, draw_set
from data_modules.miniature.vocabulary import vocabulary
from data_modules.miniature.writers import FULL_CAPTIONS, Recipe

SMALL = MiniatureSize(
    captions_train=24, captions_val=8, vg_images=6, sets_train=9, sets_valid=8, sets_test=4, image_size=32
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_miniature(tmp_path_factory.mktemp("miniature") / "world", seed=3, size=SMALL)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = replace(SMALL, photos=False)
    return draw_miniature(tmp_path_factory.mktemp("miniature") / "drawings", seed=3, size=size)


def load(path: Path) -> Any:  # noqa: ANN401 - the layouts differ
    return json.loads(path.read_text(encoding="utf-8"))


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_gives_same_bytes_and_another_seed_others(world: Path, tmp_path: Path) -> None:
    again = digest(draw_miniature(tmp_path / "again", seed=3, size=SMALL))
    other = digest(draw_miniature(tmp_path / "other", seed=4, size=SMALL))
    assert again == digest(world)
    for name in ("coco/annotations/captions_train2017.json", "coco/images/train2017/000000000001.jpg"):
        assert other[name] != again[name]
    assert other["imagecode/valid_data.json"] != again["imagecode/valid_data.json"]
    assert other["vocab.txt"] == again["vocab.txt"]


def test_several_processes_draw_the_same(tmp_path: Path) -> None:
    size = replace(SMALL, captions_train=200, vg_images=40, sets_train=2, image_size=16)
    one = draw_miniature(tmp_path / "one", size=size)
    two = draw_miniature(tmp_path / "two", size=size, workers=2)
    assert digest(one) == digest(two)


def test_a_smaller_world_is_the_beginning_of_a_larger_one(world: Path, tmp_path: Path) -> None:
    smaller = draw_miniature(tmp_path / "smaller", seed=3, size=replace(SMALL, captions_train=8))
    few, many = (load(root / "coco/annotations/captions_train2017.json") for root in (smaller, world))
    assert few["annotations"] == many["annotations"][: len(few["annotations"])]


def test_drawn_world_is_used_again_and_never_overwritten(world: Path, tmp_path: Path) -> None:
    before = (world / "vocab.txt").stat().st_mtime_ns
    assert draw_miniature(world, seed=3, size=SMALL) == world
    assert (world / "vocab.txt").stat().st_mtime_ns == before
    with pytest.raises(DatasetError, match=r"seed is 3, not 5") as error:
        draw_miniature(world, seed=5, size=SMALL)
    assert str(world) in str(error.value)
    assert "\n" not in str(error.value)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError, match=r"no miniature\.json"):
        draw_miniature(tmp_path, size=SMALL)


def test_two_runs_that_start_at_once_draw_one_world(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "world"
    draw = miniature_world._draw_by

    def overtaken(root: Path, seed: int, size: MiniatureSize, workers: int) -> None:
        draw(root, seed, size, workers)
        shutil.copytree(world, tmp_path / "world")  # another run comes first

    monkeypatch.setattr(miniature_world, "_draw_by", overtaken)
    assert draw_miniature(root, seed=3, size=SMALL) == root
    assert digest(root) == digest(world)
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_failed_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("data_modules.miniature.world.write_mmvp_vlm", fail)
    with pytest.raises(OSError, match="disk full"):
        draw_miniature(tmp_path / "world", size=replace(SMALL, captions_train=0))
    assert list(tmp_path.iterdir()) == []


def test_command_draws_and_reports_mistakes_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"captions": 4, "captions-val": 4, "vg-images": 2, "sets": 1, "sets-valid": 1, "sets-test": 1}
    options = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    root = tmp_path / "world"
    main(["--root", str(root), "--image-size", "16", *options])
    assert "is ready" in capsys.readouterr().out
    with Image.open(root / "coco/images/train2017/000000000004.jpg") as image:
        assert image.size == (16, 16)
    with pytest.raises(SystemExit) as stop:
        main(["--root", str(root), "--seed", "1", *options])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_imagecode_layout(world: Path) -> None:
    root = world / "imagecode"
    train, valid = load(root / "train_data.json"), load(root / "valid_data.json")
    unlabelled, targets = load(root / "test_data_unlabeled.json"), load(root / "test_targets.json")
    assert (len(train), len(valid), len(unlabelled)) == (9, 8, 4)
    names = [*train, *valid, *unlabelled]
    assert sorted(names) == sorted(path.name for path in (root / "image-sets").iterdir())
    assert all(
        isinstance(texts, list) and all(isinstance(t, str) for t in texts) for texts in unlabelled.values()
    )
    assert {name: len(texts) for name, texts in unlabelled.items()} == {n: len(t) for n, t in targets.items()}
    assert all(0 <= int(rank) < 10 for queries in (*train.values(), *valid.values()) for rank in queries)
    truth = load(root / "ground_truth.json")
    for name in names:
        assert len(list((root / "image-sets" / name).glob("img*.jpg"))) == CANDIDATES
        assert truth[name]["is_video"] == ("open-images" not in name)
    texts = [text for queries in valid.values() for text in queries.values()]
    assert set(load(root / "valid_split.json")) == set(texts)
    assert (world / "vocab.txt").read_text(encoding="utf-8").splitlines() == vocabulary()
    assert set(load(root / "test_model_split_2.json")) == {t for each in unlabelled.values() for t in each}


def test_set_names_and_frame_numbers(world: Path) -> None:
    folders = list((world / "imagecode/image-sets").iterdir())
    video = re.compile(
        r"(MSR-VTT-video(TrainVal|Test)Video_video\d+|YouCook-video\d+|"
        r"video-storytelling-video[a-z]+_[\w-]{11})-shot\d+_\d+"
    )
    wrong = 0
    for folder in folders:
        numbers = sorted(int(path.stem.removeprefix("img")) for path in folder.iterdir())
        if folder.name.startswith("open-images"):
            assert re.fullmatch(r"open-images-\d+_[0-9a-f]{16}", folder.name)
            assert numbers == list(range(CANDIDATES))
        else:
            assert video.fullmatch(folder.name)
            wrong += [str(n) for n in numbers] != sorted(str(n) for n in numbers)
    assert wrong > 0.4 * len(folders)


def test_frame_order_is_the_rank(drawings: Path) -> None:
    root = drawings / "imagecode"
    name = next(name for name, truth in load(root / "ground_truth.json").items() if truth["is_video"])
    split = load(root / "ground_truth.json")[name]["split"]
    number = [n for n, t in load(root / "ground_truth.json").items() if t["split"] == split].index(name)
    drawn = draw_set(Recipe(drawings, 3, 32).rng(f"imagecode/{split}", number), is_video=True)
    files = sorted((root / "image-sets" / name).iterdir(), key=lambda path: int(path.stem[3:]))
    for path, scene in zip(files, drawn.scenes, strict=True):
        with Image.open(path) as image:
            error = np.abs(np.asarray(image, dtype=int) - np.asarray(render(scene, 32), dtype=int)).mean()
        assert error < 8


def test_photographs_show_what_the_drawings_show(world: Path, drawings: Path) -> None:
    """One seed gives the same sets and texts of both; light, tint and noise come on top."""
    for split in ("train", "valid"):
        assert load(world / f"imagecode/{split}_data.json") == load(drawings / f"imagecode/{split}_data.json")
    likeness, distance = [], []
    for path in sorted((drawings / "imagecode/image-sets").rglob("*.jpg")):
        with Image.open(path) as one, Image.open(world / path.relative_to(drawings)) as two:
            drawing, photo = (np.asarray(image, dtype=float) for image in (one, two))
        likeness.append(np.corrcoef(drawing.ravel(), photo.ravel())[0, 1])
        distance.append(np.abs(drawing - photo).mean())
    assert np.median(likeness) > 0.85
    assert min(distance) > 5


def test_captions_of_drawings_are_terse_or_lists_and_those_of_photographs_rich(
    world: Path, drawings: Path
) -> None:
    def words(root: Path, which: slice) -> list[int]:
        of_image: dict[int, list[int]] = {}
        for each in load(root / "coco/annotations/captions_train2017.json")["annotations"]:
            of_image.setdefault(each["image_id"], []).append(len(each["caption"].split()))
        return [number for lengths in of_image.values() for number in lengths[which]]

    terse, lists = words(drawings, slice(-FULL_CAPTIONS)), words(drawings, slice(-FULL_CAPTIONS, None))
    rich = words(world, slice(None))
    assert np.mean(rich) > 1.2 * np.mean(terse)
    assert np.mean(lists) > 1.2 * np.mean(rich)
    assert len(lists) == FULL_CAPTIONS * SMALL.captions_train


def test_a_lesson_has_nothing_but_captions_of_few_things(tmp_path: Path) -> None:
    size = replace(SMALL, vg_images=0, sets_train=0, sets_valid=0, sets_test=0, photos=False, most_things=1)
    root = draw_miniature(tmp_path / "lesson", size=size)
    record = load(root / "coco/annotations/captions_train2017.json")
    of_image: dict[int, set[str]] = {}
    for each in record["annotations"]:
        of_image.setdefault(each["image_id"], set()).add(each["caption"])
    assert len(of_image) == 24
    assert all(1 <= len(texts) <= CAPTIONS for texts in of_image.values())
    assert sum(map(len, of_image.values())) > 2 * 24  # mostly worded differently
    nouns = {*SHAPES, *SPECIAL_SHAPES}
    for texts in of_image.values():
        named = [{word for word in nouns if re.search(rf"\b{word}\b", text.lower())} for text in texts]
        assert all(len(words) == 1 and words == named[0] for words in named)


def test_annotation_of_the_validation_split(world: Path) -> None:
    root = world / "imagecode"
    annotation = yaml.safe_load((root / "manual_annotation_valid.yaml").read_text(encoding="utf-8"))
    valid = load(root / "valid_data.json")
    assert {name: list(each) for name, each in annotation.items()} == {n: list(q) for n, q in valid.items()}
    entries = [(name, rank, entry) for name, each in annotation.items() for rank, entry in each.items()]
    for position, (name, rank, entry) in enumerate(entries):
        assert entry["description"] == valid[name][rank]
        assert entry["visualization_id"] == str(position)
        codes = set(entry["annotation"].split(","))
        truth = load(root / "ground_truth.json")[name]
        groups = {f"change_{kind}" for kind in truth["kinds"]}
        query = next(query for query in truth["queries"] if query["target"] == int(rank))
        groups |= {"resolved_by_candidates" if query["needs_candidates"] else "resolved_by_text"}
        assert codes == {*query["phenomena"], *groups}
        assert codes - groups <= {*CODES}


def test_caption_layouts(world: Path) -> None:
    content = load(world / "coco/annotations/captions_train2017.json")
    assert {"info", "licenses", "images", "annotations"} == set(content)
    assert [image["id"] for image in content["images"]] == list(range(1, 25))
    per_image = np.bincount([each["image_id"] for each in content["annotations"]])[1:]
    assert per_image.min() >= 2
    assert per_image.max() <= 5
    assert len({each["id"] for each in content["annotations"]}) == len(content["annotations"])
    assert all((world / "coco/images/train2017" / each["file_name"]).is_file() for each in content["images"])
    data = {each["image_id"]: each for each in load(world / "visual_genome/image_data.json")}
    for image in load(world / "visual_genome/region_descriptions.json"):
        folder = data[image["id"]]["url"].split("/")[-2]
        assert (world / "visual_genome" / folder / f"{image['id']}.jpg").is_file()
        assert 3 <= len(image["regions"]) <= 8
        for region in image["regions"]:
            assert region["phrase"]
            assert region["things"] >= 1
            assert region["width"] > 0
            assert region["x"] + region["width"] <= 32


def test_mmvp_layout(world: Path) -> None:
    root = world / "mmvp_vlm"
    with (root / "Questions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["Question ID"]) for row in rows] == list(range(1, 271))
    assert [rows[2 * i]["Type"] == rows[2 * i + 1]["Type"] for i in range(135)] == [True] * 135
    for pattern in TYPES:
        own = [row for row in rows if row["Type"] == pattern]
        assert len(own) == 2 * PAIRS_PER_TYPE
        assert all(
            (root / "MLLM_VLM Images" / pattern / f"{row['Question ID']}.jpg").is_file() for row in own
        )
    assert any('"' in row["Statement"] for row in rows)

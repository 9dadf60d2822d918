"""``--cache``: what it switches on and off, whom it is refused, and that no run becomes another by it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from contextblip.cli import main
from contextblip.reports.pooling import signature
from contextblip.runs import read_run
from contextblip.sweeps.identity import digest, identify
from contextblip.sweeps.resolving import Resolver
from contextblip.vision_cache import callback

Run = Callable[[str], None]
Fail = Callable[[str], tuple[int, str]]

ZERO_SHOT = "--config experiments/zero_shot.yaml"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the cache prints."""
    lines: list[str] = []
    monkeypatch.setattr(callback, "rank_zero_info", lines.append)
    return lines


@pytest.fixture
def tiny(checkout: Path, world: Path, backbone: Path) -> str:
    """Keys of a run on the tests' world, in a folder that looks like the checkout."""
    assert Path.cwd() == checkout
    return (
        f"--model.backbone {backbone} --data.root {world} --data.num_workers 0 --data.batch_size 2 "
        "--trainer.accelerator cpu --trainer.enable_progress_bar false --trainer.enable_model_summary false"
    )


def images_of(world: Path, split: str) -> int:
    """Number of images of all sets of a split."""
    sets = json.loads((world / "imagecode" / f"{split}_data.json").read_text())
    return sum(len(list((world / "imagecode" / "image-sets" / name).iterdir())) for name in sets)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_second_zero_shot_test_encodes_nothing_and_answers_alike(
    precision: str, tiny: str, world: Path, run: Run, said: list[str]
) -> None:
    words = f"test {ZERO_SHOT} {tiny} --trainer.precision {precision} --model.adapter_layers [3,12]"
    run(f"{words} --run_dir plain")
    assert not said
    run(f"{words} --run_dir first --cache store")
    run(f"{words} --run_dir second --cache store")
    images = images_of(world, "valid")
    size, first, second = said
    assert f"({images} images x 2 layers x 17 tokens x 24 x " in size
    assert size.startswith("Vision cache store/")
    assert "at most" in size
    assert f" {images} encoded" in first
    assert " 0 encoded" in second
    answers = [Path(folder, "predictions.jsonl").read_bytes() for folder in ("plain", "first", "second")]
    assert answers[0] == answers[1] == answers[2]
    runs = [read_run(Path(folder)) for folder in ("plain", "first")]
    assert [step.config["cache"] for step in runs] == [None, "store"]
    assert signature(runs[0]) == signature(runs[1])


def test_stage_two_trains_and_is_tested_from_the_store(
    tiny: str, world: Path, run: Run, said: list[str]
) -> None:
    words = (
        f"fit --config experiments/inter_context.yaml {tiny} --data.global_batch_size null "
        "--data.augment false --trainer.max_epochs 1 --model.inter_context_heads 2 "
        "--model.adapter_layers [12]"
    )
    run(f"{words} --run_dir plain")
    run(f"{words} --run_dir first --cache store --test_after last")
    images = images_of(world, "train") + images_of(world, "valid")
    assert "at most" in said[0]
    assert f"({images} images x 1 layer x" in said[0]
    assert f" {images} encoded" in said[1]
    assert " 0 encoded" in said[2]  # the test
    metrics = [json.loads(Path(folder, "metrics.json").read_text()) for folder in ("plain", "first")]
    assert metrics[0].items() <= metrics[1].items()


def test_a_gallery_is_encoded_once(tiny: str, run: Run, said: list[str]) -> None:
    words = (
        f"test --config experiments/coco_retrieval.yaml {tiny} --data.split val --model.adapter_layers [3]"
    )
    words = words.replace("--data.batch_size", "--data.eval_batch_size")
    run(f"{words} --run_dir plain")
    run(f"{words} --run_dir first --cache store")
    run(f"{words} --run_dir second --cache store")
    assert "8 images x 2 layers" in said[0]
    assert " 0 images read, 8 encoded" in said[1]
    assert " 8 images read, 0 encoded" in said[2]
    metrics = {Path(folder, "metrics.json").read_text() for folder in ("plain", "first", "second")}
    assert len(metrics) == 1


@pytest.mark.parametrize("off", ["off", "null", "false"])
def test_off_beats_a_file_that_sets_it(off: str, tiny: str, run: Run, said: list[str]) -> None:
    Path("store.yaml").write_text("cache: store\n")
    words = f"test {ZERO_SHOT} {tiny} --trainer.limit_test_batches 1 --config store.yaml"
    run(f"{words} --run_dir there --cache={off}")
    assert not said
    assert not Path("store").exists()
    assert not list(Path().glob(f"{off}*"))
    run(f"{words} --run_dir with")
    assert len(said) == 2
    assert Path("store").is_dir()


def test_a_bare_off_in_a_file_is_off_too(tiny: str, run: Run, said: list[str]) -> None:
    Path("store.yaml").write_text("cache: store\n")
    Path("without.yaml").write_text("cache: off\n")
    assert yaml.safe_load(Path("without.yaml").read_text()) == {"cache": False}
    run(
        f"test {ZERO_SHOT} {tiny} --trainer.limit_test_batches 1 --config store.yaml --config without.yaml "
        "--run_dir there"
    )
    assert not said
    run("test --config there/config.yaml --run_dir again")  # what is written down is off as well
    assert not said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fit --config experiments/finetune.yaml", "cache store: FineTuning cannot use it"),
        ("test --config experiments/finetune.yaml", "cache store: FineTuning cannot use it"),
        ("fit --config experiments/pretrain.yaml", "cache store: Pretraining cannot use it"),
        (
            "fit --config experiments/inter_context.yaml --data.augment true",
            "cache store: data.augment is true",
        ),
    ],
)
def test_whom_it_is_refused(words: str, message: str, tiny: str, fail: Fail) -> None:
    status, said = fail(f"{words} {tiny} --data.global_batch_size null --cache store --run_dir there")
    assert status == 2
    assert said.startswith(f"error: {message}")
    assert "--cache off" in said
    assert not Path("store").exists()
    assert not Path("there").exists()


def test_on_is_no_folder(fail: Fail) -> None:
    Path("on.yaml").write_text("cache: on\n")
    status, said = fail("fit --config toy.yaml --config on.yaml")
    assert status == 2
    assert "cache" in said


def test_the_key_is_no_part_of_what_makes_runs_the_same(checkout: Path) -> None:
    (checkout / "weights").mkdir()
    (checkout / "weights" / "model_base.pth").write_bytes(b"of a fake")

    def hash_of(*words: str) -> str:
        given = ["test", "--config", "experiments/zero_shot.yaml", *words]
        return digest(identify(Resolver().resolve(given), "test", None))

    assert hash_of("--cache=store") == hash_of("--cache=off") == hash_of()
    assert hash_of("--data.batch_size=2") != hash_of()


def test_a_sweep_hands_it_on(checkout: Path, capsys: pytest.CaptureFixture[str], backbone: Path) -> None:
    stage = {"name": "zero_shot", "command": "test", "configs": ["experiments/zero_shot.yaml"]}
    axes = [{"key": "model.adapter_layers", "values": [[3], [3, 6]]}]
    content = {"name": "layers", "stages": [stage], "axes": axes, "seeds": [1]}
    (checkout / "layers.yaml").write_text(yaml.safe_dump(content))
    plans = []
    for cache in ("cache=store", "cache=off", "data.num_workers=0"):
        given = [f"model.backbone={backbone}", cache]
        main(["sweep", "layers.yaml", "--dry_run", "--out", "out", "--set", *given])
        plans.append(capsys.readouterr().out)
    assert "zero_shot-" in plans[0]
    assert plans[0] == plans[1] == plans[2]

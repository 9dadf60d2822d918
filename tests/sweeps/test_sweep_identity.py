"""What a run is known by: results decide, not where, when or how it was run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contextblip.sweeps.identity import digest, identify
from contextblip.sweeps.inputs import fingerprint_path, fingerprint_root
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings
from contextblip.sweeps.resolving import Resolver

OUT = Path("out")
RESOLVER = Resolver()  # keeps what several tests ask for
FIT = ["fit", "--config", "experiments/pretrain.yaml"]
TEST = ["test", "--config", "experiments/zero_shot.yaml"]


Write = Callable[..., Path]
PlanOf = Callable[..., Plan]


def hash_of(*words: str, upstream: str | None = None) -> str:
    return digest(identify(RESOLVER.resolve(list(words)), words[0], upstream))


@pytest.mark.parametrize(
    "option",
    [
        "--run_dir=x",
        "--experiment=x",
        "--data.num_workers=0",
        "--trainer.accelerator=cpu",
        "--trainer.devices=1",  # the experiment has a global batch size
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.log_every_n_steps=1",
        "--trainer.callbacks=[]",
    ],
)
def test_what_changes_no_result_changes_no_hash(option: str) -> None:
    assert hash_of(*FIT, option) == hash_of(*FIT)


@pytest.mark.parametrize(
    "option",
    [
        "--model.mask_ratio=0.5",
        "--seed_everything=1",
        "--trainer.max_epochs=1",
        "--trainer.precision=bf16-mixed",
        "--data.batch_size=32",
        "--checkpoint.monitor=val/loss_itm",
        "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping",
        "--model.backbone=random:miniature",
        "--data.root=elsewhere",
    ],
)
def test_what_changes_a_result_changes_the_hash(option: str) -> None:
    extra = ["--trainer.callbacks.monitor=val/loss"] if "callbacks" in option else []
    assert hash_of(*FIT, option, *extra) != hash_of(*FIT)


def test_devices_count_where_they_enlarge_a_step() -> None:
    alone = [*FIT, "--data.global_batch_size=null"]
    assert hash_of(*alone, "--trainer.devices=2") != hash_of(*alone, "--trainer.devices=1")


def test_the_seed_counts_only_where_something_is_drawn() -> None:
    assert hash_of(*TEST, "--seed_everything=1") == hash_of(*TEST, "--seed_everything=2")
    drawn = [*TEST, "--model.backbone=random:miniature"]
    assert hash_of(*drawn, "--seed_everything=1") != hash_of(*drawn, "--seed_everything=2")
    tuned = ["test", "--config", "experiments/finetune.yaml"]
    assert hash_of(*tuned, "--seed_everything=1") != hash_of(*tuned, "--seed_everything=2")


def test_the_upstream_run_counts_and_which_of_its_checkpoints() -> None:
    hashes = {hash_of(*TEST, upstream=upstream) for upstream in (None, "a best", "a last", "b best")}
    assert len(hashes) == 4


def test_inputs_count_by_content_not_by_place(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "config.json").write_text("{}")
    shutil.copytree(first, second)
    assert fingerprint_path(str(first)) == fingerprint_path(str(second))
    (second / "config.json").write_text("{ }")
    assert fingerprint_path(str(first)) != fingerprint_path(str(second))
    (first / "image.jpg").write_bytes(b"x")
    (first / ".cache").mkdir()
    (first / ".cache" / "report.json").write_text("{}")
    (second / "config.json").write_text("{}")
    assert fingerprint_path(str(first)) == fingerprint_path(str(second))
    assert fingerprint_path("org/name") == "org/name"


def test_a_world_is_known_by_its_recipe_before_and_after_it_is_drawn(world: Path, tmp_path: Path) -> None:
    to_draw = fingerprint_root(f"miniature:{tmp_path / 'new'}", "data_modules.ImageCoDeDataModule")
    assert to_draw.startswith("miniature:")
    assert fingerprint_root(f"miniature:{tmp_path / 'other'}", "x") == to_draw
    assert fingerprint_root(f"miniature:{world}", "x") != to_draw  # the tests' world is smaller
    assert fingerprint_root(f"miniature:{world}", "x") == fingerprint_root(str(world), "x")
    assert fingerprint_root(f"miniature-backbone:{tmp_path / 'new'}", "x") != to_draw


def test_only_the_data_sets_own_folder_counts(tmp_path: Path) -> None:
    for name in ("imagecode", "coco"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "list.json").write_text(name)
    before = fingerprint_root(str(tmp_path), "data_modules.ImageCoDeDataModule")
    (tmp_path / "coco" / "list.json").write_text("more")
    assert fingerprint_root(str(tmp_path), "data_modules.ImageCoDeDataModule") == before
    captions: Any = fingerprint_root(str(tmp_path), "data_modules.CaptionDataModule", ["coco"])
    (tmp_path / "coco" / "list.json").write_text("even more")
    assert fingerprint_root(str(tmp_path), "data_modules.CaptionDataModule", ["coco"]) != captions


def test_points_and_files_share_what_is_the_same(write: Write, plan_of: PlanOf) -> None:
    ratios = write("ratios.yaml", name="ratios")
    rates = write("rates.yaml", name="rates", axes=[{"key": "model.downsampling_rate", "values": [2, 4]}])
    plan = plan_of(ratios, rates)
    first, second = ([trial.runs for trial in planned.trials] for planned in plan.sweeps)
    assert first[0] == second[0]  # mask ratio 0.25 and rate 2 are the experiment's own values
    assert len(plan.runs) == 6
    shared = plan.runs[first[0]["zero_shot"]]
    assert {use.sweep for use in shared.used_by} == {"ratios", "rates"}
    assert str(shared.checkpoint).endswith("/checkpoints/best.ckpt")
    alone = plan_of(rates, settings=Settings(OUT, seeds=[42]))
    assert set(alone.runs) == {key for trial in second for key in trial.values()}
    assert [stage for stage in alone.runs.values() if stage.upstream] == [
        run for run in alone.runs.values() if run.stage == "zero_shot"
    ]

"""What a run is known by: results decide, not where, when or how it was run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contextblip.sweeps.identity import digest, identify, inputs_shown, short_fingerprint
from contextblip.sweeps.inputs import fingerprint_images, fingerprint_path, fingerprint_root
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings
from contextblip.sweeps.resolving import Resolver

OUT = Path("out")
RESOLVER = Resolver()  # keeps what several tests ask for
FIT = ["fit", "--config", "experiments/pretrain.yaml"]
TEST = ["test", "--config", "experiments/zero_shot.yaml"]
EVALUATE = {"name": "zero_shot", "command": "test", "configs": ["experiments/zero_shot.yaml"]}


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
    def same(*words: str, upstream: str | None = None) -> bool:
        hashes = {hash_of(*words, f"--seed_everything={seed}", upstream=upstream) for seed in (1, 2)}
        return len(hashes) == 1

    plain = [*TEST, "--model.adapter_layers=[]"]
    assert same(*plain)
    assert not same(*plain, "--model.backbone=random:miniature")
    assert not same(*TEST), "an adapter that no file gives is drawn"
    assert same(*TEST, upstream="a best")
    assert same(*TEST, "--model.init_from=adapter.ckpt")
    assert not same("test", "--config", "experiments/finetune.yaml")


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


def test_new_weights_and_a_new_generator_are_new_runs_whose_rows_say_so(
    write: Write, plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise committed rows would silently stand for another backbone or world."""
    settings = Settings(OUT, values={"data.root": "miniature:world", "model.backbone": "weights/own"})
    weights = Path("weights/own/model.safetensors")
    weights.parent.mkdir()
    weights.write_bytes(b"first")

    def shown() -> tuple[list[str], list[str], set[str], set[str]]:
        runs = list(plan_of(write(), settings=settings).runs.values())
        inputs = [inputs_shown(run.identity) for run in runs]
        return (
            [run.hash for run in runs],
            [run.configuration for run in runs],
            {each["backbone"] for each in inputs},
            {each["data"] for each in inputs},
        )

    hashes, configurations, backbones, worlds = shown()
    weights.write_bytes(b"second")
    with_weights = shown()
    monkeypatch.setattr("data_modules.miniature.GENERATOR_VERSION", 99)
    with_generator = shown()
    assert not set(hashes) & set(with_weights[0])
    assert not set(configurations) & set(with_weights[1])
    assert not set(with_weights[0]) & set(with_generator[0])
    assert len(backbones) == len(worlds) == 1  # of pre-training and test alike
    assert (with_weights[2] != backbones, with_weights[3]) == (True, worlds)
    assert (with_generator[2], with_generator[3] != worlds) == (with_weights[2], True)


def test_a_configuration_is_what_seeds_have_in_common(write: Write, plan_of: PlanOf) -> None:
    runs = plan_of(write(seeds=[1, 2])).runs.values()
    assert len({run.hash for run in runs}) == 8
    by_stage = {
        stage: {run.configuration for run in runs if run.stage == stage}
        for stage in ("pretrain", "zero_shot")
    }
    # a ratio of the pre-training is one of the test that starts from it
    assert [len(found) for found in by_stage.values()] == [2, 2]
    assert not by_stage["pretrain"] & by_stage["zero_shot"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        ("random:base", "random:base"),
        ("org/name", "org/name"),
        ("sha256:" + "0123456789abcdef" * 4, "0123456789ab"),
    ],
)
def test_fingerprints_are_shown_short(value: str | None, shown: str) -> None:
    assert short_fingerprint(value) == shown


def test_fingerprints_of_several_parts_are_shown_as_one() -> None:
    first, second = (f"sha256:{digit * 64} sha256:{'0' * 64}" for digit in "ab")
    assert len(short_fingerprint(first)) == 12
    assert short_fingerprint(first) != short_fingerprint(second)
    assert short_fingerprint('miniature:{"seed": 0}').startswith("miniature:")
    assert short_fingerprint('miniature:{"seed": 0}') != short_fingerprint('miniature:{"seed": 1}')


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


def test_the_roots_own_files_count_beside_a_data_sets_folder(tmp_path: Path) -> None:
    """They are looked for there first."""
    (tmp_path / "imagecode").mkdir()
    found = set()
    for text in ("{}", "{ }"):
        (tmp_path / "valid_data.json").write_text(text)
        found.add(fingerprint_root(str(tmp_path), "data_modules.ImageCoDeDataModule"))
    (tmp_path / "valid_data.json").unlink()
    for name in ("ImageCoDe", "data"):  # other names that its folder may have
        (tmp_path / name).mkdir()
        (tmp_path / name / "valid_data.json").write_text(name)
        found.add(fingerprint_root(str(tmp_path), "data_modules.ImageCoDeDataModule"))
    assert len(found) == 4


def test_files_beside_many_images_count(tmp_path: Path) -> None:
    for number in range(501):
        (tmp_path / f"{number}.jpg").touch()
    found = set()
    (tmp_path / "annotations").mkdir()
    for place, text in (("train.json", "{}"), ("train.json", "{ }"), ("annotations/train.json", "{}")):
        (tmp_path / place).write_text(text)
        found.add(fingerprint_root(str(tmp_path), "data_modules.CaptionDataModule"))
    assert len(found) == 3


def test_folders_of_images_count_by_names_sizes_and_some_contents(tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in ("a", "same", "content", "size", "name", "none")}
    for name, root in roots.items():
        (root / "set").mkdir(parents=True)
        if name != "none":
            file = root / "set" / ("img1.jpg" if name == "name" else "img0.jpg")
            file.write_bytes({"size": b"xx", "content": b"y"}.get(name, b"x"))
    hashes = {name: hash_of(*TEST, f"--data.image_root={root}") for name, root in roots.items()}
    assert hashes.pop("same") == hashes["a"]
    assert len(set(hashes.values())) == 5
    circle = tmp_path / "circle" / "set"
    shutil.copytree(roots["a"] / "set", circle)
    (circle / "again").symlink_to(circle.parent)
    assert fingerprint_images(str(circle.parent)) == fingerprint_images(str(roots["a"]))
    captions = "--data.image_root={coco: %s}"
    assert hash_of(*FIT, captions % roots["size"]) != hash_of(*FIT, captions % roots["name"])
    assert hash_of(*FIT, captions % roots["same"]) == hash_of(*FIT, captions % roots["a"])


@pytest.mark.parametrize(("multiplies", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_an_automatic_precision_is_settled_for_all_machines(
    multiplies: bool, precision: str, write: Write, plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contextblip.cli.hardware.multiplies_bf16", lambda _: multiplies)
    (automatic,), (named,) = (
        plan_of(
            write(stages=[EVALUATE | {"arguments": {"trainer.precision": value}}], axes=None)
        ).runs.values()
        for value in ("auto", precision)
    )
    assert automatic.hash == named.hash
    assert automatic.words[-1] == f"--trainer.precision={precision}"


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

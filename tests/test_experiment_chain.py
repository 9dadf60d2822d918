"""The paper's stages hand their weights on; what was asked for reaches the model and the files of a run."""

import json
from pathlib import Path

import pytest
import yaml

from contextblip.cli import main
from contextblip.summary import summarize

ROOT = Path(__file__).parents[1]


def tiny(world: Path, backbone: Path, folder: Path) -> list[str]:
    return [
        *("--model.backbone", str(backbone), "--data.root", str(world)),
        *("--data.num_workers", "0", "--run_dir", str(folder / "run")),
        *("--data.batch_size", "4", "--trainer.accelerator", "cpu"),
    ]


def run(command: str, name: str, world: Path, backbone: Path, folder: Path, *extra: str) -> None:
    config = ["--config", str(ROOT / "experiments" / f"{name}.yaml")]
    common = [
        word for word in tiny(world, backbone, folder) if word not in ("--run_dir", str(folder / "run"))
    ]
    limit = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"] if command == "fit" else []
    limit += [] if name == "mmvp_vlm" else ["--data.global_batch_size", "8"]
    main([command, *config, *common, *limit, *extra])


def test_the_chain_from_captions_to_accuracies(world: Path, backbone: Path, tmp_path: Path) -> None:
    """Pre-train, zero-shot, stage one, stage two, MMVP-VLM and predict hand their weights on."""

    def stage(command: str, name: str, run_dir: str, *extra: str) -> Path:
        run(command, name, world, backbone, tmp_path, "--run_dir", str(tmp_path / run_dir), *extra)
        return tmp_path / run_dir

    pretrain = stage("fit", "pretrain", "pretrain", "--model.decoder_heads", "4")
    adapted = ["--model.init_from", str(pretrain / "checkpoints" / "last.ckpt")]
    zero_shot = stage("test", "zero_shot", "zero_shot", *adapted)
    one = stage("fit", "finetune", "stage_one", *adapted)
    stage("test", "finetune", "stage_one", "--ckpt_path", str(one / "checkpoints" / "last.ckpt"))
    fine_tuned = ["--model.init_from", str(one / "checkpoints" / "last.ckpt")]
    two = stage("fit", "inter_context", "stage_two", *fine_tuned)
    last = two / "checkpoints" / "last.ckpt"
    stage("test", "inter_context", "stage_two", *fine_tuned, "--ckpt_path", str(last))
    stage("test", "mmvp_vlm", "mmvp", "--model.init_from", str(last))
    predicted = stage("predict", "inter_context", "predict", "--model.init_from", str(last))

    queries = sum(
        len(texts) for texts in json.loads((world / "imagecode/valid_data.json").read_text()).values()
    )
    summary = summarize(tmp_path)
    for name in ("zero_shot", "stage_one", "stage_two"):
        row = summary[name]
        assert row["n"] == queries == row["n_video"] + row["n_static"]
        whole = row["video"] * row["n_video"] + row["static"] * row["n_static"]
        assert row["all"] == pytest.approx(whole / queries, abs=1e-6)
    assert summary["mmvp"]["n_pairs"] == 135

    rows = [json.loads(line) for line in (zero_shot / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == queries
    right = [row["prediction"] == row["target"] for row in rows]
    assert summary["zero_shot"]["all"] == pytest.approx(sum(right) / queries, abs=1e-6)
    unlabelled = json.loads((world / "imagecode/test_data_unlabeled.json").read_text())
    rows = [json.loads(line) for line in (predicted / "predictions.jsonl").read_text().splitlines()]
    assert [(row["set"], row["text"]) for row in rows] == [
        (s, t) for s, texts in unlabelled.items() for t in texts
    ]
    assert {row["target"] for row in rows} == {None}


def test_a_test_run_twice_gives_identical_predictions(world: Path, backbone: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        run("test", "zero_shot", world, backbone, tmp_path, "--run_dir", str(tmp_path / name))
    first, second = ((tmp_path / name / "predictions.jsonl").read_bytes() for name in ("first", "second"))
    assert first
    assert first == second


def test_the_resolved_config_holds_what_was_asked_for(world: Path, backbone: Path, tmp_path: Path) -> None:
    """Overrides of mask ratio, downsampling rate and layers reach the model and config.yaml."""
    overrides = {"mask_ratio": 0.5, "downsampling_rate": 4, "adapter_layers": [12]}
    words = [word for key, value in overrides.items() for word in (f"--model.{key}", str(value))]
    configs = [ROOT / "experiments" / "pretrain.yaml", ROOT / "experiments" / "miniature" / "pretrain.yaml"]
    arguments = [word for config in configs for word in ("--config", str(config))]
    budget = [
        "--trainer.max_steps",
        "1",
        "--trainer.val_check_interval",
        "1",
        "--data.global_batch_size",
        "4",
    ]
    main(["fit", *arguments, *tiny(world, backbone, tmp_path), *budget, *words])
    resolved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert resolved["model"]["init_args"].items() >= overrides.items()
    import torch

    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    shapes = {name: tuple(t.shape) for name, t in checkpoint["state_dict"].items() if ".adapter." in name}
    assert shapes == {
        "model.adapter.down.0.weight": (6, 24),
        "model.adapter.up.weight": (24, 6),
        "model.adapter.gate": (),
    }


@pytest.mark.parametrize("name", ["pretrain", "backbone"])
def test_caption_tasks_can_be_tested(name: str, world: Path, backbone: Path, tmp_path: Path) -> None:
    heads = ["--model.decoder_heads", "4"] if name == "pretrain" else []
    run("test", name, world, backbone, tmp_path, "--run_dir", str(tmp_path / "run"), *heads)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"test/loss", "test/loss_itm", "test/accuracy_itm"} <= metrics.keys()


def test_init_from_refuses_other_layers_of_the_same_shape_and_the_mended_command_runs(
    world: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain = tmp_path / "pretrain"
    budget = ["--model.decoder_heads", "4", "--trainer.limit_val_batches", "1"]
    run("fit", "pretrain", world, backbone, tmp_path, "--run_dir", str(pretrain), *budget)
    adapted = ["--model.init_from", str(pretrain / "checkpoints" / "last.ckpt")]
    place = ["--run_dir", str(tmp_path / "zero_shot")]
    with pytest.raises(SystemExit) as stop:
        run(
            "test",
            "zero_shot",
            world,
            backbone,
            tmp_path,
            *adapted,
            *place,
            "--model.adapter_layers",
            "[1,2,3,4]",
        )
    assert stop.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "was trained with adapter_layers [3, 6, 9, 12], this model has [1, 2, 3, 4]" in message
    run("test", "zero_shot", world, backbone, tmp_path, *adapted, *place)
    assert (tmp_path / "zero_shot" / "config.yaml").is_file()


def test_a_mask_ratio_on_the_command_line_beats_the_checkpoints(
    world: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--run_dir", str(tmp_path / "run"), "--model.decoder_heads", "4"]
    run("fit", "pretrain", world, backbone, tmp_path, *place, "--model.mask_ratio", "0.5")
    again = ["--ckpt_path", str(tmp_path / "run" / "checkpoints" / "last.ckpt"), "--model.mask_ratio", "0.75"]
    run("validate", "pretrain", world, backbone, tmp_path, *place, *again)
    assert "model.mask_ratio: 0.5 -> 0.75" in capsys.readouterr().out
    resolved = yaml.safe_load((tmp_path / "run" / "config_validate.yaml").read_text())
    assert resolved["model"]["init_args"]["mask_ratio"] == 0.75


def test_the_runs_seed_orders_the_data(monkeypatch: pytest.MonkeyPatch, world: Path, backbone: Path) -> None:
    from data_modules import ImageCoDeDataModule

    orders = []
    for seed in ("1", "1", "2"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        module = ImageCoDeDataModule(str(backbone), str(world), num_workers=0, batch_size=4)
        module.setup("fit")
        batches = list(module.train_dataloader())
        orders.append([query["text"] for batch in batches for query in batch["queries"]])
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]

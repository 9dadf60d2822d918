"""`lightning sweep`: its arguments, and a real sweep of two tiny chains."""

import argparse
import csv
import json
import sys
from pathlib import Path

import pytest
import yaml

from contextblip.cli.sweep_verb import add_sweep_arguments, run_sweep
from contextblip.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def call(*words: str) -> None:
    parser = argparse.ArgumentParser()
    add_sweep_arguments(parser)
    run_sweep(parser.parse_args(list(words)))


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    """Pre-training and zero-shot test at two mask ratios."""
    experiments = ROOT / "experiments"
    stages = [
        {"name": "pretrain", "command": "fit", "configs": [str(experiments / "pretrain.yaml")]},
        {
            "name": "zero_shot",
            "command": "test",
            "configs": [str(experiments / "zero_shot.yaml")],
            "init_from": "pretrain",
        },
    ]
    content = {
        "name": "tiny",
        "paper": "table5",
        "stages": stages,
        "axes": [{"key": "model.mask_ratio", "values": [0.25, 0.5]}],
        "seeds": [7],
        "measures": {"zero_shot": ["accuracy", "accuracy_video"]},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_dry_run_shows_the_plan_and_runs_nothing(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(str(sweep_file), "--dry_run", "--seeds", "1", "2")
    said = capsys.readouterr().out
    assert said.count("pretrain-") == said.count("zero_shot-") == 4
    assert "4 trials of 8 stages are 8 runs, 0 of them shared; 8 to do" in said
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "data.root"], "--set data.root: expected KEY=VALUE"),
        (["--ray", "auto", "--workers", "2"], "--workers is for this machine"),
        (["--overlay", "nowhere"], "--overlay nowhere: no such folder"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, sweep_file: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call(str(sweep_file), *words)


def test_without_ray_its_extra_is_named(sweep_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"--ray needs ray: pip install contextblip\[ray\]"):
        call(str(sweep_file), "--ray", "auto")


@pytest.mark.slow
def test_a_real_sweep(
    sweep_file: Path, world: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four commands in processes of their own; a second call runs none."""
    tiny = {
        "model.backbone": backbone,
        "data.root": world,
        "data.num_workers": 0,
        "data.batch_size": 4,
        "data.global_batch_size": 4,
        "model.decoder_heads": 4,
        "trainer.accelerator": "cpu",
        "trainer.max_steps": 2,
        "trainer.val_check_interval": 1,
        "trainer.limit_val_batches": 1,
        "trainer.limit_test_batches": 2,
    }
    words = [str(sweep_file), "--workers", "2", "--set", *(f"{key}={value}" for key, value in tiny.items())]
    call(*words)
    out = Path("runs/sweeps")
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["stage"] for row in rows) == ["pretrain"] * 2 + ["zero_shot"] * 2
    tested = [row for row in rows if row["stage"] == "zero_shot"]
    for row in tested:
        metrics = json.loads((out / "runs" / f"zero_shot-{row['hash'][:12]}" / "metrics.json").read_text())
        assert float(row["accuracy"]) == metrics["test/accuracy"]
        assert int(row["n/accuracy"]) == metrics["n/test/accuracy"] == 8
    configs = [yaml.safe_load(path.read_text()) for path in sorted(out.glob("runs/pretrain-*/config.yaml"))]
    assert {config["model"]["init_args"]["mask_ratio"] for config in configs} == {0.25, 0.5}
    assert {config["seed_everything"] for config in configs} == {7}
    text = (out / "tiny" / "table.md").read_text()
    assert "Ours are measured on the miniature world" in text
    assert (out / "tiny" / "plot.png").is_file()
    capsys.readouterr()
    call(*words)
    assert "All 4 runs are there; none is run again." in capsys.readouterr().out

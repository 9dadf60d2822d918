"""Run folders as the commands leave them, with pieces missing or broken."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from contextblip.errors import ConfigurationError
from contextblip.groups import Share
from contextblip.runs import read_run


def config(task: str = "ZeroShot", root: str = "data", **keys: object) -> dict[str, Any]:
    data = {"root": root, "test_split": keys.pop("test_split", "valid")}
    return {
        "experiment": "zero_shot",
        "seed_everything": keys.pop("seed", 42),
        "model": {"class_path": f"contextblip.tasks.{task}", "init_args": keys},
        "data": {"class_path": "data_modules.ImageCoDeDataModule", "init_args": data},
    }


def write(folder: Path, metrics: dict[str, Any] | None = None, **configs: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    for name, content in configs.items():
        (folder / f"{name}.yaml").write_text(f"# a header\n{yaml.safe_dump(content)}")
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_tested_run(tmp_path: Path) -> None:
    metrics = {"test/accuracy": 0.25, "n/test/accuracy": 8, "test/loss": None}
    folder = write(tmp_path / "run", metrics, config=config())
    run = read_run(folder)
    assert (run.experiment, run.task, run.seed, run.dataset) == ("zero_shot", "ZeroShot", 42, "IMAGECODE")
    assert (run.world, run.split) == ("real", "valid")
    assert run.share("accuracy") == Share(0.25, 8)
    assert Share(0.25, 8).correct == 2
    assert run.share("accuracy_video") is None, "was not measured"
    assert run.share("loss") is None, "was not finite"
    assert run.missing_files == ["predictions.jsonl"]
    (folder / "predictions.jsonl").write_text('{"set": "a"}\n{"set": "b"}\n')
    assert run.is_complete
    assert [row["set"] for row in run.predictions()] == ["a", "b"]


def test_the_evaluating_commands_configuration_counts(tmp_path: Path) -> None:
    first, test = config("InterContext"), config("InterContext", test_split="test")
    again = config("InterContext", test_split="valid", seed=7)
    metrics = {"val/accuracy": 0.5, "n/val/accuracy": 4, "test/accuracy": 0.25, "n/test/accuracy": 8}
    folder = write(tmp_path / "run", metrics, config=first, config_test=test)
    assert read_run(folder).split == "test"
    assert read_run(folder).share("accuracy") == Share(0.25, 8)
    (folder / "config_test_10.yaml").write_text(yaml.safe_dump(again))
    (folder / "config_test_2.yaml").write_text(yaml.safe_dump(test))
    assert read_run(folder).seed == 7, "the tenth repetition is the last"


def test_a_recorded_configuration_counts_before_the_last(tmp_path: Path) -> None:
    metrics = {"val/accuracy": 0.5, "test/accuracy": 0.25, "n/test/accuracy": 8}
    first, stopped = config(), config(test_split="train", seed=7)
    folder = write(tmp_path / "run", metrics, config=first, config_test=first, config_test_1=stopped)
    assert read_run(folder).split == "train", "nothing better is known"
    record = {"metrics.json:test": "config_test.yaml", "metrics.json:val": "config.yaml"}
    (folder / "configs.json").write_text(json.dumps(record))
    assert (read_run(folder).split, read_run(folder).config_file) == ("valid", "config_test.yaml")
    (folder / "config_test.yaml").unlink()
    assert read_run(folder).config_file == "config_test_1.yaml"
    (folder / "configs.json").write_text("[1]")
    with pytest.raises(ConfigurationError, match="configs.json is not one object; repeat the run"):
        read_run(folder)
    (folder / "configs.json").write_text('{"metrics.json:test": 1}')
    with pytest.raises(ConfigurationError, match="configs.json is not one object of names; repeat the run"):
        read_run(folder)


def test_answers_of_another_command_keep_their_own_configuration(tmp_path: Path) -> None:
    metrics = {"test/accuracy": 0.25, "n/test/accuracy": 8}
    folder = write(tmp_path / "run", metrics, config=config(), config_test=config(score="itc"))
    assert read_run(folder).answering().model == {"score": "itc"}, "as nothing else is recorded"
    record = {"metrics.json:test": "config_test.yaml", "predictions.jsonl": "config.yaml"}
    (folder / "configs.json").write_text(json.dumps(record))
    run = read_run(folder)
    assert (run.model, run.answering().model) == ({"score": "itc"}, {})
    assert run.answering().answering().config_file == "config.yaml"


def test_validation_is_the_validation_split_and_never_fills_gaps_of_a_test(tmp_path: Path) -> None:
    validated = {
        "val/accuracy": 0.5,
        "n/val/accuracy": 4,
        "val/accuracy/spatial": 1.0,
        "n/val/accuracy/spatial": 1,
    }
    run = read_run(write(tmp_path / "fitted", validated, config=config(test_split="test")))
    assert (run.split, run.share("accuracy"), run.is_complete) == ("valid", Share(0.5, 4), True)
    tested = validated | {"test/accuracy": 0.25, "n/test/accuracy": 8}
    run = read_run(write(tmp_path / "tested", tested, config=config(test_split="test")))
    assert run.share("accuracy") == Share(0.25, 8)
    assert run.share("accuracy/spatial") is None


def test_mmvp_and_other_data_are_named(tmp_path: Path) -> None:
    content = config("InterContext")
    content["data"] = {
        "class_path": "data_modules.MMVPVLMDataModule",
        "init_args": {"root": "miniature:data"},
    }
    run = read_run(
        write(tmp_path / "mmvp", {"test/pair_accuracy": 1.0, "n/test/pair_accuracy": 2}, config=content)
    )
    assert (run.dataset, run.split, run.world) == ("MMVP-VLM", "mmvp_vlm", "miniature")


def test_a_drawn_world_is_a_miniature_by_whatever_path_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "imagecode").mkdir(parents=True)
    (tmp_path / "data" / "miniature.json").write_text("{}")
    for number, root in enumerate(("data", "data/imagecode", str(tmp_path / "data"))):
        run = read_run(write(tmp_path / "runs" / str(number), {}, config=config(root=root)))
        assert run.world == "miniature", root


def test_upstream_is_found_through_the_training_configuration(tmp_path: Path) -> None:
    pretrain = write(tmp_path / "runs" / "pretrain", {}, config=config("Pretraining", mask_ratio=0.5))
    fitted = config("FineTuning", init_from="runs/pretrain/checkpoints/last.ckpt")
    tested = config("FineTuning", init_from=None) | {"ckpt_path": "runs/stage/checkpoints/best.ckpt"}
    stage = write(tmp_path / "runs" / "stage", {"test/accuracy": 0.5}, config=fitted, config_test=tested)
    (stage / "checkpoints").mkdir()
    found = read_run(stage).upstream()
    assert found is not None
    assert found.folder == pretrain
    assert found.model["mask_ratio"] == 0.5
    assert found.upstream() is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"run is no run folder, it has no config.yaml$"),
        ({"inner/config.yaml": "a: 1"}, r"it has no config.yaml; it holds runs: .*run/inner$"),
        ({"config.yaml": "a: ["}, r"config.yaml cannot be read as YAML \(while parsing .*\); repeat the run"),
        ({"config.yaml": "- 1"}, "config.yaml holds no keys"),
        ({"config.yaml": "model: {}"}, "config.yaml has no model.class_path"),
        (
            {"config.yaml": yaml.safe_dump(config()), "metrics.json": "{"},
            r"metrics.json is no JSON \(.*\); repeat",
        ),
        ({"config.yaml": yaml.safe_dump(config()), "metrics.json": "[1]"}, "metrics.json is not one object"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    with pytest.raises(ConfigurationError, match=message) as error:
        read_run(folder)
    assert "\n" not in str(error.value)


def test_missing_folders_numbers_and_answers(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent is no folder: give the folder of a run"):
        read_run(tmp_path / "absent")
    run = read_run(write(tmp_path / "run", config=config()))
    assert run.missing_files == ["metrics.json", "predictions.jsonl"]
    with pytest.raises(ConfigurationError, match="predictions.jsonl not found: `lightning test` or"):
        run.predictions()
    (run.folder / "predictions.jsonl").write_text('{"set": "a"}\n{"set"')
    with pytest.raises(ConfigurationError, match="predictions.jsonl, line 2 is no JSON"):
        run.predictions()

"""Later beats earlier, and nothing that was given is lost in silence."""

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

Run = Callable[[str], None]
Fail = Callable[[str], tuple[int, str]]

DRY = "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --trainer.max_epochs 1"


def resolved(number: int = 0) -> Any:  # noqa: ANN401  # YAML holds anything
    """Read a run's configuration."""
    return yaml.safe_load(Path(f"runs/default/version_{number}/config.yaml").read_text())


def test_defaults_then_files_from_left_to_right_then_the_line(run: Run) -> None:
    Path("lightning_cli.yaml").write_text(
        "seed_everything: 7\ntrainer: {log_every_n_steps: 1, max_epochs: 9}\n"
    )
    Path("a.yaml").write_text("model: {init_args: {mask_ratio: 0.1, lr: 0.1, width: 2}}\n")
    Path("b.yaml").write_text("model: {init_args: {lr: 0.2, width: 3}}\n")
    # The line wins wherever it stands
    run(f"fit --model.width 5 --config toy.yaml --config a.yaml --config=b.yaml {DRY}")
    config = resolved()
    assert config["seed_everything"] == 7
    assert config["trainer"]["log_every_n_steps"] == 1
    assert config["trainer"]["max_epochs"] == 1
    arguments = config["model"]["init_args"]
    assert (arguments["mask_ratio"], arguments["lr"], arguments["width"]) == (0.1, 0.2, 5)


def test_defaults_are_found_upwards_else_in_the_package(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("lightning_cli.yaml").write_text("seed_everything: 7\n")
    below = Path("some/where")
    below.mkdir(parents=True)
    shutil.copy("toy.yaml", below)
    monkeypatch.chdir(below)
    run(f"fit --config toy.yaml {DRY}")
    assert resolved()["seed_everything"] == 7
    Path("../../lightning_cli.yaml").unlink()
    run(f"fit --config toy.yaml {DRY}")
    packaged = yaml.safe_load((files("contextblip") / "lightning_cli.yaml").read_text())
    assert resolved(1)["seed_everything"] == packaged["seed_everything"] == 42
    assert len(resolved(1)["trainer"]["callbacks"]) == len(packaged["trainer"]["callbacks"])


def test_callbacks_are_replaced_or_appended(run: Run) -> None:
    Path("lightning_cli.yaml").write_text("trainer: {callbacks: [{class_path: callbacks.MetricsWriter}]}\n")
    Path("more.yaml").write_text("trainer:\n  callbacks+: [{class_path: callbacks.PredictionWriter}]\n")
    Path("other.yaml").write_text("trainer:\n  callbacks: [{class_path: callbacks.PredictionWriter}]\n")
    for number, name in enumerate(("more", "other")):
        run(f"fit --config toy.yaml --config {name}.yaml {DRY}")
        paths = [callback["class_path"] for callback in resolved(number)["trainer"]["callbacks"]]
        expected = ["callbacks.MetricsWriter", "callbacks.PredictionWriter"]
        assert paths == expected[number:]


def test_a_run_can_be_repeated_from_its_configuration(run: Run) -> None:
    run(f"fit --config toy.yaml --model.image_size 32 --run_dir first {DRY}")
    first = Path("first/config.yaml")
    run(f"fit --config {first}")
    assert resolved() == yaml.safe_load(first.read_text())
    assert resolved()["data"]["init_args"]["image_size"] == 32
    assert Path("runs/default/version_0/checkpoints/last.ckpt").is_file()


def test_a_key_that_an_earlier_file_gave_to_another_class_is_reported(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"fit --config toy.yaml --model toy_code.OtherTask {DRY}")
    assert capsys.readouterr().err.splitlines()[0] == (
        "warning: toy_code.OtherTask (command line) does not take model.mask_ratio (toy.yaml); left out"
    )


def test_a_value_of_another_type_is_reported_too(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    toy = Path("toy.yaml").read_text()
    Path("toy.yaml").write_text(toy.replace("mask_ratio: 0.5", "mask_strategy: random"))
    run(f"fit --config toy.yaml --model toy_code.OtherTask {DRY}")
    assert capsys.readouterr().err.splitlines()[0] == (
        "warning: toy_code.OtherTask (command line) does not take model.mask_strategy (toy.yaml); left out"
    )


def test_a_key_given_beside_the_class_that_lacks_it_is_an_error(fail: Fail) -> None:
    assert fail("fit --config toy.yaml --model.width 3 --model toy_code.OtherTask") == (
        2,
        "error: --model.width stands before --model.class_path toy_code.OtherTask, which does not take it",
    )
    assert fail("fit --config toy.yaml --model toy_code.OtherTask --model.width 3") == (
        2,
        "error: --model.width: toy_code.OtherTask has no such key",
    )


def test_a_link_that_cannot_be_followed_is_reported(
    run: Run, fail: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"fit --config toy.yaml --model.image_size 8 --data toy_code.PlainData {DRY}")
    said = capsys.readouterr().err.splitlines()
    assert "warning: toy_code.PlainData takes no backbone, so model.backbone 'abc' does not reach it" in said
    assert "warning: toy_code.PlainData takes no image_size, so model.image_size 8 does not reach it" in said
    Path("rootless.yaml").write_text(
        "model: {class_path: toy_code.RootlessTask}\n"
        "data: {class_path: toy_code.ToyData, init_args: {root: x}}\n"
    )
    assert fail("fit --config rootless.yaml")[1] == (
        "error: toy_code.RootlessTask has no key backbone, from which data.backbone is taken; "
        "set data.backbone"
    )


def test_a_value_that_a_link_would_replace_is_an_error(fail: Fail) -> None:
    assert fail("fit --config toy.yaml --data.image_size 3") == (
        2,
        "error: data.image_size 3 (command line) contradicts model.image_size None, from which it is taken; "
        "set model.image_size only",
    )

"""`fit --test_after`: which weights are tested, what stays, and what is refused before training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Run = Callable[[str], None]
Fail = Callable[[str], tuple[int, str]]

# Four batches an epoch
EXPERIMENT = """
trainer: {max_epochs: 3, accelerator: cpu, enable_model_summary: false, enable_progress_bar: false}
model: {class_path: toy_code.CountingTask, init_args: {backbone: abc}}
data: {class_path: toy_code.OneShelfData, init_args: {root: here}}
"""
COUNTING = "--config counting.yaml"
BY_ACCURACY = "--checkpoint.monitor val/accuracy"


@pytest.fixture(autouse=True)
def experiment() -> None:
    """Write it into the working folder of the test."""
    Path("counting.yaml").write_text(EXPERIMENT)


def metrics(folder: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "metrics.json").read_text())
    return content


def config_of_test(folder: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((Path(folder) / "config_test.yaml").read_text())
    return content


@pytest.mark.parametrize(
    ("which", "best_at", "tested"), [("best", 4, 4), ("best", 8, 8), ("best", 12, 12), ("last", 4, 12)]
)
def test_the_checkpoint_asked_for_is_tested(
    which: str, best_at: int, tested: int, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"fit {COUNTING} {BY_ACCURACY} --model.best_at {best_at} --test_after {which} --run_dir here")
    found = metrics("here")
    assert (found["test/accuracy"], found["n/test/accuracy"]) == (tested, 8)
    assert found["val/accuracy"] == best_at - 12  # what training measured stays beside
    said = capsys.readouterr().out
    assert f"test/accuracy  {tested}.0000  8" in said
    assert said.count("Run folder: here") == 1


@pytest.mark.parametrize(
    "limits",
    [
        "--trainer.max_steps 6",
        "--trainer.max_steps 6 --trainer.val_check_interval 4 --trainer.check_val_every_n_epoch null",
        "--trainer.max_epochs 3 --trainer.check_val_every_n_epoch 2",
        "--trainer.max_epochs 2 --trainer.val_check_interval 3",
        "--trainer.max_steps 3 --trainer.accumulate_grad_batches 2",
        "--trainer.max_epochs 2 --trainer.limit_train_batches 3 --trainer.check_val_every_n_epoch 5",
    ],
)
@pytest.mark.parametrize("which", ["best", "last"])
def test_wherever_training_stops_the_last_weights_are_validated(which: str, limits: str, run: Run) -> None:
    run(f"fit {COUNTING} {BY_ACCURACY} --model.best_at 99 --test_after {which} --run_dir here {limits}")
    found = metrics("here")
    assert found["val/accuracy"] == found["test/accuracy"] - 99
    assert found["test/accuracy"] == (12 if "max_epochs 3" in limits else 8 if "interval 3" in limits else 6)


def test_the_result_is_that_of_two_commands(run: Run) -> None:
    shared = f"{COUNTING} {BY_ACCURACY} --model.best_at 8 --data.global_batch_size 4"
    run(f"fit {shared} --test_after best --run_dir one")
    run(f"fit {shared} --run_dir two")
    run(f"test {shared} --run_dir two --ckpt_path best")
    assert metrics("one") == metrics("two")
    one, two = config_of_test("one"), config_of_test("two")
    assert one.pop("ckpt_path") == "one/checkpoints/best.ckpt"
    assert two.pop("ckpt_path") == "two/checkpoints/best.ckpt"
    assert one == two
    assert {path.name for path in Path("one").iterdir() if "events" not in path.name} == {
        path.name for path in Path("two").iterdir() if "events" not in path.name
    }
    run("test --config one/config_test.yaml --run_dir again")
    assert metrics("again")["test/accuracy"] == 8


def test_other_commands_pass_over_the_key_in_a_file(run: Run, fail: Fail) -> None:
    run(f"fit {COUNTING} --test_after last --run_dir here")
    run("validate --config here/config.yaml --run_dir there")
    assert yaml.safe_load(Path("there/config.yaml").read_text())["test_after"] is None
    assert fail(f"test {COUNTING} --test_after last") == (
        2,
        "error: --test_after is a key of fit; leave it out of test",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--test_after best", "checkpoint.monitor names no metric to choose by"),
        (f"--test_after best {BY_ACCURACY} --checkpoint.save_top_k 0", "checkpoint.save_top_k is 0"),
        (
            f"--test_after best {BY_ACCURACY} --trainer.limit_val_batches 0",
            "val/accuracy is never measured with trainer.limit_val_batches 0",
        ),
        ("--test_after last --checkpoint.save_last false", "checkpoint.save_last is false; set it to true"),
        ("--test_after last --trainer.enable_checkpointing false", "trainer.enable_checkpointing is false"),
        ("--test_after last --trainer.limit_test_batches 0", "trainer.limit_test_batches is 0"),
        ("--test_after lst", "did you mean last?"),
        ("--test_after last --data.root untestable", "no test split below untestable"),
        ("--test_after last --model toy_code.UntestableTask", "UntestableTask cannot be tested"),
        ("--test_after last --data toy_code.TrainingData", "TrainingData has no test split"),
    ],
)
def test_what_cannot_be_tested_is_refused_before_training(options: str, message: str, fail: Fail) -> None:
    classes = {"model": "toy_code.CountingTask", "data": "toy_code.OneShelfData"}
    if "toy_code" in options:  # the file's values for another class would be refused first
        Path("counting.yaml").write_text("{}")
        classes = {key: value for key, value in classes.items() if f"--{key}" not in options}
        given = " ".join(f"--{key} {value}" for key, value in classes.items())
        roots = "--data.root here" if "data" in classes else ""
        options = f"{given} {options} --model.backbone abc {roots}"
    status, said = fail(f"fit {COUNTING} {options}")
    assert status == 2
    assert message in said
    assert not list(Path().rglob("*.ckpt"))
    assert not list(Path().rglob("config*.yaml"))


def test_a_metric_that_was_never_measured(run: Run) -> None:
    """With no validation a metric of training is a choice, too."""
    run(
        f"fit {COUNTING} --trainer.limit_val_batches 0 --checkpoint.monitor train/loss --checkpoint.mode min "
        "--test_after best --run_dir here"
    )
    assert metrics("here")["test/accuracy"] in (4, 8, 12)


def test_a_trial_tries_the_test_too_and_leaves_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"fit {COUNTING} {BY_ACCURACY} --test_after best --trainer.fast_dev_run true")
    assert "test/accuracy  1.0000" in capsys.readouterr().out
    assert not list(Path().rglob("runs/**"))


def test_an_interrupted_training_is_not_tested(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(f"fit {COUNTING} {BY_ACCURACY} --model.interrupted_at 6 --test_after best --run_dir here")
    assert stop.value.code == 130
    assert "test/accuracy" not in capsys.readouterr().out
    assert "test/accuracy" not in metrics("here")
    assert not Path("here/config_test.yaml").exists()

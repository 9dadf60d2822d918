"""What a run leaves behind, where, and that runs never share a folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from contextblip.cli.config_file import free_name
from contextblip.cli.run_folder import HANDED_ON
from contextblip.runs import read_run

Run = Callable[[str], None]
Fail = Callable[[str], tuple[int, str]]

LOGLESS = {"config.yaml", "configs.json", "metrics.json", "provenance.json", "checkpoints"}
SHORT = "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --trainer.max_epochs 1"


def names(folder: str) -> set[str]:
    return {path.name.split(".tfevents")[0] for path in Path(folder).iterdir()}


def test_every_subcommand_leaves_its_configuration(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"fit --config toy.yaml --experiment a/b {SHORT}")
    assert capsys.readouterr().out.endswith("Run folder: runs/a/b/version_0\n")
    assert names("runs/a/b/version_0") == {
        "config.yaml", "configs.json", "metrics.json", "provenance.json", "events.out", "hparams.yaml",
        "checkpoints",
    }  # fmt: skip
    assert names("runs/a/b/version_0/checkpoints") == {"last.ckpt", "epoch=0-step=1.ckpt"}
    # Each can be given to the next, whichever subcommand wrote it
    for number, subcommand in enumerate(("validate", "test", "predict", "fit"), start=1):
        run(f"{subcommand} --config runs/a/b/version_{number - 1}/config.yaml")
        assert (Path(f"runs/a/b/version_{number}") / "config.yaml").is_file()


def test_the_configuration_says_what_wrote_it(run: Run) -> None:
    run(f"fit --config toy.yaml {SHORT}")
    first, second = Path("runs/default/version_0/config.yaml").read_text().splitlines()[:2]
    assert first.startswith("# contextblip 0.")
    assert ", lightning 2." in first
    assert second.startswith("# ")


def test_the_table_has_the_number_of_cases(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("test --config toy.yaml")
    said = capsys.readouterr().out
    assert "test/accuracy  0.5000  8" in said
    assert "n/test/accuracy" not in said
    assert json.loads(Path("runs/default/version_0/metrics.json").read_text()) == {
        "n/test/accuracy": 8,
        "test/accuracy": 0.5,
    }
    run("test --config toy.yaml --verbose false")
    assert "test/accuracy" not in capsys.readouterr().out


def test_a_folder_that_holds_a_run_is_refused(run: Run, fail: Fail) -> None:
    run(f"fit --config toy.yaml --run_dir here {SHORT}")
    assert fail("fit --config toy.yaml --run_dir here") == (
        2,
        "error: run_dir here already holds a run; "
        "choose another folder, or resume that run with --resume auto",
    )
    assert "or test that run with" in fail("test --config toy.yaml --run_dir here")[1]
    run("test --config toy.yaml --run_dir here --ckpt_path here/checkpoints/last.ckpt")
    run("test --config toy.yaml --run_dir here --ckpt_path last")
    assert {"config.yaml", "config_test.yaml", "config_test_1.yaml"} <= names("here")
    metrics = json.loads(Path("here/metrics.json").read_text())
    assert {"train/loss", "val/accuracy", "test/accuracy"} <= set(metrics)


@pytest.mark.parametrize("has_record", [True, False], ids=["recorded", "from before records"])
@pytest.mark.parametrize("reason", ["interrupt", "bug", "mistake"])
def test_a_test_that_was_stopped_relabels_nothing(reason: str, has_record: bool, run: Run) -> None:
    run(f"fit --config toy.yaml --run_dir here {SHORT}")
    test = "test --config toy.yaml --run_dir here --ckpt_path last"
    run(f"{test} --model.mask_ratio 0.5")
    before = Path("here/metrics.json").read_text()
    if not has_record:
        Path("here/configs.json").unlink()
    with pytest.raises(SystemExit):
        run(f"{test} --model.mask_ratio 0.9 --model.fails_with {reason}")
    assert Path("here/metrics.json").read_text() == before
    assert ("config_test_1.yaml" in names("here")) == (reason != "mistake"), "a mistake is taken back"
    found = read_run(Path("here"))
    assert (found.config_file, found.model["mask_ratio"]) == ("config_test.yaml", 0.5)
    run(f"{test} --model.mask_ratio 0.75")
    assert read_run(Path("here")).model["mask_ratio"] == 0.75


def test_numbers_of_validation_belong_to_the_command_that_validated_last(run: Run) -> None:
    run(f"fit --config toy.yaml --run_dir here {SHORT}")
    assert read_run(Path("here")).config_file == "config.yaml"
    run("validate --config toy.yaml --run_dir here --ckpt_path last --model.mask_ratio 0.5")
    assert read_run(Path("here")).config_file == "config_validate.yaml"
    run("fit --config toy.yaml --run_dir here --ckpt_path last --trainer.max_epochs 2")
    resumed = read_run(Path("here"))
    assert (resumed.config_file, resumed.config["ckpt_path"]) == ("config_fit.yaml", None)


def test_predictions_never_replace_the_answers_of_a_test(run: Run, fail: Fail) -> None:
    run(f"fit --config toy.yaml --run_dir here {SHORT}")
    predict = "predict --config toy.yaml --run_dir here --ckpt_path last"
    answers = Path("here/predictions.jsonl")
    answers.write_text('{"target": 0}\n')  # of an earlier predict: nothing rests on them
    run(predict)
    run("test --config toy.yaml --run_dir here --ckpt_path last")
    there = names("here")
    assert fail(predict) == (
        2,
        "error: run_dir here holds the answers of a test, which predict would replace; choose another folder "
        "and name the checkpoint with --ckpt_path",
    )
    assert names("here") == there
    run(f"{predict} --trainer.fast_dev_run true")
    run("predict --config toy.yaml --run_dir there --ckpt_path here/checkpoints/last.ckpt")
    answers.unlink()
    run(predict)


def test_names_of_configurations_replace_none(tmp_path: Path) -> None:
    given = []
    for _ in range(4):
        given.append(free_name(tmp_path, "test"))
        (tmp_path / given[-1]).touch()
    assert given == ["config.yaml", "config_test.yaml", "config_test_1.yaml", "config_test_2.yaml"]


def test_nothing_stays_of_a_run_that_never_began(fail: Fail) -> None:
    fail("fit --config toy.yaml --data.root missing")
    fail("fit --config toy.yaml --trainer.accelerator gup")
    assert not Path("runs/default").exists() or not any(Path("runs/default").iterdir())


def test_a_trial_of_one_batch_leaves_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit --config toy.yaml --trainer.fast_dev_run true")
    assert list(Path().rglob("runs/**")) == []
    assert "Run folder" not in capsys.readouterr().out


def test_commands_of_one_process_do_not_meet(run: Run) -> None:
    for number in range(2):
        run(f"fit --config toy.yaml {SHORT}")
        assert names("runs/default") == {f"version_{version}" for version in range(number + 1)}
    assert HANDED_ON not in os.environ


def test_a_process_that_lightning_launched_takes_rank_zeros_folder(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HANDED_ON, str(Path("chosen").absolute()))
    # A stale variable means nothing in rank zero
    run("validate --config toy.yaml")
    assert "runs/default/version_0" in capsys.readouterr().out
    monkeypatch.setenv(HANDED_ON, str(Path("chosen").absolute()))
    monkeypatch.setenv("NODE_RANK", "1")
    run("validate --config toy.yaml")
    assert names("runs/default") == {"version_0"}
    assert os.environ[HANDED_ON].endswith("chosen")


def test_the_job_names_the_folder_under_slurm(run: Run, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NTASKS": "1", "JOB_ID": "77", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    line = f"fit --config toy.yaml --trainer.devices 1 {SHORT}"
    run(line)
    assert names("runs/default") == {"job_77"}
    run(line)
    assert names("runs/default") == {"job_77", "job_77_1"}
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert "runs/default/job_77 already holds a run" in fail(line)[1]
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_STEP_ID", "1")
    run(line)
    assert names("runs/default") == {"job_77", "job_77_1", "job_77.1"}
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    run(line)
    assert names("runs/default") == {"job_77", "job_77_1", "job_77.1"}


def test_a_logger_of_the_users_stays(run: Run) -> None:
    run(f"fit --config toy.yaml --trainer.logger false {SHORT}")
    assert names("runs/default/version_0") == LOGLESS
    run(
        "fit --config toy.yaml --trainer.logger lightning.pytorch.loggers.CSVLogger "
        f"--trainer.logger.save_dir logs {SHORT}"
    )
    assert names("runs/default/version_1") == LOGLESS
    assert Path("logs/lightning_logs/version_0/metrics.csv").is_file()


def test_what_is_switched_off_needs_no_other_callbacks(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    off = "--trainer.enable_progress_bar false --trainer.enable_checkpointing false"
    run(f"fit --config toy.yaml {off} {SHORT}")
    assert capsys.readouterr().out == "Run folder: runs/default/version_0\n"
    assert "checkpoints" not in names("runs/default/version_0")
    assert "metrics.json" in names("runs/default/version_0")


def test_a_metric_that_is_never_measured_costs_no_checkpoint(run: Run) -> None:
    with pytest.warns(UserWarning, match="could not find the monitored key"):
        run(f"fit --config toy.yaml --checkpoint.monitor val/accuracy {SHORT} --trainer.limit_val_batches 0")
    assert names("runs/default/version_0/checkpoints") == {"last.ckpt"}

"""Each mistake ends as one line that names the key, value or file and the nearest valid choice."""

from collections.abc import Callable
from pathlib import Path

import pytest

from contextblip.cli import main

Run = Callable[[str], None]
Fail = Callable[[str], tuple[int, str]]

ON_THE_LINE = {
    "fit --config toy.yaml --model.mask_rat 0.5": (
        "--model.mask_rat: toy_code.ToyTask has no such key; did you mean --model.mask_ratio?"
    ),
    "fit --config toy.yaml --model.init_args.mask_rato 0.5": (
        "--model.mask_rato: toy_code.ToyTask has no such key; did you mean --model.mask_ratio?"
    ),
    "fit --config toy.yaml --mask_ratio 0.5": "--mask_ratio: no such key; did you mean --model.mask_ratio?",
    "fit --config toy.yaml --modle.mask_ratio 4": (
        "--modle.mask_ratio: no such key; did you mean --model.mask_ratio?"
    ),
    "fit --config toy.yaml --seed 3": "--seed: no such key; did you mean --seed_everything?",
    "fit --config toy.yaml --seed=3": "--seed: no such key; did you mean --seed_everything?",
    "fit --config toy.yaml --trainer.max_epoch 3": (
        "--trainer.max_epoch: no such key; did you mean --trainer.max_epochs?"
    ),
    "fit --config toy.yaml --checkpoint.moniter x": (
        "--checkpoint.moniter: no such key; did you mean --checkpoint.monitor?"
    ),
    "fit --config toy.yaml --trainer.max_epochs abc": (
        "--trainer.max_epochs: 'abc' is not a whole number or null"
    ),
    "fit --config toy.yaml --model.mask_ratio abc": "--model.mask_ratio: 'abc' is not a number",
    "fit --config toy.yaml --model.adapter_layers [3,a]": "--model.adapter_layers: 'a' is not a whole number",
    "fit --config toy.yaml --model.mask_strategy rondom": (
        "--model.mask_strategy: 'rondom' is not one of top, random, bottom; did you mean random?"
    ),
    "fit --config toy.yaml --model toy_code.ToyTsk": (
        "--model.class_path: there is no class toy_code.ToyTsk; did you mean toy_code.ToyTask?"
    ),
    "fit --config toy.yaml --model contextblip.tasks.ZeroShoot": (
        "--model.class_path: there is no class contextblip.tasks.ZeroShoot; "
        "did you mean contextblip.tasks.ZeroShot?"
    ),
    "fit --config toy.yaml --data data_modules.ImagecodeDataModul": (
        "--data.class_path: there is no class data_modules.ImagecodeDataModul; "
        "did you mean data_modules.ImageCoDeDataModule?"
    ),
    "fit --config toy.yaml --model torch.nn.Linear": (
        "--model.class_path: torch.nn.Linear is no LightningModule"
    ),
    "fit --model contextblip.tasks.Pretraining --model.backbone random:miniature --model.mask_ratio 1.75 "
    "--data toy_code.ToyData --data.root x": "mask_ratio is 1.75, but must lie between 0 and 1",
    "fit --model contextblip.tasks.FineTuning --model.backbone random:miniature --model.dropout 2 "
    "--data toy_code.ToyData --data.root x": "model.dropout is 2.0, expected a number from 0 to below 1",
    "fit --model contextblip.tasks.FineTuning --model.backbone random:miniature "
    "--data data_modules.ImageCoDeDataModule --data.root x --data.batch_size 0 --data.global_batch_size 4": (
        "data.batch_size is 0, but must be 1 or more"
    ),
    "fit --config toi.yaml": "--config toi.yaml: no such file; did you mean toy.yaml?",
    "fit --config": "--config needs a file",
    "fit --config toy.yaml extra": "unexpected word 'extra'; options look like --key value",
    "fit": "model and data are not given; name an experiment with --config, or give --model.class_path",
    "fit --model toy_code.ToyTask --data toy_code.ToyData --data.root x": (
        "toy_code.ToyTask needs model.backbone; give --model.backbone ... or set it in a --config file"
    ),
    "fit --config toy.yaml --trainer.accelerator gpu": "trainer: No supported gpu backend found!",
    "fit --config toy.yaml --trainer.accelerator gup": (
        "trainer: You selected an invalid accelerator name: `accelerator='gup'`."
    ),
    "fit --config toy.yaml --data.root missing": "no toys below missing; give --data.root",
    "fit --config toy.yaml --trainer.default_root_dir x": (
        "trainer.default_root_dir is the run folder here; use --run_dir"
    ),
    "fit --config toy.yaml --trainer.logger.save_dir x": (
        "--trainer.logger: lightning.pytorch.loggers.Logger is abstract; "
        "name a class with --trainer.logger=..."
    ),
    "fit --config toy.yaml --experiment ../x": (
        "experiment '../x' must be a name below runs/; use --run_dir for a path"
    ),
    "test --config toy.yaml --ckpt_path nope.ckpt": "ckpt_path nope.ckpt: no such file",
    "test --config toy.yaml --ckpt_path best": (
        "ckpt_path best needs --run_dir, the folder of the run it belongs to; or give a path"
    ),
    "ftt --config toy.yaml": "no command 'ftt'; did you mean fit?",
    "--config toy.yaml": "no command given; commands: fit, validate, test, predict, ",
}


@pytest.mark.parametrize(("line", "message"), ON_THE_LINE.items())
def test_on_the_command_line(line: str, message: str, fail: Fail) -> None:
    status, said = fail(line)
    assert said.startswith(f"error: {message}")
    assert status == 2


IN_A_FILE = {
    ("mask_ratio", "mask_rato"): (
        "toy.yaml:10: model.mask_rato: toy_code.ToyTask has no such key; did you mean mask_ratio?"
    ),
    (
        "max_epochs",
        "max_epoch",
    ): "toy.yaml:3: trainer.max_epoch: no such key; did you mean trainer.max_epochs?",
    ("model:", "modle:"): "toy.yaml:6: modle: no such key; did you mean model?",
    (
        "init_args:\n    backbone",
        "init_arg:\n    backbone",
    ): "toy.yaml:9: model.init_arg.backbone: toy_code.ToyTask",
    ("toy_code.ToyTask", "toy_code.ToyTsk"): (
        "toy.yaml:7: model.class_path: there is no class toy_code.ToyTsk; did you mean toy_code.ToyTask?"
    ),
    ("0.5", "half"): "toy.yaml:10: model.mask_ratio: 'half' is not a number",
    ("accelerator: cpu", "precision: bf15-mixed"): (
        "toy.yaml:4: trainer.precision: 'bf15-mixed' is not one of auto, 64-true, 32-true, bf16-mixed"
    ),
    ("  max_epochs", " max_epochs"): "toy.yaml:4: no valid YAML: ",
    ("  accelerator: cpu", "  max_epochs: 3"): "toy.yaml:4: no valid YAML: key 'max_epochs' stands twice",
    ("", "# nothing"): "toy.yaml: is empty",
    ("", "trainer:"): "toy.yaml:1: trainer is empty; give it keys and values, or leave it out",
    ("", "- a"): "toy.yaml: must hold keys and values at its top",
    ("enable_model_summary: false", "callbacks: [{class_path: callbacks.MetricWriter}]"): (
        "toy.yaml:5: trainer.callbacks: there is no class callbacks.MetricWriter; "
        "did you mean callbacks.MetricsWriter?"
    ),
    (
        "enable_model_summary: false",
        "callbacks: [{class_path: callbacks.MetricsWriter, init_args: {filenam: x}}]",
    ): "toy.yaml:5: trainer.callbacks: callbacks.MetricsWriter has no key filenam; did you mean filename?",
}


@pytest.mark.parametrize(("change", "message"), IN_A_FILE.items(), ids=lambda value: repr(value)[:40])
def test_in_a_file(change: tuple[str, str], message: str, fail: Fail) -> None:
    old, new = change
    toy = Path("toy.yaml").read_text()
    assert old in toy
    Path("toy.yaml").write_text(toy.replace(old, new) if old else new)
    status, said = fail("fit --config toy.yaml")
    assert said.startswith(f"error: {message}")
    assert status == 2


def test_in_the_defaults(fail: Fail) -> None:
    Path("lightning_cli.yaml").write_text("trainer:\n  max_epoch: 3\n")
    folder = Path.cwd()
    assert fail("fit --config toy.yaml") == (
        2,
        f"error: {folder}/lightning_cli.yaml:2: trainer.max_epoch: no such key; "
        "did you mean trainer.max_epochs?",
    )


def test_missing_file_of_an_experiment_elsewhere(fail: Fail) -> None:
    Path("experiments/miniature").mkdir(parents=True)
    Path("experiments/miniature/tiny.yaml").write_text("experiment: tiny\n")
    assert fail("fit --config tiny.yaml")[1].endswith("did you mean experiments/miniature/tiny.yaml?")


def test_classes_outside_the_project_need_leave(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", "toy.yaml"])
    assert capsys.readouterr().err == (
        "error: toy.yaml:7: model.class_path: toy_code.ToyTask is outside the packages that a configuration "
        "may name; --allow-code lifts this for code that you trust\n"
    )


def test_leave_ends_with_the_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit --config toy.yaml --trainer.fast_dev_run true")
    with pytest.raises(SystemExit):
        main(["fit", "--config", "toy.yaml"])
    assert "is outside the packages" in capsys.readouterr().err


def test_a_bug_is_called_internal_and_names_its_place(fail: Fail) -> None:
    status, said = fail("fit --config toy.yaml --model.fails_with bug")
    assert status == 1
    assert said.startswith("error: internal error at ")
    assert "toy_code.py:" in said
    assert said.endswith("RuntimeError: this is not expected; run again with --debug for the traceback")


def test_debug_shows_the_traceback(run: Run) -> None:
    with pytest.raises(RuntimeError, match="not expected"):
        run("--debug fit --config toy.yaml --model.fails_with bug")


def test_out_of_memory(fail: Fail) -> None:
    status, said = fail("fit --config toy.yaml --model.fails_with memory")
    assert status == 1
    assert said == (
        "error: out of memory; lower --data.batch_size (CUDA out of memory. Tried to allocate 2.00 GiB)"
    )


def test_interrupted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("fit --config toy.yaml --model.fails_with interrupt")
    assert stop.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"

"""Help begins with the experiment's own keys; what needs no torch does not load it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contextblip import __version__
from contextblip.cli import main

Run = Callable[[str], None]


def test_an_experiments_keys_come_first(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (
        "fit --config toy.yaml --model.mask_ratio 0.3 --help",
        "--help fit --config toy.yaml --model.mask_ratio 0.3",
        "fit -h --model.mask_ratio 0.3 --config toy.yaml",
    ):
        with pytest.raises(SystemExit) as stop:
            run(line)
        assert stop.value.code == 0
        said = capsys.readouterr().out.splitlines()
        assert said[:4] == [
            "usage: lightning fit --config toy.yaml [--key value ...]",
            "",
            "model: toy_code.ToyTask",
            "A linear layer.",
        ]
        keys = [row.split()[0] for row in said if row.startswith("--")]
        order = [
            "--model.mask_ratio",
            "--data.root",
            "--run_dir",
            "--checkpoint.monitor",
            "--trainer.max_epochs",
        ]
        assert [key for key in keys if key in order] == order
        assert said[6].split() == [
            "--model.mask_ratio",
            "0.3",
            "(float)",
            "Share",
            "of",
            "hidden",
            "patches.",
        ]
        assert any("--data.backbone" in row and "taken from model.backbone" in row for row in said)
        assert any("(top|random|bottom)" in row for row in said)
        assert max(map(len, said)) <= 110


def test_required_keys_may_be_missing_in_help(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("fit --model contextblip.tasks.ZeroShot --data data_modules.ImageCoDeDataModule --help")
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--model.backbone" in said
    assert "--data.root" in said


def test_help_runs_no_foreign_code(capsys: pytest.CaptureFixture[str]) -> None:
    Path("foreign.py").write_text("raise SystemExit('ran')")
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--model", "foreign.Task", "--help"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "error: model.class_path: foreign is outside the packages that a configuration may name\n"
    )


def test_plain_help_says_how_to_see_an_experiments_keys(capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("miniature", "sweeps"):
        Path(f"experiments/{folder}").mkdir(parents=True)
    for name in ("finetune", "pretrain", "miniature/pretrain", "sweeps/tables"):
        Path(f"experiments/{name}.yaml").touch()
    main(["fit", "--help"])
    said = capsys.readouterr().out
    assert re.search(r"\n  checkpoint\.\* +what is kept", said)
    assert (
        "\n  experiments/finetune.yaml\n  experiments/pretrain.yaml\n  experiments/miniature/  1 to lay"
        in said
    )
    assert "\n  experiments/sweeps/  1 for lightning sweep\n" in said
    assert "lightning fit --config experiments/pretrain.yaml --help" in said
    main(["--help"])
    assert re.search(r"\n  convert +rewrite a backbone's weights", capsys.readouterr().out)


def test_no_words_is_a_mistake_that_gets_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert capsys.readouterr().out.startswith("usage: lightning COMMAND")


def test_print_config(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("fit --config toy.yaml --model.mask_ratio 0.3 --print_config")
    assert stop.value.code == 0
    assert "mask_ratio: 0.3" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_version_and_help_do_without_torch() -> None:
    code = (
        "import sys; from contextblip.cli import main\n"
        "for words in (['--version'], ['--help'], ['fit', '--help']): main(words)\n"
        "try: main(['convert', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"contextblip {__version__}\n")
    assert "--to {contextblip,salesforce,huggingface}" in done.stdout

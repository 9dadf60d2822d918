"""A configuration from a stranger runs no code, reads no address and cannot grow out of a few lines."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from contextblip.cli import main
from contextblip.errors import ConfigurationError, DatasetError
from contextblip.runs import read_run
from contextblip.sweeps.definition import read_sweeps
from data_modules.imagecode_files import read_annotations

Refused = Callable[..., str]
SHELL = 'init_args: {args: [touch, ran], command: touch ran, cmd: touch ran, source: \'open("ran", "w")\'}'
LAUGHS = "\n".join(
    ["a0: &a0 {x: 1, y: 2}", *(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 40))]
)
LISTS = "\n".join(["a0: &a0 [1, 2]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))])


@pytest.fixture
def refused(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command with a configuration that must end in one line, with nothing run."""
    (checkout / "foreign.py").write_text("import pathlib\npathlib.Path('ran').touch()\nclass Task: pass\n")
    monkeypatch.syspath_prepend(checkout)

    def run(config: str, *words: str) -> str:
        Path("stranger.yaml").write_text(config)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([*(words or ("fit",)), "--config", "stranger.yaml"])
        said = capsys.readouterr().err.splitlines()
        assert not Path("ran").exists()
        assert stop.value.code == 2, said
        assert len(said) == 1
        assert "internal error" not in said[0]
        return said[0]

    return run


@pytest.mark.parametrize("section", ["model", "data"])
@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.exec",
        "foreign.Task",
        "torch.load",
        "jsonargparse.set_parsing_settings",
        "lightning.pytorch.cli.set_parsing_settings",
        "contextblip.cli.parser.set_parsing_settings",
        "contextblip.cli.stopping.subprocess.Popen",
        "contextblip.checkpoints.files.shutil.rmtree",
        "contextblip.checkpoints.files.pickle.loads",
        "lightning.pytorch.LightningModule.load_from_checkpoint",
        "lightning.pytorch.LightningDataModule.load_from_checkpoint",
        "contextblip.tasks.ZeroShot.load_from_checkpoint",
    ],
)
def test_a_class_that_is_none_of_ours(section: str, name: str, refused: Refused) -> None:
    line = refused(f"{section}:\n  class_path: {name}\n  {SHELL}\n")
    assert f"{section}.class_path" in line or f"{section}:" in line
    assert name.rpartition(".")[2] in line


@pytest.mark.parametrize(
    "config",
    [
        "trainer: {callbacks: [{class_path: foreign.Task}]}",
        "trainer: {callbacks: [{class_path: subprocess.Popen, init_args: {args: [touch, ran]}}]}",
        "trainer: {logger: {class_path: foreign.Task}}",
        "trainer: {logger: [{class_path: os.system, init_args: {command: touch ran}}]}",
        "trainer: {strategy: {class_path: foreign.Task}}",
        "trainer: {plugins: [{class_path: foreign.Task}]}",
        "trainer: {profiler: {class_path: foreign.Task}}",
        "trainer: {accelerator: {class_path: foreign.Task}}",
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
        "init_args: {on_fit_start: foreign.Task}}]}",
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
        "init_args: {on_fit_start: os.system}}]}",
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
        "init_args: {on_fit_start: contextblip.cli.stopping.subprocess.run}}]}",
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
        "init_args: {on_fit_start: {class_path: functools.partial, init_args: {func: os.system}}}}]}",
        "model: {class_path: contextblip.tasks.ZeroShot, init_args: {backbone: {class_path: foreign.Task}}}",
    ],
)
def test_nor_further_down(config: str, refused: Refused) -> None:
    refused(config)


def test_nor_in_a_file_that_a_configuration_names(refused: Refused) -> None:
    Path("inner.yaml").write_text("class_path: foreign.Task\n")
    refused("model: inner.yaml\n")
    refused("trainer: {callbacks: [inner.yaml]}\n")


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict", "plan"])
def test_nor_for_another_command(verb: str, refused: Refused) -> None:
    refused("model: {class_path: foreign.Task}\n", verb)


def test_nor_in_a_checkpoints_hyper_parameters(refused: Refused, backbone: Path, world: Path) -> None:
    stored = {
        "_class_path": "foreign.Task",
        "_instantiator": "foreign.Task",
        "config": "!!python/name:os.system",
    }
    torch.save({"state_dict": {}, "hyper_parameters": stored}, "x.ckpt")
    words = ["test", "--config=experiments/zero_shot.yaml", f"--model.backbone={backbone}"]
    line = refused("experiment: x", *words, f"--data.root={world}", "--ckpt_path=x.ckpt")
    assert "x.ckpt was written by foreign.Task, this run uses contextblip.tasks.ZeroShot" in line


@pytest.mark.parametrize(
    "tag",
    [
        "object/apply:os.system [touch ran]",
        "object/new:foreign.Task {}",
        "name:foreign.Task ''",
        "module:foreign ''",
    ],
)
def test_tags_that_make_objects(tag: str, refused: Refused, tmp_path: Path) -> None:
    assert "stranger.yaml:1: no valid YAML: could not determine a constructor" in refused(
        f"experiment: !!python/{tag}\n"
    )
    path = tmp_path / "manual_annotation_valid.yaml"
    path.write_text(f"set: {{'0': !!python/{tag}}}\n")
    with pytest.raises(DatasetError, match="is no annotation file"):
        read_annotations(path)
    assert not Path("ran").exists()


@pytest.mark.parametrize("bomb", [LAUGHS, LISTS])
def test_aliases_of_aliases(bomb: str, refused: Refused, tmp_path: Path) -> None:
    line = refused(bomb)
    assert line == "error: stranger.yaml:1: no valid YAML: its aliases stand for more than 100,000 values"
    sweep, run = tmp_path / "sweep.yaml", tmp_path / "run"
    sweep.write_text(bomb)
    run.mkdir()
    (run / "config.yaml").write_text(bomb)
    for read, path in ((read_sweeps, sweep), (read_run, run)):
        with pytest.raises(ConfigurationError, match="its aliases stand for more than 100,000 values"):
            read(path)
    annotations = tmp_path / "manual_annotation_valid.yaml"
    annotations.write_text(bomb)
    with pytest.raises(
        DatasetError, match="no annotation file .its aliases stand for more than 100,000 values"
    ):
        read_annotations(annotations)


def test_an_alias_inside_of_what_it_names(refused: Refused) -> None:
    line = refused("experiment: x\nmodel: &m\n  init_args: *m\n")
    assert line == "error: stranger.yaml:2: no valid YAML: an alias stands inside of what it names"
    assert "inside of what it names" in refused("&a [*a]")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (LAUGHS, "1: no valid YAML: its aliases stand for more than 100,000 values"),
        ("x:\n  y: " + "[" * 100_000, "2: no valid YAML: its values are nested more than 100 levels deep"),
    ],
    ids=["aliases", "levels"],
)
def test_nor_in_a_further_file(text: str, wrong: str, refused: Refused) -> None:
    Path("inner.yaml").write_text(text)  # the parser's own loader would not survive it
    assert refused("model: inner.yaml\n") == f"error: stranger.yaml:1: model: inner.yaml:{wrong}"
    assert refused("experiment: x", "fit", "--model", "inner.yaml") == f"error: --model: inner.yaml:{wrong}"
    refused("trainer: {callbacks: [inner.yaml]}\n")


def test_a_further_file_with_a_slip_says_where(refused: Refused) -> None:
    Path("inner.yaml").write_text("class_path: contextblip.tasks.ZeroShot\ninit_args: [\n")
    assert "stranger.yaml:1: model: inner.yaml:3: no valid YAML" in refused("model: inner.yaml\n")


def test_nor_in_a_text(refused: Refused) -> None:
    brackets = "[" * 100_000
    wrong = "trainer.limit_val_batches: no valid YAML: its values are nested more than 100 levels deep"
    line = refused(f"trainer: {{limit_val_batches: '{brackets}'}}\n")
    assert line == f"error: stranger.yaml: {wrong}"
    line = refused("experiment: x", "fit", "--trainer.limit_val_batches", brackets)
    assert line == f"error: command line: {wrong}"


def test_honest_aliases_are_taken(refused: Refused) -> None:
    line = refused("x: &x {a: 1}\nmodel: {<<: *x, class_path: foreign.Task}\nnumbers: [*x, *x]\n")
    assert "no valid YAML" not in line


@pytest.mark.parametrize("text", ["[" * 5000, "{" * 5000, "a: " + "[" * 100_000, "? [a, b]\n: 1\n"])
def test_values_nested_without_end(text: str, refused: Refused, tmp_path: Path) -> None:
    assert "no valid YAML" in refused(text)
    path = tmp_path / "manual_annotation_valid.yaml"
    path.write_text(text)
    with pytest.raises(DatasetError, match="is no annotation file"):
        read_annotations(path)


@pytest.mark.parametrize(
    "address", ["https://example.invalid/x.yaml", "memory://x.yaml", "s3://bucket/x.yaml"]
)
def test_configurations_elsewhere_are_not_fetched(
    address: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("fsspec.open", fetch)
    assert f"--config {address}: runs fetch nothing from elsewhere" in refused("", "fit", "--config", address)
    refused(f"model: {address}\n")
    refused(f"trainer: {{callbacks: {address}}}\n")


def test_names_of_variables_stay_as_they_are(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, backbone: Path
) -> None:
    monkeypatch.setenv("SECRET", "told")
    words = ["test", "--config=experiments/zero_shot.yaml", f"--model.backbone={backbone}"]
    for spelling in ("$SECRET", "${SECRET}", "${oc.env:SECRET}", "%SECRET%", "{SECRET}"):
        line = refused(f"data: {{init_args: {{root: 'no/{spelling}'}}}}\n", *words)
        assert f"no/{spelling} is no folder" in line

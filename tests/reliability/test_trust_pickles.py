"""Whatever a file of weights is called and whoever reads it: code that is pickled into it does not run."""

import ast
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from contextblip.checkpoints import load_backbone, read_adapted
from contextblip.checkpoints.huggingface import _read_weights
from contextblip.cli import main
from contextblip.cli.hardware import Trainer
from contextblip.errors import CheckpointError
from contextblip.vision_cache.store import StateStore
from tests.checkpoints.test_files import Hostile
from tests.cli.toy_code import ToyData, ToyTask
from tests.reliability.conftest import Words

ROOT = Path(__file__).parents[2]
PRODUCT = sorted(
    file for folder in ("src", "data_modules", "callbacks") for file in (ROOT / folder).rglob("*.py")
)
Refused = Callable[[list[str]], str]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """What a hostile file leaves when it runs."""
    return tmp_path / "ran"


@pytest.fixture
def plant(trace: Path) -> Callable[[str], str]:
    """Write a file that looks like a checkpoint, with code in it; the code runs where care is not taken."""

    def write(name: str) -> str:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "state_dict": {"model.temperature": torch.zeros(())},
            "hyper_parameters": {},
            "pytorch-lightning_version": "2.6.0",
            "epoch": 0,
            "global_step": 0,
            "callbacks": {"x": {"best_model_path": "best.ckpt"}},
            "loops": Hostile(trace),
        }
        torch.save(content, path)
        with path.open("rb") as file:
            torch.load(file, weights_only=False)
        trace.unlink()  # it did run: else nothing below could fail
        return name

    return write


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], trace: Path) -> Refused:
    """Run a command that must end in one line, with nothing run."""

    def run(words: list[str]) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(words)
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert not trace.exists()
        assert stop.value.code == 2
        assert len(said) == 1
        assert "internal error" not in said[0]
        return said[0]

    return run


@pytest.mark.parametrize(
    ("stage", "key", "name"),
    [
        ("finetune", "--model.backbone", "backbone.pth"),
        ("finetune", "--model.backbone", "backbone.pt"),
        ("finetune", "--model.init_from", "contextblip_published.pth"),
        ("intercontext", "--model.init_from", "stage_one.ckpt"),
        ("pretrain", "--ckpt_path", "last.ckpt"),
    ],
)
def test_every_key_that_names_a_file(
    stage: str, key: str, name: str, plant: Callable[[str], str], refused: Refused, fit_words: Words
) -> None:
    line = refused(fit_words(stage, "run", f"{key}={plant(name)}"))
    assert name in line
    assert "more than tensors and plain values" in line


@pytest.mark.parametrize("word", ["best", "last"])
def test_checkpoints_of_a_run_by_word(
    word: str, plant: Callable[[str], str], refused: Refused, fit_words: Words
) -> None:
    plant("run/checkpoints/last.ckpt")
    words = fit_words("finetune", "run", f"--ckpt_path={word}")
    line = refused(["test", *words[1:]])
    assert "run/checkpoints/last.ckpt cannot be read as a Lightning checkpoint: refused" in line


def test_resuming(plant: Callable[[str], str], refused: Refused, fit_words: Words) -> None:
    plant("run/checkpoints/last.ckpt")
    assert "run/checkpoints/last.ckpt" in refused(fit_words("finetune", "run", "--resume=auto"))


def test_continuing_the_backbones_training(
    plant: Callable[[str], str], refused: Refused, checkout: Path, backbone: Path, world: Path
) -> None:
    del checkout
    words = ["--config=experiments/pretrain.yaml", "--model=contextblip.tasks.BackbonePretraining"]
    keys = [
        f"--model.backbone={backbone}",
        f"--data.root={world}",
        "--trainer.accelerator=cpu",
        "--run_dir=run",
    ]
    more = ["--trainer.callbacks=[]", f"--model.continue_from={plant('earlier.ckpt')}"]
    assert "earlier.ckpt: refused" in refused(["fit", *words, *keys, *more])


def test_converting(plant: Callable[[str], str], refused: Refused, checkout: Path) -> None:
    del checkout
    assert "weights.pth: refused" in refused(["convert", plant("weights.pth"), "out", "--to=contextblip"])


def test_a_hugging_face_folder(plant: Callable[[str], str], trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "blip"
    plant(str(folder / "pytorch_model.bin"))
    (folder / "config.json").write_text(
        json.dumps({"model_type": "blip", "architectures": ["BlipForImageTextRetrieval"]})
    )
    with pytest.raises(CheckpointError):
        load_backbone(str(folder))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["../outside.bin", "/outside.bin", "deep/er.bin", "..", 7, None])
def test_an_index_of_shards_names_only_files_beside_it(name: object, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match=r"index\.json: .* is no name of a file beside it"):
        _read_weights(tmp_path, shapes_only=True)


def test_a_pickle_called_safetensors(plant: Callable[[str], str], trace: Path, tmp_path: Path) -> None:
    path = plant(str(tmp_path / "model.safetensors"))
    assert zipfile.is_zipfile(path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        read_adapted(path)
    assert not trace.exists()


def test_a_pickle_in_the_vision_cache(plant: Callable[[str], str], trace: Path, tmp_path: Path) -> None:
    plant(str(tmp_path / "cache" / "shard.safetensors"))
    with pytest.warns(UserWarning, match=r"1 file\(s\) passed over"):
        assert len(StateStore(tmp_path / "cache")) == 0
    assert not trace.exists()


@pytest.mark.parametrize("asked", [None, False])
def test_lightnings_own_loading_is_told_so(
    asked: bool | None,
    plant: Callable[[str], str],
    trace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, max_epochs=1)
    path = plant(str(tmp_path / "last.ckpt"))
    for run in (trainer.fit, trainer.test):
        with pytest.raises(pickle.UnpicklingError):
            run(ToyTask("x"), datamodule=ToyData("x", str(tmp_path)), ckpt_path=path, weights_only=asked)
        assert not trace.exists()


def test_a_users_own_reader_is_told_so_too(
    plant: Callable[[str], str],
    trace: Path,
    fit_words: Words,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(
        "contextblip.cli.run.compare_with_checkpoint", lambda *_: None
    )  # which refuses before
    io = f"{TorchCheckpointIO.__module__}.{TorchCheckpointIO.__name__}"
    with pytest.raises(SystemExit):
        main(
            fit_words(
                "finetune", "run", f"--ckpt_path={plant('x.ckpt')}", f"--trainer.plugins={{class_path: {io}}}"
            )
        )
    assert not trace.exists()
    assert "UnpicklingError" in capsys.readouterr().err


def test_a_configuration_cannot_ask_for_unpickling(
    plant: Callable[[str], str], refused: Refused, fit_words: Words
) -> None:
    line = refused(fit_words("finetune", "run", f"--ckpt_path={plant('x.ckpt')}", "--weights_only=false"))
    assert "weights_only false would let x.ckpt run code; leave it out" in line


def test_a_sharded_checkpoint_needs_leave(trace: Path, refused: Refused, fit_words: Words) -> None:
    Path("sharded.ckpt").mkdir()
    Path("sharded.ckpt/.metadata").write_bytes(pickle.dumps(Hostile(trace)))
    words = fit_words("finetune", "run", "--ckpt_path=sharded.ckpt")
    words.remove("--allow-code")
    assert "sharded.ckpt is a folder" in refused(words)


@pytest.mark.parametrize(
    "address", ["https://example.invalid/x.ckpt", "s3://bucket/x.ckpt", "registry:model"]
)
def test_a_checkpoint_elsewhere_is_not_fetched(address: str, refused: Refused, fit_words: Words) -> None:
    line = refused(fit_words("finetune", "run", f"--ckpt_path={address}"))
    assert f"ckpt_path {address}: runs fetch nothing from elsewhere; download the file" in line


def calls(file: Path) -> list[tuple[str, ast.Call]]:
    """List what a file calls."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [(ast.unparse(node.func), node) for node in nodes if isinstance(node, ast.Call)]


def offences(file: Path) -> list[str]:
    """List calls that would run what a file says."""
    found = []
    for name, call in calls(file):
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        is_loading = name in ("torch.load", "pl_load") and given.get("weights_only") != "True"
        is_unsafe = name in ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load")
        is_unpickling = (
            name.split(".")[0] in ("pickle", "marshal", "shelve", "joblib", "dill") and "load" in name
        )
        is_importing = name.endswith("load_from_checkpoint")  # imports the class that the file names
        is_array = name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False"
        if (
            is_loading
            or is_unsafe
            or is_unpickling
            or is_importing
            or is_array
            or given.get("shell") == "True"
        ):
            found.append(f"{file.name}:{call.lineno}: {ast.unparse(call)}")
    return found


def test_nothing_of_ours_reads_otherwise(tmp_path: Path) -> None:
    assert sum(name == "torch.load" for file in PRODUCT for name, _ in calls(file)) >= 2
    assert [line for file in PRODUCT for line in offences(file)] == []
    bad = [
        "torch.load(x)",
        "torch.load(x, weights_only=no)",
        "pickle.loads(x)",
        "eval(x)",
        "yaml.unsafe_load(x)",
    ]
    bad += [
        "T.load_from_checkpoint(x)",
        "np.load(x, allow_pickle=True)",
        "run(x, shell=True)",
        "os.system(x)",
    ]
    (tmp_path / "bad.py").write_text("\n".join(bad))
    assert len(offences(tmp_path / "bad.py")) == len(bad)

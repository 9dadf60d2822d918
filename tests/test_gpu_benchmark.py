"""What of the GPU's benchmark needs no GPU: steps, rows, loading, and what it says where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.flops import count_flops
from benchmarks.inputs import write_backbone
from benchmarks.ours import pretraining_task
from contextblip.models import PRESETS
from contextblip.models.vision_encoder import VisionEncoder
from tests.conftest import TINY_BACKBONE

CPU = torch.device("cpu")
KEYS = ("case", "compiled", "images_per_s", "peak_mb", "tflops", "share")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sizes be smaller still; a compiler that only traces stands for the one that compiles."""
    monkeypatch.setitem(PRESETS, "miniature", TINY_BACKBONE)
    monkeypatch.setattr(gpu, "SIDES", (16, 64))
    monkeypatch.setattr(gpu, "LOADED", 6)
    monkeypatch.setattr(gpu, "COMPILER", "eager")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "miniature", TINY_BACKBONE)
        return write_backbone("miniature", tmp_path_factory.mktemp("gpu") / "backbone")


def test_without_cuda_it_says_what_it_would_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--batch", "64", "--results", str(tmp_path / "gpu.json")])
    printed = capsys.readouterr().out
    for told in ("no CUDA device", "64 images", "pre-training and zero-shot", "torch.compile", "peak memory"):
        assert told in printed
    assert printed.count("\n") <= 6
    assert not (tmp_path / "gpu.json").exists()


def test_each_key_reaches_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"case": "zero-shot", "compiled": True, "images_per_s": 1234.0, "peak_mb": 5678.0}
    results = {
        "steps": [row | {"tflops": 1.5, "share": 0.25}],
        "loading": {"images_per_s": 4321.0, "workers": 3, "photos": "COCO photos"},
    }
    asked: list[Any] = []

    def run(*values: object, **keys: object) -> dict[str, Any]:
        asked.append((values, keys))
        return results

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "run", run)
    path = tmp_path / "gpu.json"
    gpu.main(["--batch", "32", "--rounds", "4", "--data", str(tmp_path), "--results", str(path)])
    assert asked == [((torch.device("cuda"), 32, 4), {"data": tmp_path})]
    assert json.loads(path.read_text()) == results
    printed = capsys.readouterr().out
    for told in ("1,234", "5,678", "25%", "4,321", "3 workers"):
        assert told in printed


@pytest.mark.parametrize("name", gpu.STEPS)
def test_operations_grow_in_proportion_to_the_images(name: str, backbone: Path) -> None:
    few, many = (count_flops(gpu.STEPS[name](backbone, images, CPU, False)) for images in (gpu.COUNTED, 32))
    # similarities and projections of a batch are no matter; that of real texts to padding is
    assert many / few == pytest.approx(32 / gpu.COUNTED, rel=0.05)


def test_pretraining_steps_train(backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    task = pretraining_task(backbone)
    monkeypatch.setattr(gpu, "pretraining_task", lambda _: task)
    step = gpu.pretraining_step(backbone, 4, CPU, compiled=False)
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    step()
    changed = {n.split(".")[0] for n, t in task.model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"adapter", "mim_decoder"}


def test_compiled_parts_are_those_of_the_model(backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[type, str]] = []

    def note(part: torch.nn.Module, backend: str) -> None:
        compiled.append((type(part), backend))

    monkeypatch.setattr(torch.nn.Module, "compile", note)
    plain = gpu.zero_shot_step(backbone, 4, CPU, compiled=False)()
    assert not compiled
    gpu.zero_shot_step(backbone, 4, CPU, compiled=True)
    assert (VisionEncoder, "eager") in compiled
    assert torch.is_tensor(plain)
    assert plain.shape == (3, 10)
    assert plain.isfinite().sum() == 3 * 4  # four images in one set of ten


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo's own look
def test_compiled_steps_run_and_compute_the_same(backbone: Path) -> None:
    plain, compiled = (gpu.zero_shot_step(backbone, 4, CPU, compiled)() for compiled in (False, True))
    assert torch.is_tensor(plain)
    assert torch.is_tensor(compiled)
    torch.testing.assert_close(compiled, plain)
    gpu.pretraining_step(backbone, 4, CPU, compiled=True)()


def test_rows_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)  # takes a minute
    results = gpu.run(CPU, batch=4, rounds=1, size="miniature", data=tmp_path, workers=0)
    assert results["size"] == "miniature"
    assert [(row["case"], row["compiled"]) for row in results["steps"]] == [
        (case, compiled) for case in gpu.STEPS for compiled in (False, True)
    ]
    for row in results["steps"]:
        assert tuple(row) == KEYS
        assert row["share"] == pytest.approx(row["tflops"] / results["peak_tflops"])
        assert row["peak_mb"] is None
    assert results["loading"]["workers"] == 0
    assert results["loading"]["photos"] == "drawn pictures, 640x480"

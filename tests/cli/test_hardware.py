"""Values that the machine decides are resolved before they are written down."""

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator

from contextblip.cli import hardware
from contextblip.cli.hardware import Trainer, count_devices, resolve_precision

Run = Callable[[str], None]
Fail = Callable[[str], tuple[int, str]]


def trainer_of(number: int) -> Any:  # noqa: ANN401  # YAML holds anything
    return yaml.safe_load(Path(f"runs/default/version_{number}/config.yaml").read_text())["trainer"]


def test_precision_auto_is_written_as_what_it_became(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (answer, precision) in enumerate(((True, "bf16-mixed"), (False, "32-true"))):
        monkeypatch.setattr(hardware, "multiplies_bf16", lambda kind, answer=answer: answer)  # noqa: ARG005
        run("validate --config toy.yaml --trainer.precision auto")
        assert trainer_of(number)["precision"] == precision


def test_a_chosen_precision_stays() -> None:
    assert resolve_precision("16-mixed", "auto") == "16-mixed"
    assert resolve_precision(None, "auto") is None


@pytest.mark.parametrize("kind", ["train", "val", "test", "predict"])
def test_one_batch_is_not_all_batches_whatever_unions_were_made_before(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clear in getattr(typing, "_cleanups", ()):  # typing gives equal unions in the order of the first
        clear()
    float_first = typing.Optional[typing.Union[float, int]]  # noqa: UP007, UP045  # `|` has no such memory
    lightnings = inspect.unwrap(LightningTrainer.__init__)
    monkeypatch.setitem(lightnings.__annotations__, f"limit_{kind}_batches", float_first)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Trainer, "trainer")
    for word, value in (("1", 1), ("1.0", 1.0), ("null", None), ("0.5", 0.5)):
        found = parser.parse_args([f"--trainer.limit_{kind}_batches={word}"])["trainer"]
        assert repr(found[f"limit_{kind}_batches"]) == repr(value)
    assert repr(getattr(Trainer(logger=False), f"limit_{kind}_batches")) == "1.0"


@pytest.mark.parametrize(
    ("flags", "answer"), [("fpu avx512_bf16 sse", True), ("amx_bf16", True), ("bf16", False)]
)
def test_bf16_of_a_cpu(flags: str, answer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(hardware, "CPU_FLAGS", tmp_path / "cpuinfo")
    assert hardware.multiplies_bf16(CPUAccelerator) is answer
    assert hardware.multiplies_bf16(MPSAccelerator) is False


def test_bf16_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert hardware.multiplies_bf16(CUDAAccelerator) is False
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert hardware.multiplies_bf16(CUDAAccelerator) is True


@pytest.mark.parametrize(("devices", "number"), [("auto", 1), (3, 3), ("2", 2)])
def test_devices_of_a_cpu(devices: int | str, number: int) -> None:
    assert count_devices("cpu", devices) == number


@pytest.mark.parametrize(
    ("devices", "number"), [("auto", 4), (-1, 4), ("-1", 4), (2, 2), ("3", 3), ([1, 3], 2), ("0,1", 2)]
)
def test_devices_of_a_machine_with_four_gpus(
    devices: int | str | list[int], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
    monkeypatch.setattr("lightning.fabric.accelerators.cuda.num_cuda_devices", lambda: 4)
    monkeypatch.setattr("lightning.pytorch.accelerators.cuda.num_cuda_devices", lambda: 4)
    assert count_devices("auto", devices) == number
    assert count_devices("gpu", devices) == number


def test_global_batch_size_becomes_accumulation(run: Run) -> None:
    run("fit --config toy.yaml --data.global_batch_size 4 --trainer.max_epochs 1")
    assert trainer_of(0)["accumulate_grad_batches"] == 2
    # The written file repeats the run
    run("fit --config runs/default/version_0/config.yaml")
    assert trainer_of(1)["accumulate_grad_batches"] == 2
    # Where nothing is trained nothing is accumulated
    run("validate --config toy.yaml --data.global_batch_size 5")


def test_global_batch_size_that_does_not_divide(fail: Fail) -> None:
    assert fail("fit --config toy.yaml --data.global_batch_size 5") == (
        2,
        "error: data.global_batch_size 5 is no multiple of 2 (batch_size 2 x 1 devices x 1 nodes)",
    )


def test_global_batch_size_that_contradicts(fail: Fail) -> None:
    assert fail("fit --config toy.yaml --data.global_batch_size 4 --trainer.accumulate_grad_batches 3") == (
        2,
        "error: trainer.accumulate_grad_batches 3 contradicts data.global_batch_size 4, which needs 2 "
        "(batch_size 2 x 1 devices x 1 nodes); leave one of them out",
    )

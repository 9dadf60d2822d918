"""What planning reads from a configuration, and the keys it gives back."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from contextblip.cli.hardware import resolve_accumulation
from contextblip.errors import CheckpointError, ConfigurationError
from contextblip.planning import experiment as module
from contextblip.planning.experiment import Experiment, find_kind, read_experiment
from contextblip.planning.measuring import Measurement
from contextblip.planning.memory import GIB
from contextblip.planning.predicting import Profile, Setting, choose, predict
from contextblip.planning.table import keys_of, notes, title_of
from contextblip.sweeps.resolving import Resolver

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RESOLVER = Resolver()


def words(name: str, options: str = "") -> list[str]:
    common = "--model.backbone random:miniature --trainer.accelerator cpu"
    return ["fit", "--config", str(EXPERIMENTS / name), *shlex.split(f"{common} {options}")]


def read(
    name: str, options: str = "", sizes: list[int] | None = None, devices: int | None = None
) -> Experiment:
    return read_experiment(RESOLVER.resolve(words(name, options)), sizes, 3, devices)


def profile(least: int = 1) -> Profile:
    points = [Measurement(size, 0.5 + 0.1 * size, 0.2, (1 + size) * GIB, GIB, GIB) for size in (2, 4)]
    return Profile("bf16-mixed", points, least)


@pytest.mark.parametrize(
    ("name", "global_batch", "sizes"),
    [
        ("pretrain.yaml", 256, (2, 4, 8)),
        ("finetune.yaml", 36, (1, 2, 4)),
        ("inter_context.yaml", 36, (1, 2, 4)),
    ],
)
def test_the_global_batch_is_the_experiments(name: str, global_batch: int, sizes: tuple[int, ...]) -> None:
    found = read(name)
    assert found.global_batch == global_batch
    assert found.workload.sizes == sizes
    assert (found.workload.max_tokens, found.workload.backbone.image_size) == (30, 64)


def test_keys_of_fit_are_heeded() -> None:
    options = (
        "--data.global_batch_size 12 --data.max_tokens 20 --model.image_size 32 --trainer.gradient_clip_val 1"
    )
    found = read("pretrain.yaml", options, sizes=[4, 2, 4])
    assert found.global_batch == 12
    assert (found.workload.max_tokens, found.workload.backbone.image_size) == (20, 32)
    assert found.workload.trainer["gradient_clip_val"] == 1
    assert found.workload.sizes == (2, 4)
    assert found.workload.computing == {"compile_layers": "auto", "gradient_checkpointing": False}
    computing = read("pretrain.yaml", "--compile off --gradient_checkpointing true").workload.computing
    assert computing == {"compile_layers": False, "gradient_checkpointing": True}


def test_without_global_batch_size_the_others_make_it() -> None:
    options = "--data.batch_size 4 --trainer.accumulate_grad_batches 3 --trainer.num_nodes 2"
    assert read("backbone.yaml", options).global_batch == 4 * 3 * 2
    assert read("backbone.yaml", options, devices=5).global_batch == 4 * 3 * 2 * 5


def test_bf16_is_measured_where_the_machine_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, precisions in ((True, ("32-true", "bf16-mixed")), (False, ("32-true",))):
        monkeypatch.setattr(module, "multiplies_bf16", lambda _, answer=answer: answer)
        assert read("finetune.yaml").precisions == precisions


def test_the_first_of_the_listed_gpus_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDAAccelerator, "parse_devices", staticmethod(lambda devices: devices))
    monkeypatch.setattr(module, "multiplies_bf16", lambda _: True)
    workload = read("finetune.yaml", "--trainer.accelerator cuda --trainer.devices '[2, 3]'").workload
    assert (workload.accelerator, workload.device) == ("cuda", 2)


@pytest.mark.parametrize(
    ("name", "task"), [("zero_shot.yaml", "ZeroShot"), ("coco_retrieval.yaml", "ImageTextRetrieval")]
)
def test_tasks_that_train_nothing_are_refused(name: str, task: str) -> None:
    message = rf"contextblip.tasks.{task}: .* Pretraining, BackbonePretraining, FineTuning, InterContext$"
    with pytest.raises(ConfigurationError, match=message):
        read(name)


def test_mistakes_name_the_key() -> None:
    with pytest.raises(ConfigurationError, match=r"--data.max_tokens is 65, expected 3 to 64"):
        read("finetune.yaml", "--data.max_tokens 65")
    with pytest.raises(ConfigurationError, match="--sizes 2: a straight line needs two"):
        read("pretrain.yaml", sizes=[2, 2])
    with pytest.raises(ConfigurationError, match="leaves 256 devices one sample each"):
        read("pretrain.yaml", devices=256)
    with pytest.raises(ConfigurationError, match="7 devices cannot share"):
        read("pretrain.yaml", devices=7)
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        read("pretrain.yaml", "--model.backbone nowhere.pth")


def test_other_accelerators_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: False))
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    with pytest.raises(
        ConfigurationError, match="CUDA devices and CPUs, but trainer.accelerator auto is MPS"
    ):
        read("pretrain.yaml", "--trainer.accelerator auto")


CASES: list[tuple[str, str, int | None]] = [
    ("pretrain.yaml", "", None),
    ("pretrain.yaml", "", 4),
    ("finetune.yaml", "--data.global_batch_size 30", 3),
    ("finetune.yaml", "--trainer.accumulate_grad_batches 2", None),
    ("backbone.yaml", "--data.batch_size 6 --trainer.accumulate_grad_batches 4", None),
    ("inter_context.yaml", "--trainer.num_nodes 2", 2),
]


@pytest.mark.parametrize(("name", "options", "devices"), CASES)
def test_the_keys_are_those_of_a_fit_with_the_planned_step(
    name: str, options: str, devices: int | None
) -> None:
    """`lightning fit` with the keys added works out the accumulation of the row."""
    planned = read(name, options, devices=devices)
    setting = Setting(planned.global_batch, planned.devices * planned.nodes, 9 * GIB, planned.kind.least)
    chosen = choose(predict(profile(planned.kind.least), setting))
    assert chosen is not None
    config: dict[str, Any] = RESOLVER.resolve(
        [*words(name, options), *shlex.split(keys_of(chosen, planned, devices))]
    )
    namespace: Any = Namespace  # whose own constructor has no types
    resolved = namespace(
        trainer=config["trainer"], data=namespace(init_args=namespace(config["data"]["init_args"]))
    )
    resolve_accumulation(resolved)
    assert resolved["trainer"]["accumulate_grad_batches"] == chosen.accumulation
    assert resolved["trainer"]["precision"] == "bf16-mixed"
    data = config["data"]["init_args"]
    assert data["global_batch_size"] == planned.global_batch
    assert data["batch_size"] * chosen.accumulation * setting.devices == planned.global_batch
    if devices is not None:
        assert int(resolved["trainer"]["devices"]) == devices


@pytest.mark.parametrize(("seconds", "warned"), [(1.35, False), (2.6, True)])
def test_times_far_off_the_line_are_not_to_be_trusted(seconds: float, warned: bool) -> None:
    """On the line it would be 1.3 s."""
    planned, points = read("finetune.yaml"), list(profile().points)
    third = Measurement(8, seconds, 0.2, 9 * GIB, GIB, GIB)
    said = "\n".join(notes(planned, Setting(36, 1, 9 * GIB), [Profile("32-true", [*points, third])], None))
    assert re.search(r"micro-batches 2, 4, 8, off by at most \d+% in time and 0% in memory", said)
    assert ("do not trust the times" in said) is warned


def test_the_notes_say_what_the_numbers_leave_out() -> None:
    for name, negatives, images, frozen in (
        ("pretrain.yaml", True, False, False),
        ("finetune.yaml", False, True, False),
        ("inter_context.yaml", False, True, True),
    ):
        planned = read(name, devices=2)
        setting = Setting(planned.global_batch, 2, 9 * GIB)
        chosen = choose(predict(profile(), setting))
        said = "\n".join(notes(planned, setting, [profile()], chosen))
        assert ("negatives are drawn among the pairs of a pass" in said) is negatives
        assert ("ten images of its own" in said) is images
        assert ("frozen features" in said) is frozen
        assert "communication is not measured" in said
        assert "through micro-batches 2, 4, which two points cannot check" in said
        assert chosen is not None
        assert (f"--sizes {' '.join(map(str, planned.workload.sizes))} {chosen.micro_batch}" in said) is not (
            chosen.is_measured
        )
        assert title_of(planned, setting).startswith(
            f"{find_kind(f'contextblip.tasks.{planned.kind.task.__name__}').task.__name__}, "
        )

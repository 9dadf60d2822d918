"""`lightning plan`: from the command line to the table, with training steps in processes of their own."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contextblip.cli import main
from contextblip.errors import CheckpointError
from contextblip.planning import child, experiment
from contextblip.planning.child import Answer
from contextblip.planning.measuring import Measurement, Workload
from contextblip.planning.memory import GIB
from contextblip.sweeps.resolving import Resolver
from tests.commands import ROOT, page_commands

Fail = Callable[[str], tuple[int, str]]
EXPERIMENTS = ROOT / "experiments"
MINIATURE = "--model.backbone random:miniature --trainer.accelerator cpu"
TINY = "--model.image_size 32 --data.max_tokens 8"


def command(name: str, options: str = "") -> list[str]:
    config = EXPERIMENTS / name
    overlay = EXPERIMENTS / "miniature" / name
    return shlex.split(f"plan --config {config} --config {overlay} {MINIATURE} {options}")


@pytest.fixture
def full_precision_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "multiplies_bf16", lambda _: False)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[Workload]:
    """In place of processes: 1 s a sample, 1 GiB + 1 GiB a sample, 12 GiB left; half of both in bf16."""
    seen: list[Workload] = []

    def measure_sizes(workload: Workload) -> Answer:
        seen.append(workload)
        share = 0.5 if workload.precision == "bf16-mixed" else 1.0
        memory = [int(share * (1 + size) * GIB) for size in workload.sizes]
        points = zip(workload.sizes, memory, strict=True)
        return Answer(
            12 * GIB, [Measurement(size, share * (1 + size), 0.0, most, 0, 0) for size, most in points]
        )

    monkeypatch.setattr(child, "measure_sizes", measure_sizes)
    monkeypatch.setattr(experiment, "multiplies_bf16", lambda _: True)
    return seen


def rows(said: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines() if line.strip().endswith(("measured", "predicted"))]


@pytest.mark.usefixtures("full_precision_only")
@pytest.mark.parametrize(("name", "accumulation"), [("pretrain.yaml", 32), ("finetune.yaml", 18)])
def test_a_real_run(
    name: str, accumulation: int, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(workplace.iterdir())
    main(command(name, f"{TINY} --sizes 1 2 --steps 1"))
    said = capsys.readouterr().out
    one, two, *others = rows(said)
    assert [row[-1] for row in (one, two)] == ["measured", "measured"]
    assert two[:3] == ["32-true", "2", str(accumulation)]
    assert {row[-1] for row in others} == {"predicted"}
    assert 0.2 < float(two[3]) < 4  # GiB: a process with torch in it
    assert float(two[4]) > 0
    assert re.search(
        r"^Fastest that fits: --data.batch_size \d+ --trainer.precision 32-true$", said, flags=re.M
    )
    assert ("negatives" in said) is (name == "pretrain.yaml")
    assert sorted(workplace.iterdir()) == before  # no run folder, no random backbone


def test_the_table_and_the_keys(made_up: list[Workload], capsys: pytest.CaptureFixture[str]) -> None:
    main(command("finetune.yaml", "--devices 2 --steps 5"))
    said = capsys.readouterr().out
    assert [workload.precision for workload in made_up] == ["32-true", "bf16-mixed"]
    assert {workload.steps for workload in made_up} == {5}
    # processes on a CPU share 12 GiB; of 6 GiB 5.7 are usable: 4 + 1 at full precision, (9 + 1) / 2 in bf16
    fitting = [row[:2] for row in rows(said) if row[-2] == "yes"]
    assert fitting == [
        *(["32-true", str(n)] for n in (1, 2, 3)),
        *(["bf16-mixed", str(n)] for n in (1, 2, 3, 6, 9)),
    ]
    assert [row[:4] for row in rows(said)][3] == ["32-true", "6", "3", "7.00"]
    keys = "--data.batch_size 9 --trainer.precision bf16-mixed --trainer.devices 2"
    assert said.endswith(f"Fastest that fits: {keys}\n")


def test_memory_and_sizes_are_heeded(made_up: list[Workload], capsys: pytest.CaptureFixture[str]) -> None:
    main(command("finetune.yaml", "--memory 4 --sizes 3 6"))
    said = capsys.readouterr().out
    assert {workload.sizes for workload in made_up} == {(3, 6)}
    assert max(float(row[3]) for row in rows(said) if row[-2] == "yes") <= 0.95 * 4
    assert "--data.batch_size 6 --trainer.precision bf16-mixed" in said


@pytest.mark.usefixtures("made_up")
def test_nothing_fits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(command("finetune.yaml", "--memory 0.5"))
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert len(rows(said.out)) == 18
    assert said.err == (
        "error: nothing fits into 0.5 GiB a device: micro-batch 1 in bf16-mixed needs 1.0 GiB; a device with "
        "1.1 GiB, a lower --model.image_size or a lower --data.max_tokens would help\n"
    )


@pytest.mark.usefixtures("made_up")
def test_mistakes_are_one_line(fail: Fail) -> None:
    experiments = f"--config {EXPERIMENTS}/zero_shot.yaml {MINIATURE}"
    status, line = fail(f"plan {experiments}")
    assert status == 2
    assert (
        "contextblip.tasks.ZeroShot: planning is for tasks that `lightning fit` trains: Pretraining" in line
    )
    assert "nowhere.yaml: no such file" in fail("plan --config nowhere.yaml")[1]
    pretrain = " ".join(command("pretrain.yaml"))
    assert "did you mean --model.mask_ratio?" in fail(f"{pretrain} --model.mask_ration 0.5")[1]
    assert "'0' is no whole number" in fail(f"{pretrain} --steps 0")[1]
    assert "'0' is no whole number" in fail(f"{pretrain} --devices 0")[1]
    assert "'x' is no amount of memory" in fail(f"{pretrain} --memory x")[1]


def test_where_two_sizes_do_not_fit(monkeypatch: pytest.MonkeyPatch, fail: Fail) -> None:
    monkeypatch.setattr(child, "measure_sizes", lambda _: Answer(3 * GIB, []))
    assert (
        "no two of the micro-batches 2, 4, 8 fit into the 3.0 GiB"
        in fail(" ".join(command("pretrain.yaml")))[1]
    )


def test_what_goes_wrong_in_the_process_is_said_here() -> None:
    config = Resolver().resolve(["fit", *command("pretrain.yaml")[1:]])
    workload = experiment.read_experiment(config, None, 1, None).workload
    broken = {**workload.task, "init_args": {**workload.task["init_args"], "backbone": "nowhere.pth"}}
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        child.measure_in_child(replace(workload, task=broken), 2)


def test_sizes_are_measured_until_one_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Resolver().resolve(["fit", *command("pretrain.yaml")[1:]])
    workload = experiment.read_experiment(config, [2, 4, 8, 16], 1, None).workload
    tried: list[int] = []

    def measured(_: Workload, size: int) -> Answer:
        tried.append(size)
        point = Measurement(size, 1.0, 0.0, size * GIB, 0, 0)
        return Answer((10 - size) * GIB, [point] if size < fatal else [])

    monkeypatch.setattr(child, "measure_in_child", measured)
    fatal = 99
    found = child.measure_sizes(workload)  # 6 GiB are left before size 4, and 8 would take 8
    assert tried == [2, 4]
    assert found.available == 6 * GIB
    tried.clear()
    fatal = 4
    assert [one.size for one in child.measure_sizes(workload).measured] == [2]
    assert tried == [2, 4]


@pytest.mark.parametrize(
    "line", [line for line in page_commands(ROOT / "docs" / "planning.md") if " plan " in line]
)
def test_commands_of_the_page_name_keys_that_fit_has(
    line: str, made_up: list[Workload], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)[1:]
    backbone = [] if "random" in line or "miniature" in line else ["--model.backbone", "random:base"]
    main([*words, *backbone, "--trainer.accelerator", "cpu", "--memory", "99"])
    assert len(made_up) == 2
    assert "Fastest that fits" in capsys.readouterr().out

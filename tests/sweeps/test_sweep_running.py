"""Running a sweep with a command that only pretends: skipped, resumed, isolated, stopped, locked."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from contextblip.sweeps.locks import Process
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings
from contextblip.sweeps.run_state import clear, is_done, last_error
from contextblip.sweeps.sweeping import Options, sweep
from tests.sweeps.behaviour import behave, wait_for

OUT = Path("out")
HERE = Path(__file__).parent
Write = Callable[..., Path]
PlanOf = Callable[..., Plan]
RunSweep = Callable[..., bool]
Starts = Callable[[], list[str]]
BOTH = ["pretrain new", "zero_shot new"]


def test_runs_follow_each_other_and_are_not_repeated(
    write: Write, run_sweep: RunSweep, starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write()
    assert run_sweep(file)
    assert starts() == BOTH * 2
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if ": running" in line]) == 4
    assert any("4/4  zero_shot-" in line and "accuracy 0.300" in line for line in lines)
    assert run_sweep(file)
    assert len(starts()) == 4
    assert "All 4 runs are there" in capsys.readouterr().out


def test_a_terminal_shows_the_table_at_the_end(write: Write) -> None:
    behave(n=2302)
    console = Console(width=100, height=30, force_terminal=True, color_system=None, record=True)
    options = Options(command=(sys.executable, str(HERE / "fake_command.py")))
    assert sweep(write(paper="table5"), Settings(OUT), options, console)
    text = console.export_text()
    assert re.search(r"^ *0\.25 +30\.0 \[28\.2, 31\.9\] +31\.1 † *$", text, flags=re.MULTILINE)
    assert text.splitlines()[-1] == "out/small: summary.csv, table.md, plot.png"


def test_a_second_sweep_runs_only_what_is_new(write: Write, run_sweep: RunSweep, starts: Starts) -> None:
    assert run_sweep(write())
    assert run_sweep(write(axes=[{"key": "model.mask_ratio", "values": [0.5, 0.75]}]))
    assert starts() == BOTH * 3


def test_several_at_once(write: Write, run_sweep: RunSweep, capsys: pytest.CaptureFixture[str]) -> None:
    behave(seconds=0.5)
    assert run_sweep(write(), workers=2)
    states = [
        line.split("pretrain-")[1] for line in capsys.readouterr().out.splitlines() if "pretrain-" in line
    ]
    assert ["running" in state for state in states] == [True, True, False, False]


def test_a_failed_run_stops_only_what_depends_on_it(
    write: Write, run_sweep: RunSweep, starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(fail=["mask_ratio=0.25"])
    file = write()
    assert not run_sweep(file)
    assert starts() == ["pretrain new", *BOTH]
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0].startswith("failed: pretrain-")
    assert "mask ratio 0.25, seed 42): error: no such thing; give another (out/runs/pretrain-" in lines[0]
    assert lines[0].endswith("/log.txt)")
    assert lines[1].startswith("skipped: zero_shot-")
    behave()
    assert run_sweep(file)
    assert starts()[3:] == ["pretrain resumed", "zero_shot new"]


def test_a_command_that_ends_early_with_status_0_is_not_finished(
    write: Write, run_sweep: RunSweep, plan_of: PlanOf, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(leave=["fit"])
    file = write()
    assert not run_sweep(file)
    assert "stopped before its end, perhaps by SIGTERM" in capsys.readouterr().out
    assert not any(is_done(run) for run in plan_of(file).runs.values())


def test_a_killed_command_is_resumed(
    write: Write, run_sweep: RunSweep, starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(die=["mask_ratio=0.25", "config experiments/zero_shot.yaml"])
    file = write()
    assert not run_sweep(file)
    assert ": killed by SIGKILL (out/runs/pretrain-" in capsys.readouterr().out
    assert starts() == ["pretrain new", *BOTH]
    behave()
    assert run_sweep(file)
    assert starts()[3:] == ["pretrain resumed", "zero_shot new", "zero_shot new"]


def test_a_measure_that_no_run_has_is_named_and_costs_no_run(
    write: Write, run_sweep: RunSweep, starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run_sweep(write(measures={"zero_shot": ["speed"]}))
    assert "finished, but there is no metric 'speed'; it has accuracy, loss" in capsys.readouterr().out
    assert run_sweep(write())
    assert len(starts()) == 4


def test_the_results_stand_for_folders_that_are_gone(
    write: Write, run_sweep: RunSweep, starts: Starts, plan_of: PlanOf
) -> None:
    file, results = write(), Path("kept/results.csv")
    assert run_sweep(file, results=results)
    shutil.rmtree(OUT)
    assert run_sweep(file, results=results)
    assert len(starts()) == 4
    assert (OUT / "small" / "summary.csv").is_file()
    # a further measurement of the same pre-trainings needs their checkpoints again
    stages = [
        {"name": "pretrain", "command": "fit", "configs": ["experiments/pretrain.yaml"]},
        {
            "name": "mmvp",
            "command": "test",
            "configs": ["experiments/mmvp_vlm.yaml"],
            "arguments": {"model.class_path": "contextblip.tasks.ZeroShot"},
            "init_from": "pretrain",
        },
    ]
    more = write(stages=stages, measures={"mmvp": ["accuracy"]})
    assert run_sweep(more, results=results)
    assert starts()[4:] == ["pretrain new", "mmvp new"] * 2
    with results.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 6
    assert {row["hash"] for row in rows} > set(plan_of(more).runs)


def drive(file: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(HERE / "driver.py"), str(file), str(OUT)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def test_a_killed_sweep_leaves_nothing_behind_that_disturbs_the_next(
    write: Write, run_sweep: RunSweep, starts: Starts, plan_of: PlanOf
) -> None:
    """Its command goes on by itself; the next sweep ends it, then resumes from its checkpoint."""
    file = write(axes=[{"key": "model.mask_ratio", "values": [0.5]}])
    behave(seconds=60)
    process = drive(file)
    folder = next(iter(plan_of(file).runs.values())).folder
    wait_for(lambda: (folder / "checkpoints" / "best.ckpt").is_file())
    (lock,) = (OUT / "runs" / ".locks").glob("*.json")
    wait_for(lambda: json.loads(lock.read_text())["child"] is not None)
    process.kill()
    process.wait()
    orphan = Process(**json.loads(lock.read_text())["child"])
    assert orphan.is_alive()
    behave()
    assert run_sweep(file)
    assert not orphan.is_alive()
    assert starts() == ["pretrain new", "pretrain resumed", "zero_shot new"]
    assert not list((OUT / "runs" / ".locks").glob("*.json"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_an_interrupted_sweep_stops_its_runs(
    number: signal.Signals, write: Write, run_sweep: RunSweep, starts: Starts
) -> None:
    file = write(axes=None)
    behave(seconds=60)
    process = drive(file)
    wait_for(lambda: bool(starts()))
    locks = OUT / "runs" / ".locks"
    wait_for(lambda: any(json.loads(lock.read_text())["child"] for lock in locks.glob("*.json")))
    child = Process(**json.loads(next(locks.glob("*.json")).read_text())["child"])
    process.send_signal(number)
    assert process.wait(20) != 0
    assert not child.is_alive()
    assert not list(locks.glob("*.json"))
    behave()
    assert run_sweep(file)
    assert len(starts()) == 3


def test_two_sweeps_do_not_run_the_same_run_twice(write: Write, run_sweep: RunSweep, starts: Starts) -> None:
    file = write()
    behave(seconds=1.0)
    process = drive(file)
    wait_for(lambda: bool(starts()))
    assert run_sweep(file)
    assert process.wait(40) == 0
    assert sorted(starts()) == sorted(BOTH * 2)
    rows = (OUT / "results.csv").read_text().splitlines()
    assert len(rows) == 5


def test_the_first_run_alone_draws_the_world(
    write: Write, run_sweep: RunSweep, starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(seconds=0.4)
    file = write(
        stages=[
            {
                "name": "pretrain",
                "command": "fit",
                "configs": ["experiments/pretrain.yaml"],
                "arguments": {"data.root": "miniature:world"},
            }
        ],
        measures=None,
    )
    assert run_sweep(file, workers=2)
    events = [
        line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines() if "pretrain-" in line
    ]
    assert [event.split(",")[0] for event in events] == ["running", "finished", "running", "finished"]
    assert starts() == ["pretrain new"] * 2


def test_runs_are_no_tasks_of_the_sweeps_own_job(
    write: Write, run_sweep: RunSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_sweep(write(axes=None))
    seen = set(Path("environment.txt").read_text().split())
    assert not seen & {"SLURM_NTASKS", "LOCAL_RANK"}
    assert {"PATH", "OMP_NUM_THREADS"} <= seen


def test_a_folder_is_cleared_but_for_its_log(write: Write, plan_of: PlanOf) -> None:
    run = next(iter(plan_of(write()).runs.values()))
    (run.folder / "checkpoints").mkdir(parents=True)
    (run.folder / "log.txt").write_text("step 1\rstep 2\n\n")
    clear(run)
    assert [path.name for path in run.folder.iterdir()] == ["log.txt"]
    assert last_error(run) == "step 2"

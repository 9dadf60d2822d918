"""Sweeps on Ray itself: a local cluster of two CPUs and two GPUs that are only declared."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from contextblip.errors import ConfigurationError
from contextblip.sweeps.leash import LEASH
from contextblip.sweeps.locks import Process
from contextblip.sweeps.on_ray import RayOptions, import_ray
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings
from contextblip.sweeps.sweeping import Options, sweep
from tests.sweeps.behaviour import behave, wait_for

pytest.importorskip("ray", reason="pip install contextblip[ray]")
OUT = Path("out")
HERE = Path(__file__).parent
FAKE = (sys.executable, str(HERE / "fake_command.py"))
BOTH = ["pretrain new", "zero_shot new"]
ONE = {"axes": [{"key": "model.mask_ratio", "values": [0.5]}]}
Write = Callable[..., Path]
PlanOf = Callable[..., Plan]
RunSweep = Callable[..., bool]
Starts = Callable[[], list[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ModuleType]:
    """Ray with two workers, started once; a sweep uses the connection that is there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_ADDRESS", "RAY_RUNTIME_ENV_HOOK", "CUDA_VISIBLE_DEVICES"):
            patch.delenv(name, raising=False)
        ray = import_ray()
        size = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": 80 * 1024 * 1024}
        before = signal.getsignal(signal.SIGTERM)
        ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", **size)
        signal.signal(signal.SIGTERM, before)
        try:
            yield ray
        finally:
            ray.shutdown()


def run(file: Path, options: RayOptions) -> bool:
    console = Console(file=sys.stdout, width=200)
    return sweep(file, Settings(OUT), Options(ray=options, command=FAKE), console)


def test_a_chain_is_a_task_with_its_own_gpu(
    cluster: ModuleType, write: Write, starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(seconds=1.0)
    assert run(write(), RayOptions("local"))
    assert cluster.is_initialized()
    assert sorted(starts()) == sorted(BOTH * 2)
    assert starts()[:2] == ["pretrain new"] * 2  # both at once
    devices = Path("devices.txt").read_text().splitlines()
    assert sorted(devices) == ["0 1", "0 1", "1 1", "1 1"]  # one GPU each, one thread
    lines = capsys.readouterr().out.splitlines()
    assert sum(": running" in line for line in lines) == 4
    assert any("4/4  zero_shot-" in line and "accuracy 0.300" in line for line in lines)
    assert len((OUT / "results.csv").read_text().splitlines()) == 5
    assert run(write(), RayOptions("local"))
    assert len(starts()) == 4


@pytest.mark.usefixtures("cluster")
def test_a_task_whose_worker_is_killed_goes_on_without_what_is_finished(write: Write, starts: Starts) -> None:
    behave(kill_parent=["pretrain.yaml", "zero_shot.yaml"])
    assert run(write(**ONE), RayOptions("local", cpus=2, gpus=0))
    assert starts() == ["pretrain new", "pretrain resumed", "zero_shot new", "zero_shot new"]
    assert Path("devices.txt").read_text().split()[1::2] == ["2"] * 4
    assert not list((OUT / "runs" / ".locks").glob("*.json"))
    assert not Path("survivor.txt").exists()


@pytest.mark.usefixtures("cluster")
def test_a_checkpoint_that_is_gone_is_made_again(
    write: Write, starts: Starts, plan_of: PlanOf, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write(**ONE), RayOptions("local", gpus=0))
    (pretrain, _) = plan_of(write(**ONE)).runs.values()
    (pretrain.folder / "checkpoints" / "best.ckpt").unlink()
    behave(seconds=1.5)
    capsys.readouterr()
    axes = [{"key": "model.mask_ratio", "values": [0.5]}, {"key": "model.score", "values": ["itc"]}]
    assert run(write(axes=axes), RayOptions("local", gpus=0))
    assert starts() == BOTH * 2
    states = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines() if pretrain.name in line]
    assert [state.split(",")[0] for state in states] == ["running", "finished"]


@pytest.mark.usefixtures("cluster")
def test_runs_of_a_worker_that_died_for_good_are_listed(
    write: Write, starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    behave(kill_parent=["mask_ratio=0.25"], times=9)
    file = write()
    assert not run(file, RayOptions("local", retries=0))
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.startswith("failed: ")]
    assert [line.split("-")[0] for line in failed] == ["failed: pretrain", "failed: zero_shot"]
    assert all("mask ratio 0.25, seed 42): Ray: The worker died unexpectedly" in line for line in failed)
    behave()
    assert run(file, RayOptions("local"))
    assert starts().count("pretrain resumed") == 1
    assert starts().count("zero_shot new") == 2


@pytest.mark.usefixtures("cluster")
def test_more_than_a_machine_has_is_refused(write: Write, starts: Starts) -> None:
    told = "^--ray local: no machine has 3 CPUs and 1 GPUs, which --cpus_per_run and --gpus_per_run ask for$"
    with pytest.raises(ConfigurationError, match=told):
        run(write(), RayOptions("local", cpus=3))
    assert not starts()


def test_a_missing_cluster_is_one_line(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = import_ray()

    def init(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nPlease start one")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigurationError, match=r"^--ray auto: Could not find .* instance\. Please start"):
        run(write(), RayOptions("auto"))


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Let what is started heed Ctrl-C, also where a shell has started the tests in the background."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("heeds_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_an_interrupted_driver_leaves_no_command_that_runs(
    number: signal.Signals, write: Write, run_sweep: RunSweep, starts: Starts
) -> None:
    """Ctrl-C reaches the driver and all that is in its group, as from a terminal."""
    behave(seconds=240)
    file, locks = write(**ONE), OUT / "runs" / ".locks"
    words = [sys.executable, str(HERE / "driver.py"), str(file), str(OUT), "local"]
    hidden = ("RAY_ADDRESS", "RAY_RUNTIME_ENV_HOOK")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment, start_new_session=True)
    wait_for(lambda: bool(starts()))
    wait_for(lambda: any(json.loads(lock.read_text())["child"] for lock in locks.glob("*.json")))
    (lock,) = locks.glob("*.json")
    child = Process(**json.loads(lock.read_text())["child"])
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
        assert process.wait(180) != 0
        assert not child.is_alive()
        assert not list(locks.glob("*.json"))
        wait_for(lambda: not group_lives(process.pid))
    else:
        process.kill()
        process.wait()
        wait_for(lambda: not child.is_alive())
    behave()
    assert run_sweep(file)
    assert starts() == ["pretrain new", "pretrain resumed", "zero_shot new"]


def group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot")
def test_a_leashed_command_ends_with_its_parent(tmp_path: Path) -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    words = [*LEASH, sys.executable, "-c", program]
    parent = f"import subprocess; subprocess.run({words!r})"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    with process.stdout as output:
        child = Process.of(int(output.readline()))
        assert child.is_alive()
        process.kill()
        process.wait()
        wait_for(lambda: not child.is_alive())


def test_runs_that_depend_on_each_other_are_one_chain(write: Write, plan_of: PlanOf) -> None:
    plan = plan_of(write(seeds=[1, 2]))
    chains = plan.chains(set(plan.runs))
    assert [[run.stage for run in chain] for chain in chains] == [["pretrain", "zero_shot"]] * 4
    tested = {run.hash for run in plan.runs.values() if run.command == "test"}
    assert [len(chain) for chain in plan.chains(tested)] == [1] * 4

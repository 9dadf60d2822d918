"""Sweeps on Ray, against a stand-in with Ray's documented calls; tests/sweeps has no cluster."""

import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from contextblip.errors import ConfigurationError
from contextblip.sweeps.on_ray import RayOptions
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings
from contextblip.sweeps.sweeping import Options, sweep

OUT = Path("out")
FAKE = (sys.executable, str(Path(__file__).with_name("fake_command.py")))
Write = Callable[..., Path]
PlanOf = Callable[..., Plan]
Starts = Callable[[], list[str]]


class RayError(Exception):
    """As ray.exceptions.RayError."""


@dataclass(eq=False)
class Reference:
    """As ray.ObjectRef: what a task will give."""

    function: Callable[[Any], Any]
    argument: bytes


@dataclass
class FakeRay:
    """Runs a task when it is asked for.

    Attributes:
        gpus: GPUs of the cluster.
        dies: Whether workers die more often than they are started again.
        interrupted: Whether the driver is interrupted while it waits.
        calls: What was asked for.
    """

    gpus: float = 0
    dies: bool = False
    interrupted: bool = False
    calls: dict[str, Any] = field(default_factory=dict)

    def init(self, **options: object) -> None:
        if options["address"] == "auto":
            raise ConnectionError("Could not find any running Ray instance.\nPlease start one")
        self.calls["init"] = options

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, **({"GPU": self.gpus} if self.gpus else {})}

    def remote(self, **options: object) -> Callable[[Callable[..., Any]], Any]:
        self.calls.setdefault("remote", []).append(options)
        return lambda function: SimpleNamespace(
            remote=lambda argument: Reference(function, pickle.dumps(argument))
        )

    def wait(self, references: Sequence[Any], **_: object) -> tuple[list[Any], list[Any]]:
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt
        return [references[0]], list(references[1:])

    def get(self, reference: Reference) -> object:
        if self.dies:
            raise RayError("The worker died unexpectedly while executing this task.")
        return reference.function(pickle.loads(reference.argument))  # noqa: S301  # our own

    def cancel(self, reference: object) -> None:
        self.calls.setdefault("cancel", []).append(reference)

    def shutdown(self) -> None:
        self.calls["shutdown"] = True


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """The stand-in in the place of ray."""
    fake, module = FakeRay(), ModuleType("ray")
    for name in ("init", "cluster_resources", "remote", "wait", "get", "cancel", "shutdown"):
        setattr(module, name, getattr(fake, name))
    module.exceptions = SimpleNamespace(RayError=RayError)  # type: ignore[attr-defined]  # a module has any
    monkeypatch.setitem(sys.modules, "ray", module)
    return fake


def run(file: Path, options: RayOptions) -> bool:
    console = Console(file=sys.stdout, width=200)
    return sweep(file, Settings(OUT), Options(ray=options, command=FAKE), console)


def test_a_chain_is_a_task(
    ray: FakeRay, write: Write, starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write(), RayOptions("local", cpus=2))
    assert ray.calls["init"]["address"] == "local"
    assert ray.calls["remote"] == [{"num_cpus": 2, "num_gpus": 0, "max_retries": 3}]
    assert starts() == ["pretrain new", "zero_shot new"] * 2
    assert ray.calls["shutdown"]
    assert "cancel" not in ray.calls
    said = capsys.readouterr().out
    assert "4/4" in said
    assert len((OUT / "results.csv").read_text().splitlines()) == 5
    assert run(write(), RayOptions("local"))
    assert len(starts()) == 4


def test_a_task_takes_a_gpu_where_there_is_one(ray: FakeRay, write: Write) -> None:
    ray.gpus = 4
    assert run(write(axes=None), RayOptions("local"))
    assert ray.calls["remote"][0]["num_gpus"] == 1
    assert run(write(), RayOptions("local", gpus=0.5))
    assert ray.calls["remote"][1]["num_gpus"] == 0.5


def test_runs_of_a_worker_that_died_for_good_are_listed(
    ray: FakeRay, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    ray.dies = True
    assert not run(write(axes=None), RayOptions("local"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("failed: zero_shot-")
    assert lines[-1].endswith("Ray: The worker died unexpectedly while executing this task.")


def test_an_interrupted_driver_cancels_its_tasks(ray: FakeRay, write: Write) -> None:
    ray.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        run(write(), RayOptions("local"))
    assert len(ray.calls["cancel"]) == 2
    assert ray.calls["shutdown"]


def test_a_missing_cluster_is_one_line(ray: FakeRay, write: Write) -> None:
    with pytest.raises(ConfigurationError, match="^--ray auto: Could not find any running Ray instance"):
        run(write(), RayOptions("auto"))
    assert "init" not in ray.calls


def test_runs_that_depend_on_each_other_are_one_chain(write: Write, plan_of: PlanOf) -> None:
    plan = plan_of(write(seeds=[1, 2]))
    chains = plan.chains(set(plan.runs))
    assert [[run.stage for run in chain] for chain in chains] == [["pretrain", "zero_shot"]] * 4
    tested = {run.hash for run in plan.runs.values() if run.command == "test"}
    assert [len(chain) for chain in plan.chains(tested)] == [1] * 4


def test_a_local_ray(write: Write, starts: Starts) -> None:
    """The same on Ray itself, where it is installed."""
    pytest.importorskip("ray")
    assert run(write(), RayOptions("local"))
    assert sorted(starts()) == sorted(["pretrain new", "zero_shot new"] * 2)

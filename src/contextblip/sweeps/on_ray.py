"""The runs of a sweep as tasks of a Ray cluster; ray is imported only here, and only when asked for."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from contextblip.cli.errors import one_line
from contextblip.cores import count_cores
from contextblip.errors import ConfigurationError
from contextblip.sweeps.leash import LEASH
from contextblip.sweeps.plan import Run
from contextblip.sweeps.results import ResultsFile
from contextblip.sweeps.run_process import COMMAND
from contextblip.sweeps.schedule import Listener, Scheduler, Workplace, latest_metric
from contextblip.sweeps.work import PENDING, Progress, is_settled

INSTALL = "--ray needs ray: pip install contextblip[ray]"
WAIT_SECONDS = 1.0
CANCEL_SECONDS = 30.0  # a task gives its command 20 of them to stop
# Of a Ray that is started here: chains are a few kilobytes, and this is the least that Ray accepts
_STORE_BYTES = 80 * 1024 * 1024
# No telemetry; under `uv run` Ray would build the environment anew on each worker, from a copy of the folder
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


@dataclass(frozen=True)
class Chain:
    """Runs that follow each other, with all a worker must know; plain values, since it is sent over the net.

    Attributes:
        runs: In order.
        states: Hashes to their states.
        locks: Folder of the locks.
        results: The results file.
        token: Names the sweep in locks.
        cwd: Where paths begin.
        threads: Threads of a run.
        command: What stands for ``lightning``.
    """

    runs: tuple[Run, ...]
    states: Mapping[str, Progress]
    locks: Path
    results: Path
    token: str
    cwd: Path
    threads: int
    command: Sequence[str] = COMMAND


class _Silent:
    """A listener that shows nothing: the driver reads what happens from the run folders."""

    def changed(self, run: Run, progress: Progress) -> None:
        """Do nothing."""

    def tick(self) -> None:
        """Do nothing."""


def run_chain(chain: Chain) -> dict[str, Progress]:
    """Run a chain; this is the Ray task.

    Started again after its worker died, it finds what is finished and resumes what is not. The commands see
    the GPUs that Ray gave to the task.

    Args:
        chain: The runs.

    Returns:
        Hashes to what became of them.
    """
    os.chdir(chain.cwd)
    progress = {key: replace(state) for key, state in chain.states.items()}
    place = Workplace(
        environments=[{"OMP_NUM_THREADS": str(chain.threads)}],
        locks=chain.locks,
        results=ResultsFile(chain.results),
        token=chain.token,
        cwd=chain.cwd,
        command=(*LEASH, *chain.command),
    )
    Scheduler({run.hash: run for run in chain.runs}, progress, place, _Silent()).work()
    return progress


@dataclass(frozen=True)
class RayOptions:
    """What a task asks of the cluster.

    Attributes:
        address: Of the cluster; ``auto`` finds the one of this machine, ``local`` starts one here.
        cpus: CPUs of a task.
        gpus: GPUs of a task; ``None``: one where the cluster has any.
        retries: How often a task is started again when its worker dies.
    """

    address: str
    cpus: float = 1
    gpus: float | None = None
    retries: int = 3


class RayScheduler:
    """Gives chains to a Ray cluster and follows them by their folders.

    Args:
        chains: The chains.
        progress: States of all runs; changed in place.
        options: What a task asks of the cluster.
        listener: Shows what happens.
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        progress: dict[str, Progress],
        options: RayOptions,
        listener: Listener,
    ) -> None:
        self.chains = chains
        self.progress = progress
        self.options = options
        self.listener = listener
        self.ray = import_ray()
        self._is_own = False

    def connect(self) -> None:
        """Reach the cluster; a connection that this process has already is used, and left open at the end.

        Raises:
            ConfigurationError: There is no such cluster.
        """
        if self.ray.is_initialized():
            return
        options: dict[str, Any] = {"address": self.options.address, "log_to_driver": False}
        if self.options.address == "local":
            options |= {"num_cpus": count_cores(), "object_store_memory": _STORE_BYTES}
            options |= {"include_dashboard": False, "logging_level": logging.ERROR}
        before = signal.getsignal(signal.SIGTERM)
        try:
            self.ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigurationError(f"--ray {self.options.address}: {one_line(str(error))}") from error
        finally:
            signal.signal(signal.SIGTERM, before)  # Ray's own would end without stopping the tasks
        self._is_own = True

    def work(self) -> None:
        """Run all chains; failures are noted in the states.

        Raises:
            ConfigurationError: A Ray that was started here can never give what a task asks for.
            KeyboardInterrupt: After all tasks have been cancelled.
        """
        try:
            self._follow(self.ray.remote(**self._claim(), max_retries=self.options.retries)(run_chain))
        finally:
            if self._is_own:
                self.ray.shutdown()

    def _follow(self, task: Any) -> None:  # noqa: ANN401  # ray is not installed everywhere
        """Start the tasks and wait for them; whatever ends the waiting cancels them."""
        waiting = {task.remote(chain): chain for chain in self.chains}
        try:
            while waiting:
                ended, _ = self.ray.wait(list(waiting), num_returns=1, timeout=WAIT_SECONDS)
                for reference in ended:
                    self._collect(reference, waiting.pop(reference))
                for chain in waiting.values():
                    self._look_at(chain)
                self.listener.tick()
        finally:
            for reference in waiting:
                self.ray.cancel(reference)  # raises KeyboardInterrupt in the task, which stops its command
            if waiting:
                self.ray.wait(list(waiting), num_returns=len(waiting), timeout=CANCEL_SECONDS)

    def _claim(self) -> dict[str, float]:
        """Say what a task takes, after a look at whether a machine of the cluster has as much."""
        cpus, gpus = self.options.cpus, self.options.gpus
        if gpus is None:
            gpus = 1 if self.ray.cluster_resources().get("GPU", 0) else 0
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(has.get("CPU", 0) >= cpus and has.get("GPU", 0) >= gpus for has in machines):
            asked = f"no machine has {cpus:g} CPUs and {gpus:g} GPUs, which --cpus_per_run and --gpus_per_run"
            if self.options.address == "local":
                raise ConfigurationError(f"--ray local: {asked} ask for")
            logging.getLogger(__name__).warning("%s ask for; waiting until one joins the cluster", asked)
        return {"num_cpus": cpus, "num_gpus": gpus}

    def _collect(self, reference: Any, chain: Chain) -> None:  # noqa: ANN401  # ray is not installed everywhere
        """Take over what became of a chain."""
        try:
            found: Mapping[str, Progress] = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            failed = Progress("failed", f"Ray: {one_line(str(error), 200)}")
            found = {
                run.hash: Progress("finished") if self._is_settled(run, chain) else replace(failed)
                for run in chain.runs
            }
        for run in chain.runs:
            self._set(run, found[run.hash])

    def _look_at(self, chain: Chain) -> None:
        """Read from the folders how far a chain is."""
        for run in chain.runs:
            state = self.progress[run.hash].state
            if state not in (*PENDING, "running"):
                continue
            if self._is_settled(run, chain):
                self._set(run, Progress("finished", metric=latest_metric(run)))
            elif (chain.locks / f"{run.name}.json").is_file():
                self._set(run, Progress("running", metric=latest_metric(run)))

    def _is_settled(self, run: Run, chain: Chain) -> bool:
        return is_settled(run, chain.runs, self.progress)

    def _set(self, run: Run, progress: Progress) -> None:
        is_news = self.progress[run.hash].state != progress.state
        self.progress[run.hash] = progress
        if is_news:
            self.listener.changed(run, progress)


def import_ray() -> Any:  # noqa: ANN401  # ray is not installed everywhere
    """Import ray.

    Returns:
        The module.

    Raises:
        ConfigurationError: It is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # Ray reads them when it is imported
    try:
        return import_module("ray")
    except ModuleNotFoundError as error:
        raise ConfigurationError(INSTALL) from error

"""One run as a process of its own: started or resumed, watched, stopped."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contextblip.cli.errors import one_line
from contextblip.sweeps.plan import Run
from contextblip.sweeps.run_state import (
    DONE_FILE,
    IDENTITY_FILE,
    LOG_FILE,
    clear,
    is_done,
    last_error,
    resumable_checkpoint,
    write_json,
)

COMMAND = (sys.executable, "-m", "contextblip")
# The command's last line. Its status alone is no proof: Lightning ends with 0 after SIGTERM, which a cluster
# sends to all processes of a job.
LAST_LINE = "Run folder: "
GRACE_SECONDS = 20.0
JOB_VARIABLES = ("SLURM_", "TORCHELASTIC_")
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass
class RunProcess:
    """A run under way.

    Attributes:
        run: The run.
        process: Its command.
        started: When it was started, on the monotonic clock.
        log_start: Where in the log this attempt begins, in bytes.
        is_resumed: Whether it goes on from a checkpoint.
    """

    run: Run
    process: subprocess.Popen[bytes]
    started: float
    log_start: int
    is_resumed: bool

    @property
    def seconds(self) -> float:
        """Time since it was started."""
        return time.monotonic() - self.started

    def succeeded(self) -> bool:
        """Whether the ended command came to its end."""
        if self.process.returncode != 0:
            return False
        with (self.run.folder / LOG_FILE).open("rb") as log:
            log.seek(self.log_start)
            return any(line.startswith(LAST_LINE.encode()) for line in log)

    def problem(self) -> str:
        """Say why the ended command did not come to its end."""
        log, status = self.run.folder / LOG_FILE, self.process.returncode
        if status < 0:
            names = {number.value: number.name for number in signal.Signals}
            return f"killed by {names.get(-status, f'signal {-status}')} ({log})"
        if status == 0:
            return f"stopped before its end, perhaps by SIGTERM ({log})"
        return f"{one_line(last_error(self.run))} ({log})"

    def ask_to_stop(self) -> None:
        """Ask the command and what it started to stop."""
        self._signal(signal.SIGTERM)

    def stop(self, deadline: float) -> None:
        """Wait for it to stop, then kill it.

        Args:
            deadline: On the monotonic clock.
        """
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        self._signal(signal.SIGKILL)  # loader processes may outlive it
        self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def start(
    run: Run, *, environment: Mapping[str, str], cwd: Path, command: Sequence[str] = COMMAND
) -> RunProcess:
    """Start a run, from its last checkpoint where it was interrupted; a finished one is run anew.

    Args:
        run: The run.
        environment: Variables beside those of this process.
        cwd: Where paths of the command begin.
        command: What stands for ``lightning``.

    Returns:
        The run under way.
    """
    checkpoint = None if is_done(run) else resumable_checkpoint(run)
    if checkpoint is None:
        clear(run)
    (run.folder / DONE_FILE).unlink(missing_ok=True)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / IDENTITY_FILE, run.identity)
    words = [*command, *run.words, f"--run_dir={run.folder}", "--trainer.enable_progress_bar=false"]
    if run.checkpoint is not None:
        words.append(f"--model.init_from={run.checkpoint}")
    if checkpoint is not None:
        words.append(f"--ckpt_path={checkpoint}")
    with (run.folder / LOG_FILE).open("ab") as log:
        log.write(f"$ {shlex.join(words)}\n".encode())
        log.flush()
        log_start = log.tell()
        process = subprocess.Popen(  # noqa: S603  # our own command
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**_own_environment(), **environment, "COLUMNS": "200"},
            cwd=cwd,
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which then stops its runs in order
        )
    return RunProcess(run, process, time.monotonic(), log_start, checkpoint is not None)


def _own_environment() -> dict[str, str]:
    """Leave out what makes Lightning take the command for a task of the job that the sweep itself is."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(JOB_VARIABLES) and name not in RANK_VARIABLES
    }


def worker_environments(workers: int, gpus: Sequence[str], cores: int) -> list[dict[str, str]]:
    """Divide cores and GPUs among workers.

    Args:
        workers: How many runs go on at once.
        gpus: GPUs as ``CUDA_VISIBLE_DEVICES`` names them.
        cores: Cores of this machine.

    Returns:
        Variables for each worker: a single one keeps all GPUs; of several each gets its own in turn, or
        shares one where there are fewer.
    """
    threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(1, cores // workers))}
    environments = []
    for worker in range(workers):
        own = list(gpus[worker::workers]) or [gpus[worker % len(gpus)]] if gpus else []
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(own)} if own and workers > 1 else {}
        environments.append({**threads, **visible})
    return environments


def visible_gpus() -> list[str]:
    """List the GPUs that runs may use.

    Returns:
        Their names for ``CUDA_VISIBLE_DEVICES``.
    """
    from torch.cuda import device_count

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name for name in given.split(",") if name] if given else [str(n) for n in range(device_count())]

"""Locks, how cores and GPUs are divided among workers, and the script for SLURM."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from contextblip.sweeps.locks import RunLock
from contextblip.sweeps.run_process import visible_gpus, worker_environments

SCRIPT = Path(__file__).parents[2] / "docs" / "slurm" / "sweep.sh"


def record(lock: Path, **changes: object) -> None:
    content = json.loads(lock.read_text())
    lock.write_text(json.dumps({**content, **changes}))


def test_a_lock_is_taken_over_only_from_the_dead(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "run.json"
    lock = RunLock(path, "one")
    assert lock.acquire()
    assert not RunLock(path, "two").acquire()
    assert f"process {os.getpid()} on " in lock.holder()
    record(path, process={"pid": os.getpid(), "started": "another time"})  # the number was given again
    assert RunLock(path, "two").acquire()
    record(path, host="elsewhere")
    assert not RunLock(path, "three").acquire()
    assert RunLock(path, "two").acquire()  # Ray's second try, after its first worker died elsewhere
    record(path, host="elsewhere", token="three")
    old = time.time() - 3600
    os.utime(path, (old, old))
    assert RunLock(path, "two").acquire()
    path.write_text("cut sho")
    assert RunLock(path, "four").acquire()


def test_cores_and_gpus_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def gpus(workers: int, names: list[str]) -> list[str | None]:
        found: list[Mapping[str, str]] = list(worker_environments(workers, names, 8))
        assert {each["OMP_NUM_THREADS"] for each in found} == {str(8 // workers)}
        return [each.get("CUDA_VISIBLE_DEVICES") for each in found]

    assert gpus(1, ["0", "1"]) == [None]
    assert gpus(2, []) == [None, None]
    assert gpus(2, ["0", "1", "2", "3"]) == ["0,2", "1,3"]
    assert gpus(4, ["4", "7"]) == ["4", "7", "4", "7"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in worker_environments(2, [], 8)[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert visible_gpus() == ["4", "7"]


def test_the_slurm_script_runs_the_sweep(checkout: Path, write: Callable[..., Path]) -> None:
    """With a stand-in for srun, which only runs what it is given."""
    file, stubs = write(), checkout / "bin"
    stubs.mkdir()
    (stubs / "srun").write_text('#!/bin/sh\necho "srun $*"\nshift\nexec "$@"\n')
    (stubs / "lightning").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m contextblip "$@"\n')
    for stub in stubs.iterdir():
        stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{stubs}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(checkout)}

    def submit(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=False
        )

    answer = submit(str(file), "--seeds", "1", "2", "3", "--dry_run")
    assert answer.returncode == 0, answer.stderr
    assert f"srun --ntasks=1 lightning sweep {file} --seeds 1 2 3 --dry_run --workers 1" in answer.stdout
    assert "6 trials of 12 stages are 12 runs" in answer.stdout
    assert submit().returncode == 2

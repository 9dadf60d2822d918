"""Locks, and how cores and GPUs are divided among workers."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from contextblip.sweeps.locks import RunLock
from contextblip.sweeps.run_process import visible_gpus, worker_environments


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

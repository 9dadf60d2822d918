"""Locks on runs: which process works on one, and whether it still lives."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

# A holder on another machine cannot be asked; it touches its lock often, and clocks may differ.
HEARTBEAT_SECONDS = 20.0
SILENT_SECONDS = 300.0
_GUARD = ".guard"


@dataclass(frozen=True)
class Process:
    """A process that can be told from a later one with the same number.

    Attributes:
        pid: Its number.
        started: When it started, in the system's own unit; ``None`` where the system does not say.
    """

    pid: int
    started: str | None

    @classmethod
    def of(cls, pid: int) -> Process:
        """Describe a running process.

        Args:
            pid: Its number.

        Returns:
            The process.
        """
        return cls(pid, _start_time(pid))

    def is_alive(self) -> bool:
        """Whether it runs on this machine; a zombie does not."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return self.started is None or _start_time(self.pid) == self.started


def _start_time(pid: int) -> str | None:
    """Read the start time from the process table; the name in it may hold spaces and brackets."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


class RunLock:
    """A file that says who works on a run.

    Args:
        path: The file.
        token: Names the sweep, also on other machines.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self.token = token
        self._touched = 0.0

    def acquire(self) -> bool:
        """Take the lock unless someone alive holds it; what a dead holder left running is stopped.

        Returns:
            Whether it is ours now.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.parent / _GUARD):  # so that two cannot take over the same dead one's
            holder = self._read()
            if holder is not None:
                if self._is_held(holder):
                    return False
                _stop_orphan(holder)
            self._write(child=None)
        return True

    def hand_to(self, pid: int) -> None:
        """Note the command that runs, so that it can be found if this process is killed.

        Args:
            pid: Its number.
        """
        self._write(child=asdict(Process.of(pid)))

    def touch(self) -> None:
        """Show that the holder lives."""
        if time.monotonic() - self._touched > HEARTBEAT_SECONDS:
            self._touched = time.monotonic()
            with suppress(OSError):
                os.utime(self.path)

    def release(self) -> None:
        """Give the lock back."""
        self.path.unlink(missing_ok=True)

    def holder(self) -> str:
        """Say who holds it.

        Returns:
            Process and machine.
        """
        found = self._read() or {}
        return f"process {found.get('process', {}).get('pid')} on {found.get('host')}"

    def _is_held(self, holder: dict[str, Any]) -> bool:
        """Whether the holder lives."""
        if holder.get("host") == socket.gethostname():
            return Process(**holder["process"]).is_alive()
        if holder.get("token") == self.token:  # Ray starts a task elsewhere only after its first worker died
            return False
        return time.time() - self.path.stat().st_mtime < SILENT_SECONDS

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "process" in found else None

    def _write(self, child: dict[str, Any] | None) -> None:
        record = {
            "host": socket.gethostname(),
            "process": asdict(Process.of(os.getpid())),
            "child": child,
            "token": self.token,
        }
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.draft")
        draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
        draft.replace(self.path)


def _stop_orphan(holder: dict[str, Any]) -> None:
    """Kill what a killed sweep left running: it would write into the same folder."""
    child = holder.get("child")
    if child is None or holder.get("host") != socket.gethostname():
        return
    process = Process(**child)
    if process.started is None:  # it may be anybody's
        return
    deadline = time.monotonic() + 30
    while process.is_alive() and time.monotonic() < deadline:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: see RunProcess
        time.sleep(0.1)

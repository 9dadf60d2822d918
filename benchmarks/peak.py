"""Peak memory of one side of a case, in a process of its own.

    python -m benchmarks.peak CASE {ours,peer} PRECISION BACKBONE THREADS

prints megabytes (10^6 bytes): the largest resident memory (VmHWM) while the case runs, weights included. What
loading took beyond that does not count.
"""

import ctypes
import gc
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from benchmarks.cases import CASES
from benchmarks.machine import use_threads
from benchmarks.sides import Precision, Side
from contextblip.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[1]
RUNS = 2  # the second meets what the first one left
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

Which = Literal["ours", "peer"]


def peak_mb(case: str, which: Which, precision: Precision, backbone: Path, threads: int) -> float:
    """Measure one side in a fresh process.

    Args:
        case: Name in `benchmarks.cases.CASES`.
        which: ``ours`` or the ``peer``.
        precision: Of our side.
        backbone: From `benchmarks.inputs.write_backbone`.
        threads: Of PyTorch.

    Returns:
        Megabytes.

    Raises:
        ConfigurationError: The process failed, or the system does not tell.
    """
    words = [case, which, precision, str(backbone.resolve()), str(threads)]
    command = [sys.executable, "-m", "benchmarks.peak", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigurationError(f"memory of {case}, {which}: {reason}; --skip_memory leaves memory out")
    return float(done.stdout.split()[-1])


def measure(side: Side) -> float:
    """Return the largest resident memory while a side runs, in megabytes.

    Raises:
        ConfigurationError: The system has no such counter.
    """
    gc.collect()
    if not _CLEAR.is_file():
        raise ConfigurationError("peak memory is read from Linux's /proc, which is not here")
    ctypes.CDLL(None).malloc_trim(0)  # hands back what loading has freed
    _CLEAR.write_text("5", encoding="ascii")  # starts the counter anew
    for _ in range(RUNS):
        side()
        gc.collect()  # a finished Trainer refers to itself
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))
    if found is None:
        raise ConfigurationError(f"{_STATUS} has no VmHWM")
    return int(found[1]) * 1024 / 1e6


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    name, which, precision, backbone, threads = sys.argv[1:] if words is None else words
    case, folder = CASES[name], Path(backbone)
    with use_threads(int(threads)):
        side = case.ours(folder, cast(Precision, precision)) if which == "ours" else case.theirs(folder)
        print(f"{measure(side):.1f}")


if __name__ == "__main__":
    main()

"""`python -m contextblip.sweeps.leash COMMAND` runs a command that ends with the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

LEASH = (sys.executable, "-m", "contextblip.sweeps.leash")
_PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def main() -> None:
    """Become the command; where the system can, it is sent SIGTERM when its parent dies.

    A worker of a cluster may be killed while its machine lives. Its command would then go on, and write into
    the folder of the run that was started again on another machine.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # our own command; no shell is wanted


if __name__ == "__main__":
    main()

"""How many processor cores there are to work with."""

import os


def count_cores() -> int:
    """Count the cores that this process may use.

    Returns:
        At least 1; fewer than the machine has where the process is bound to some of them.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

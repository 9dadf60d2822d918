"""Bounds that turn a hang, or memory without end, into an error that names the input at hand."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SECONDS = 120  # of what takes less than one: nothing but a hang comes near
MEGABYTES = 2048
_STATISTICS = Path("/proc/self/statm")


class HangError(BaseException):
    """Something does not end; no `except Exception` may take it for one of its own."""


@contextmanager
def limited_memory(megabytes: int = MEGABYTES) -> Iterator[None]:
    """Let this process map so much more than it has mapped; what asks for more gets a `MemoryError`."""
    if not _STATISTICS.is_file():  # Linux only
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(_STATISTICS.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + megabytes * 2**20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def limited_time(seconds: int = SECONDS) -> Iterator[None]:
    """Stop what does not end."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signal module's form
        raise HangError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

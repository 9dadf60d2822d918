"""Commands in processes of their own, forked from one that has imported everything and computed nothing."""

import multiprocessing
import os
import resource
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["contextblip.cli.run", "contextblip.tasks", "data_modules", "callbacks", "tests.reliability.recorder"]
)


def start(words: list[str], folder: Path, log: Path, file_limit: int | None = None) -> ForkServerProcess:
    """Start a command.

    Args:
        words: Its words.
        folder: Where it runs.
        log: File that receives what it prints.
        file_limit: Bytes that no file may exceed, as on a disk that is full.

    Returns:
        The process.
    """
    process = _CONTEXT.Process(target=_run, args=(words, str(folder), str(log), file_limit), daemon=False)
    process.start()
    return process


def run(words: list[str], folder: Path, log: Path) -> None:
    """Run a command to its end, which must be a good one."""
    process = start(words, folder, log)
    process.join()
    assert process.exitcode == 0, log.read_text(encoding="utf-8")[-2000:]


def _run(words: list[str], folder: str, log: str, file_limit: int | None = None) -> None:
    # a parent's way of starting processes is passed on; a real command forks its loaders, which end with it
    multiprocessing.set_start_method("fork", force=True)
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
    import torch

    torch.set_num_threads(1)
    from contextblip.cli import main

    sys.argv = ["lightning", *words]
    main(words)

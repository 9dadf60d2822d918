"""A fresh process for each measurement: its peak memory is that of one training and of nothing before it."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from contextlib import redirect_stdout
from io import StringIO
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch
from lightning.pytorch.cli import instantiate_class

from contextblip.errors import UserError
from contextblip.heap import keep_few_primitives, keep_freed_memory
from contextblip.planning.measuring import Measurement, Workload, measure
from contextblip.planning.memory import memory_meter
from contextblip.planning.predicting import can_be_tried


class Answer(NamedTuple):
    """What a process found.

    Attributes:
        available: Memory that the device had left for training, in bytes.
        measured: What was measured, ascending; sizes that did not fit are left out.
    """

    available: int
    measured: list[Measurement]


def measure_sizes(workload: Workload) -> Answer:
    """Measure the sizes of a workload in increasing order, until one does not fit.

    Args:
        workload: What is measured.

    Returns:
        The measurements, and the least memory that was left before any of them.

    Raises:
        UserError: The task cannot be made as configured.
        RuntimeError: Something else went wrong.
    """
    left: list[int] = []
    done: list[Measurement] = []
    for size in workload.sizes:
        if not can_be_tried(done, size, min(left, default=0)):
            break
        answer = measure_in_child(workload, size)
        left.append(answer.available)
        done += answer.measured
        if not answer.measured:
            break
    return Answer(min(left), done)


def measure_in_child(workload: Workload, size: int) -> Answer:
    """Measure one size in a process of its own.

    Args:
        workload: What is measured.
        size: Samples a micro-batch.

    Returns:
        The measurement, none where it did not fit.

    Raises:
        UserError: The task cannot be made as configured.
        RuntimeError: Something else went wrong there.
    """
    # spawn: a fork would inherit this process's memory, and CUDA cannot be used in one
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(workload, size, sender), daemon=True)
    process.start()
    sender.close()
    available, measured = 0, []
    try:
        available = receiver.recv()
        if isinstance(available, Exception):
            raise available
        message = receiver.recv()
        if isinstance(message, Exception):
            raise message
        measured = [] if message is None else [message]
    except EOFError:
        process.join()
        if process.exitcode != -signal.SIGKILL:  # by which the kernel stops who takes too much memory
            raise RuntimeError(f"the measuring process ended with {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    return Answer(available, measured)


def _serve(workload: Workload, size: int, sender: Connection) -> None:
    """Send the memory that there is, then the measurement or nothing; in place of either what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    keep_freed_memory()  # as runs do
    keep_few_primitives()
    logging.disable(logging.WARNING)  # what fit says of its parts and devices is no news here
    with redirect_stdout(StringIO()):
        _answer(workload, size, sender)


def _answer(workload: Workload, size: int, sender: Connection) -> None:
    """Measure and send."""
    try:
        meter = memory_meter(workload.accelerator, workload.device)
        sender.send(meter.available())
        task = instantiate_class((), workload.task)
        sender.send(measure(task, workload, size, meter))
    except (torch.OutOfMemoryError, MemoryError):
        sender.send(None)
    except UserError as error:
        sender.send(error)
    except Exception as error:  # of any library: its class may not survive the way between processes
        # torch has no class of its own for the memory of a CPU
        is_memory = "can't allocate memory" in str(error)
        sender.send(None if is_memory else RuntimeError(f"{type(error).__name__}: {error}"))

"""What the bar says, in a terminal and elsewhere."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from callbacks import ThroughputProgressBar
from callbacks.throughput_progress_bar import ThroughputBar, count_batch
from contextblip.types import RetrievalBatch


def loader(batches: list[RetrievalBatch]) -> DataLoader[RetrievalBatch]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list is a data set


def test_a_line_an_epoch_where_nobody_watches(
    task: LightningModule,
    batches: list[RetrievalBatch],
    trainer: Callable[..., Trainer],
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainer(ThroughputProgressBar(), bar=True).fit(task, loader(batches), loader(batches))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for epoch, line in enumerate(lines):
        pattern = rf"Epoch {epoch}: 2/2 \[\S+<\S+, \d+\.\d queries/s, train/loss=\S+\]"
        assert re.fullmatch(pattern, line), line


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_a_line_when_there_is_no_training(
    subcommand: str,
    task: LightningModule,
    batches: list[RetrievalBatch],
    trainer: Callable[..., Trainer],
    capsys: pytest.CaptureFixture[str],
) -> None:
    kwargs = {} if subcommand == "predict" else {"verbose": False}
    getattr(trainer(ThroughputProgressBar(), bar=True), subcommand)(task, loader(batches), **kwargs)
    [line] = capsys.readouterr().out.splitlines()
    assert re.search(r": 2/2 \[\S+<\S+, \d+\.\d queries/s\]$", line), line


def test_a_terminal_gets_a_bar_that_never_wraps(
    task: LightningModule,
    batches: list[RetrievalBatch],
    trainer: Callable[..., Trainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    drawn: list[bytes] = []
    reader = threading.Thread(target=lambda: drawn.extend(iter(lambda: os.read(reading, 4096), b"end")))
    reader.start()
    with os.fdopen(writing, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        trainer(ThroughputProgressBar(), bar=True).fit(task, loader(batches), loader(batches))
        monkeypatch.undo()
        terminal.flush()
        time.sleep(0.1)  # so that the end is a read of its own
        terminal.write("end")
        terminal.flush()
        reader.join()
    os.close(reading)
    rows = re.split(r"[\r\n]+", re.sub(r"\x1b\[\w", "", b"".join(drawn).decode()))
    assert any(row.startswith("Epoch 1: 100%|") and "queries/s" in row for row in rows)
    assert max(map(len, rows)) <= 60


def test_long_epochs_speak_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("callbacks.throughput_progress_bar.time.monotonic", lambda: clock[0])
    bar = ThroughputBar(total=100)
    bar.set_description("Epoch 0")
    for step in range(1, 11):
        clock[0] += 10.0
        bar.n = step
        bar.refresh()
    bar.close()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" [")[0] for line in lines] == [f"Epoch 0: {step}/100" for step in (3, 6, 9)]


def test_samples_are_queries_or_images_of_all_processes(batches: list[RetrievalBatch]) -> None:
    bar = ThroughputBar(total=1)
    count_batch(bar, batches[0], world_size=4)
    assert (bar.samples, bar.sample_name) == (8, "queries")
    bar.reset()
    count_batch(bar, {"images": torch.zeros(5, 3, 2, 2)}, world_size=1)
    assert (bar.samples, bar.sample_name) == (5, "images")
    bar.reset()  # the next of several loaders
    assert bar.sample_name == "batches"
    count_batch(bar, {"input_ids": torch.zeros(3, 7)}, world_size=2)
    assert (bar.samples, bar.sample_name) == (6, "texts")
    bar.close()

"""Resident memory that only grows by holes between blocks is given back."""

from __future__ import annotations

from lightning.pytorch import Callback

from contextblip.heap import give_back_freed_memory, resident_bytes

GROWTH = 1.25


class HeapGuard(Callback):
    """Gives freed memory back whenever resident memory has grown by a quarter.

    PyTorch asks glibc for aligned blocks. To align one, glibc splits a sliver off, which its cache of small
    blocks may hand out to something that stays; the block's place is then too small for the next one of the
    same size. In pre-training on a CPU a heap grows by some megabytes a step in this way. The holes are
    resident until they are given back; pages that the next batch needs again are then cleared anew.
    """

    def __init__(self) -> None:
        self._limit: float | None = None

    def look(self) -> None:
        """Compare the resident memory with what one batch needs; called behind each batch."""
        resident = resident_bytes()
        if resident is None:
            return
        if self._limit is None:  # behind the first batch, of the run or since memory was given back
            self._limit = GROWTH * resident
        elif resident > self._limit and give_back_freed_memory():
            self._limit = None

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        """Look."""
        self.look()

    def on_validation_batch_end(self, *_: object, **__: object) -> None:
        """Look."""
        self.look()

    def on_test_batch_end(self, *_: object, **__: object) -> None:
        """Look."""
        self.look()

    def on_predict_batch_end(self, *_: object, **__: object) -> None:
        """Look."""
        self.look()

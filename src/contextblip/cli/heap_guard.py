"""Resident memory that only grows by holes between blocks is given back."""

from __future__ import annotations

from lightning.pytorch import Callback

from contextblip.heap import give_back_freed_memory, resident_bytes

GROWTH = 1.1
BATCHES = 10


class HeapGuard(Callback):
    """Gives freed memory back whenever resident memory has grown by a tenth.

    PyTorch asks glibc for aligned blocks. To align one, glibc splits a sliver off, which its cache of small
    blocks may hand out to something that stays; the block's place is then too small for the next one of the
    same size. In pre-training on a CPU a heap grows by some megabytes a step in this way. The holes are
    resident until they are given back; pages that the next batch needs again are then cleared anew. What
    batches need is the most seen behind several of them, since they differ: one small batch must not make
    every larger one behind it look like growth.
    """

    def __init__(self) -> None:
        self._most = 0
        self._seen = 0

    def look(self) -> None:
        """Compare the resident memory with what batches need; called behind each batch."""
        resident = resident_bytes()
        if resident is None:
            return
        if self._seen < BATCHES:  # of the run, or since memory was given back
            self._most = max(self._most, resident)
            self._seen += 1
        elif resident > GROWTH * self._most and give_back_freed_memory():
            self._most, self._seen = 0, 0

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

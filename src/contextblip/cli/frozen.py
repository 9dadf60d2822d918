"""Proof that what is frozen stayed as it was: weights, buffers and mode."""

from __future__ import annotations

import hashlib

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from contextblip.tasks.base import ContextBLIPTask


class FrozenChangedError(Exception):
    """A part that should be frozen was changed by training: a defect of the program, not of its use."""


def frozen_parts(task: ContextBLIPTask) -> dict[str, nn.Module]:
    """Return the parts of a task's model that do not train, by name."""
    return {name: part for name, part in task.model.named_children() if name not in task.trained_parts}


def hash_part(part: nn.Module) -> str:
    """Hash names, types and bytes of all parameters and buffers."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in part.state_dict(keep_vars=False).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


class FrozenGuard(Callback):
    """Hashes the frozen parts before and after a training and compares.

    Sharded weights (FSDP) are not hashed: each process holds a part of them only.
    """

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hash.

        Args:
            trainer: One process is enough.
            pl_module: The task.
        """
        if trainer.is_global_zero and isinstance(pl_module, ContextBLIPTask) and not _is_sharded(pl_module):
            self._hashes = {name: hash_part(part) for name, part in frozen_parts(pl_module).items()}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Check that no frozen part is in training mode, in which its dropout would be active.

        Args:
            trainer: Not needed.
            pl_module: The task.
            batch: Not needed.
            batch_idx: Not needed.

        Raises:
            FrozenChangedError: One is.
        """
        del trainer, batch, batch_idx
        if not isinstance(pl_module, ContextBLIPTask):
            return
        for name, part in frozen_parts(pl_module).items():
            if part.training:
                raise FrozenChangedError(f"{name} is frozen but in training mode")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare.

        Args:
            trainer: Not needed.
            pl_module: The task.

        Raises:
            FrozenChangedError: A frozen part is not what it was.
        """
        del trainer
        if not self._hashes or not isinstance(pl_module, ContextBLIPTask):
            return
        parts = frozen_parts(pl_module)
        changed = [name for name, former in self._hashes.items() if hash_part(parts[name]) != former]
        self._hashes = {}
        if changed:
            raise FrozenChangedError(f"training changed what is frozen: {', '.join(changed)}")


def _is_sharded(task: ContextBLIPTask) -> bool:
    return any(type(parameter) is not nn.Parameter for parameter in task.model.parameters())

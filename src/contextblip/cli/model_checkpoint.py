"""Checkpoints of a run: the best by a metric, and the last, which is the last."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint as LightningModelCheckpoint

from contextblip.replacing import replacing


class ModelCheckpoint(LightningModelCheckpoint):
    """Lightning's, with a ``last.ckpt`` that is written whenever a checkpoint is due.

    Lightning writes it only together with a new best one, so that with a monitored metric it holds the best
    weights: a resumed run would repeat all epochs since. The class keeps Lightning's name, under which its
    state stands in checkpoints.
    """

    _begun_at: int | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what is due after a validation.

        Args:
            trainer: Knows how far training is.
            pl_module: Unused.
        """
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what is due after an epoch.

        Args:
            trainer: Knows how far training is.
            pl_module: Unused.
        """
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._keep_last(trainer)

    def _keep_last(self, trainer: Trainer) -> None:
        """Write ``last.ckpt`` unless this step has been saved, in epochs that are to be saved."""
        due = self._every_n_epochs >= 1 and (trainer.current_epoch + 1) % self._every_n_epochs == 0
        if self.save_last is True and due and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def save_last_now(self, trainer: Trainer) -> None:
        """Write ``last.ckpt``, also within an epoch.

        Args:
            trainer: Knows how far training is.
        """
        self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember where this training begins.

        Args:
            trainer: Knows how far training is.
            pl_module: Unused.
        """
        super().on_train_start(trainer, pl_module)
        self._begun_at = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the last weights, whatever the interval.

        A training that was resumed behind its last step has no new ones: what it was resumed from is the
        last, also where the run was killed before that had its name.

        Args:
            trainer: Knows how far training is.
            pl_module: Unused.
        """
        resumed_from = Path(trainer.ckpt_path) if trainer.ckpt_path is not None else None
        if resumed_from is not None and trainer.global_step == self._begun_at and resumed_from.is_file():
            if self.save_last is True and trainer.is_global_zero:
                self._name_last(resumed_from)
            return
        super().on_train_end(trainer, pl_module)
        if self.save_last is True and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _name_last(self, checkpoint: Path) -> None:
        """Copy a checkpoint to ``last.ckpt``, unless it is that."""
        last = Path(str(self.dirpath)) / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"
        if checkpoint.absolute() == last.absolute():
            return
        last.parent.mkdir(parents=True, exist_ok=True)
        with replacing(last) as draft:
            shutil.copyfile(checkpoint, draft)

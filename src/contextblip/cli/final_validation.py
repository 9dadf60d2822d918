"""The last weights of a training are validated too, wherever training stops."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class FinalValidation(Callback):
    """Makes a validation follow the last batch of a training, so that the last weights can be the best.

    Lightning itself leaves it out where ``max_steps`` or a ``val_check_interval`` ends between two
    validations, or where the number of epochs is no multiple of ``check_val_every_n_epoch``; ``best.ckpt``
    would then be chosen among earlier weights only.
    """

    def __init__(self) -> None:
        self._every_n_epochs: int | None = None

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: object,  # noqa: ARG002
        batch: Any,  # noqa: ANN401, ARG002  # Lightning's
        batch_idx: int,
    ) -> None:
        """Ask for a validation where no batch follows.

        Args:
            trainer: Knows how far training is to go.
            pl_module: Unused.
            outputs: Unused.
            batch: Unused.
            batch_idx: Number of the batch in its epoch.
        """
        # What another callback wishes counts once the least number of epochs is reached
        stops = trainer.should_stop and trainer.fit_loop._can_stop_early
        if not stops and not is_last(trainer, batch_idx):
            return
        if trainer.check_val_every_n_epoch not in (None, 1):
            self._every_n_epochs = trainer.check_val_every_n_epoch
            trainer.check_val_every_n_epoch = 1
        trainer.should_stop = True  # what validates after this batch, whatever the interval

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Give the trainer its interval back.

        Args:
            trainer: Was changed.
            pl_module: Unused.
        """
        if self._every_n_epochs is not None:
            trainer.check_val_every_n_epoch, self._every_n_epochs = self._every_n_epochs, None


def is_last(trainer: Trainer, batch_idx: int) -> bool:
    """Ask whether training ends with this batch.

    Args:
        trainer: Knows how far training is to go.
        batch_idx: Number of the batch in its epoch.

    Returns:
        True after the last of all steps or the last batch of the last epoch.
    """
    if 0 <= trainer.max_steps <= trainer.global_step:
        return True
    last_epoch = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
    return last_epoch and (trainer.is_last_batch or batch_idx + 1 >= trainer.num_training_batches)

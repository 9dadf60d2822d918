"""How an epoch is shared by devices, and the place in it as a part of a data module's state."""

from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from data_modules.loaders import ResumableLoader


class ResumableDataModule(LightningDataModule):
    """A data module whose training goes on within the epoch that a checkpoint was written in.

    Lightning keeps the state of a loader too, but restores it only where nothing, such as a schedule that
    depends on the number of steps, has asked for the loader before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._training: ResumableLoader | None = None
        self._position: dict[str, int] = {}

    def continue_in(self, loader: DataLoader[Any]) -> None:
        """Take note of the loader of the training, and let it begin where a checkpoint was.

        Args:
            loader: New.
        """
        if not isinstance(loader, ResumableLoader):
            return
        self._training = loader
        if self._position:
            loader.load_state_dict(self._position)

    def state_dict(self) -> dict[str, int]:
        """Say how far the training's epoch is; nothing before it has begun."""
        return {} if self._training is None else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Remember where the training of a checkpoint was.

        Args:
            state_dict: From `state_dict`.
        """
        self._position = state_dict

    def _replicas(self) -> tuple[int, int]:
        """Number of devices that share the data and the rank of this one."""
        kwargs = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return (kwargs["num_replicas"], kwargs["rank"]) if kwargs else (1, 0)

    @property
    def _accumulation(self) -> int:
        """Batches a device and optimiser step."""
        return int(getattr(self.trainer, "accumulate_grad_batches", 1))

"""A task and data of a user's own, a few numbers large; to name them takes `--allow-code`."""

# ruff: noqa: ARG002 -- the keys exist to be configured

from typing import Literal, TypedDict

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError, DatasetNotFoundError

ROWS = 8


class ToyBatch(TypedDict):
    images: Tensor


class ToyTask(LightningModule):
    """A linear layer.

    Args:
        backbone: What to start from.
        image_size: Side in pixels.
        mask_ratio: Share of hidden patches.
        adapter_layers: Layers with adapters.
        mask_strategy: How patches are chosen.
        lr: Learning rate.
        width: Outputs of the layer.
        fails_with: What training or a test stops with.
    """

    def __init__(
        self,
        backbone: str,
        image_size: int | None = None,
        mask_ratio: float = 0.25,
        adapter_layers: list[int] = [3, 6],  # noqa: B006  # as the real tasks' annotation, never changed
        mask_strategy: Literal["top", "random", "bottom"] = "top",
        lr: float = 0.1,
        width: int = 4,
        fails_with: Literal["memory", "interrupt", "bug", "exit", "mistake"] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.mask_ratio = mask_ratio
        self.lr = lr
        self.fails_with = fails_with
        self.layer = nn.Linear(4, width)

    def _fail(self) -> None:
        if self.fails_with == "mistake":
            raise ConfigurationError("this cannot be")
        if self.fails_with == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if self.fails_with == "interrupt":
            raise KeyboardInterrupt
        if self.fails_with == "bug":
            raise RuntimeError("this is\nnot expected")

    def training_step(self, batch: ToyBatch) -> Tensor:
        self._fail()
        loss: Tensor = self.layer(batch["images"]).square().mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: ToyBatch) -> None:
        self.log("val/accuracy", self.mask_ratio, batch_size=len(batch["images"]))

    def test_step(self, batch: ToyBatch) -> None:
        self._fail()
        self.log("test/accuracy", self.mask_ratio, batch_size=len(batch["images"]))
        self.log("n/test/accuracy", float(ROWS), batch_size=1)

    def predict_step(self, batch: ToyBatch) -> Tensor:
        output: Tensor = self.layer(batch["images"])
        return output

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)


class OtherTask(ToyTask):
    """A task with fewer keys.

    Args:
        backbone: What to start from.
        gamma: Decay.
        mask_strategy: Here a number.
    """

    def __init__(self, backbone: str, gamma: float = 0.9, mask_strategy: int = 1) -> None:
        super().__init__(backbone)


class RootlessTask(ToyTask):
    """A task without a backbone."""

    def __init__(self) -> None:
        super().__init__("none")


class ToyData(LightningDataModule):
    """Eight rows of four numbers.

    Args:
        backbone: Taken from the model.
        root: Folder; ``missing`` is none.
        image_size: Taken from the model.
        batch_size: Rows of a batch.
        global_batch_size: Rows of an optimizer step.
    """

    def __init__(
        self,
        backbone: str,
        root: str,
        image_size: int | None = None,
        batch_size: int = 2,
        global_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        if self.root == "missing":
            raise DatasetNotFoundError("no toys below missing; give --data.root")

    def _loader(self) -> DataLoader[ToyBatch]:
        generator = torch.Generator().manual_seed(0)
        rows = [ToyBatch(images=torch.randn(4, generator=generator)) for _ in range(ROWS)]
        return DataLoader(rows, batch_size=self.batch_size)  # type: ignore[arg-type]  # a list is a data set

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader


class PlainData(ToyData):
    """Data that take nothing from the model."""

    def __init__(self, batch_size: int = 2) -> None:
        super().__init__("none", "here", batch_size=batch_size)


class CountingTask(ToyTask):
    """Counts its steps; ``test/accuracy`` is the count of the weights that were tested.

    Args:
        backbone: What to start from.
        best_at: Number of steps at which ``val/accuracy`` is highest.
        interrupted_at: Number of steps at which the user stops it.
    """

    steps: Tensor

    def __init__(self, backbone: str, best_at: int = 0, interrupted_at: int = -1) -> None:
        super().__init__(backbone)
        self.best_at = best_at
        self.interrupted_at = interrupted_at
        self.register_buffer("steps", torch.zeros(()))

    def training_step(self, batch: ToyBatch) -> Tensor:
        self.steps += 1
        if self.steps == self.interrupted_at:
            raise KeyboardInterrupt
        return super().training_step(batch)

    def validation_step(self, batch: ToyBatch) -> None:
        self.log("val/accuracy", -(self.steps - self.best_at).abs(), batch_size=len(batch["images"]))

    def test_step(self, batch: ToyBatch) -> None:
        self.log("test/accuracy", self.steps.clone(), batch_size=len(batch["images"]))
        self.log("n/test/accuracy", float(ROWS), batch_size=1)


class OneShelfData(ToyData):
    """Data that are kept in one place for all stages, as many modules do."""

    stage = ""

    def setup(self, stage: str) -> None:
        if stage == "test" and self.root == "untestable":
            raise DatasetNotFoundError("no test split below untestable")
        self.stage = stage

    def train_dataloader(self):  # type: ignore[no-untyped-def]  # noqa: ANN201  # the parent's
        assert self.stage == "fit"
        return self._loader()


class UntestableTask(LightningModule):
    """A task that only trains.

    Args:
        backbone: What to start from.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()

    def training_step(self, batch: ToyBatch) -> None:
        raise AssertionError("training began")


class TrainingData(LightningDataModule):
    """Data that only train.

    Args:
        backbone: Taken from the model.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()

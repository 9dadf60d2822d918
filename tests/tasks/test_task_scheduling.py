"""A schedule that counts epochs knows their length whatever ends the run."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader

from contextblip.tasks.scheduling import over_the_run


class Toy(LightningModule):
    """Records the learning rate of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.rates: list[float] = []

    def training_step(self, batch: Tensor) -> Tensor:
        optimizer = self.optimizers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        self.rates.append(optimizer.param_groups[0]["lr"])
        loss: Tensor = self.layer(batch).sum()
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        return over_the_run(
            self.trainer, "published", optimizer, lr=1.0, warmup_steps=1, warmup_lr=0.0, min_lr=0.0
        )


@pytest.mark.parametrize("limit", [{"max_epochs": -1, "max_steps": 6}, {"max_epochs": 3}])
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:The .train_dataloader. does not have many workers")
def test_published_schedule_runs_by_steps_as_by_epochs(limit: dict[str, int]) -> None:
    toy = Toy()
    trainer = Trainer(
        **limit,  # type: ignore[arg-type]  # one of two keys
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(toy, DataLoader(torch.ones(4, 1), batch_size=2))  # type: ignore[arg-type]  # two batches an epoch
    # 0.9 to the power of the epoch after the first, in which the warm-up lies
    assert toy.rates[2:] == pytest.approx([0.9, 0.9, 0.81, 0.81])

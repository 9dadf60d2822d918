"""How far mixed precision may lead away from fp32, with the shipped backbone, which has learnt."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor

from contextblip.tasks import Pretraining, ZeroShot
from data_modules import CaptionDataModule, ImageCoDeDataModule

SHIPPED = Path(__file__).parents[2] / "assets" / "miniature"


def margins(make_trainer: Callable[..., Trainer], precision: str, world: Path) -> Tensor:
    """Score the validation queries, ``(Q, K)``."""
    found: list[Tensor] = []
    keep = LambdaCallback(on_validation_batch_end=lambda *given: found.append(given[2]["candidate_logits"]))
    data = ImageCoDeDataModule(root=str(world), backbone=str(SHIPPED), num_workers=0, max_tokens=40)
    trainer = make_trainer(precision=precision, callbacks=[keep])
    trainer.validate(ZeroShot(str(SHIPPED), adapter_layers=[]), datamodule=data, verbose=False)
    return torch.cat(found)


def test_zero_shot_ranks_as_fp32_does(world: Path, make_trainer: Callable[..., Trainer]) -> None:
    exact, mixed = (margins(make_trainer, precision, world) for precision in ("32-true", "bf16-mixed"))
    assert mixed.dtype == torch.float32
    drift = (mixed - exact).square().mean().sqrt() / exact.std(dim=1).mean()
    assert 0 < drift < 0.05  # of what the candidates of a query differ by
    confident = exact.topk(2, dim=1).values.diff(dim=1).abs().squeeze(1) > 0.1 * exact.std(dim=1)
    assert confident.float().mean() > 0.5
    assert torch.equal(mixed.argmax(dim=1)[confident], exact.argmax(dim=1)[confident])


@pytest.mark.parametrize("name", ["train/loss_itm", "train/loss_tmim"])
def test_pre_training_loses_as_fp32_does(
    name: str, world: Path, make_trainer: Callable[..., Trainer]
) -> None:
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        seed_everything(0, verbose=False)
        data = CaptionDataModule(
            root=str(world), datasets=["coco"], backbone=str(SHIPPED), batch_size=8, num_workers=0
        )
        task = Pretraining(str(SHIPPED), decoder_heads=4, mask_noise=0.0, dropout=0.0)
        run = make_trainer(precision=precision, max_steps=3, limit_val_batches=0)
        run.fit(task, datamodule=data)
        losses.append(float(run.callback_metrics[name]))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]

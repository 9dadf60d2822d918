"""The share of attention that masks hide tells the mask strategies apart."""

from collections.abc import Callable

import pytest
import torch

from contextblip.losses import loss_tmim
from contextblip.models.masking import MaskStrategy
from contextblip.tasks import Pretraining
from contextblip.tasks.pretraining_metrics import loss_mean_colour, masked_attention, step_metrics
from contextblip.types import CaptionBatch


def test_masked_attention_by_hand() -> None:
    attention = torch.tensor([[1.0, 3.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    mask = torch.tensor([[False, True, True, False], [True, False, False, False]])
    assert masked_attention(attention, mask).item() == pytest.approx((3 / 4 + 1 / 4) / 2)


def test_masked_attention_without_attention_is_zero() -> None:
    assert masked_attention(torch.zeros(1, 4), torch.tensor([[True, False, False, False]])).item() == 0.0


def test_no_single_colour_of_an_image_costs_less_than_the_mean() -> None:
    torch.manual_seed(0)
    target = torch.randn(2, 3, 4, 3) + torch.tensor([[0.0, 1.0, 5.0], [-3.0, 0.0, 0.0]])[:, None, None]
    found = loss_mean_colour(target.flatten(-2))
    colours = target.mean(dim=(1, 2), keepdim=True)
    assert found == loss_tmim(colours.expand_as(target).flatten(-2), target.flatten(-2))
    for step in (-0.1, 0.1):
        for channel in torch.eye(3):
            other = (colours + step * channel).expand_as(target)
            assert loss_tmim(other.flatten(-2), target.flatten(-2)) > found
    plain = torch.tensor([0.1, 0.7, -2.0]).repeat(2, 5, 4)  # one colour an image
    assert loss_mean_colour(plain).item() == pytest.approx(0.0, abs=1e-12)


def hidden_share(backbone: str, batch: CaptionBatch, strategy: MaskStrategy) -> float:
    torch.manual_seed(0)
    task = Pretraining(
        backbone,
        adapter_layers=[1, 3],
        decoder_layers=1,
        decoder_heads=2,
        mask_ratio=0.5,
        mask_strategy=strategy,
        mask_token_row="mean",
        mask_noise=0.0,
    )
    task.configure_model()
    with torch.no_grad():
        return step_metrics(task.run_step(batch))["masked_attention"].item()


def test_strategies_hide_more_or_less_attention(backbone: str, captions: Callable[..., CaptionBatch]) -> None:
    batch = captions(8)
    top, random, bottom = (hidden_share(backbone, batch, name) for name in ("top", "random", "bottom"))
    assert bottom < random < top
    assert top == pytest.approx(1 - bottom, abs=1e-5)  # half of the patches each, the other half of the other


def test_without_tmim_nothing_of_masks_is_logged(
    backbone: str, captions: Callable[..., CaptionBatch]
) -> None:
    task = Pretraining(backbone, adapter_layers=[1, 3], use_tmim=False)
    task.configure_model()
    assert step_metrics(task.run_step(captions(3))).keys() == {"loss_itm", "accuracy_itm"}

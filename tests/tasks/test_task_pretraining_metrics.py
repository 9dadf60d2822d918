"""The share of attention that masks hide tells the mask strategies apart."""

from collections.abc import Callable

import pytest
import torch

from contextblip.models import patchify
from contextblip.models.masking import MaskStrategy
from contextblip.tasks import Pretraining
from contextblip.tasks.pretraining_metrics import masked_attention, step_metrics
from contextblip.types import CaptionBatch


def test_masked_attention_by_hand() -> None:
    attention = torch.tensor([[1.0, 3.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    mask = torch.tensor([[False, True, True, False], [True, False, False, False]])
    assert masked_attention(attention, mask).item() == pytest.approx((3 / 4 + 1 / 4) / 2)


def test_masked_attention_without_attention_is_zero() -> None:
    assert masked_attention(torch.zeros(1, 4), torch.tensor([[True, False, False, False]])).item() == 0.0


def test_mean_colour_is_that_of_the_visible_patches(
    backbone: str, captions: Callable[..., CaptionBatch]
) -> None:
    task = Pretraining(backbone, adapter_layers=[1, 3], decoder_layers=1, decoder_heads=2, mask_ratio=0.25)
    task.configure_model()
    batch = captions(3)
    output = task.run_step(batch)
    assert output.mask is not None
    patches = patchify(batch["images"], 4)
    expected = []
    for image, mask in zip(patches, output.mask.mask, strict=True):
        colour = image[~mask].view(-1, 3).mean(dim=0)
        expected.append((image[mask].view(-1, 3) - colour).square().mean())
    torch.testing.assert_close(step_metrics(output)["loss_mean_colour"], torch.stack(expected).mean())


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

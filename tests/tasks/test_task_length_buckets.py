"""Length buckets: every text once, little padding, and the states of one call over everything."""

from collections.abc import Callable

import pytest
import torch

from contextblip.tasks import BackbonePretraining
from contextblip.tasks.length_buckets import first_states, length_buckets
from contextblip.types import CaptionBatch


@pytest.mark.parametrize("buckets", [1, 2, 3, 7])
def test_each_text_is_in_one_bucket_that_is_as_long_as_its_longest(buckets: int) -> None:
    lengths = torch.tensor([4, 9, 4, 2, 7, 9, 3])
    mask = (torch.arange(12) < lengths[:, None]).long()
    parts = length_buckets(mask, buckets)
    assert sorted(torch.cat([rows for rows, _ in parts]).tolist()) == list(range(7))
    assert [length for _, length in parts] == [int(lengths[rows].max()) for rows, _ in parts]
    assert sum(len(rows) * length for rows, length in parts) <= 7 * 9


def test_buckets_save_padding() -> None:
    lengths = torch.tensor([4, 20, 4, 4, 20, 4])
    mask = (torch.arange(20) < lengths[:, None]).long()
    assert sum(len(rows) * length for rows, length in length_buckets(mask, 3)) == 2 * 4 + 2 * 4 + 2 * 20


@pytest.mark.parametrize("buckets", [1, 2, 3])
def test_states_are_those_of_one_call(
    backbone: str, captions: Callable[..., CaptionBatch], buckets: int
) -> None:
    task = BackbonePretraining(backbone, dropout=0.0)
    task.configure_model()
    batch, image_index = captions(6), torch.tensor([3, 0, 0, 5, 2, 1])
    texts = batch["input_ids"], batch["attention_mask"]
    images = task.model.encode_images(batch["images"]).image_embeds
    whole = task.model.fuse(*texts, images, image_index=image_index).multimodal_embeds[:, :1]
    found = first_states(task.model, *texts, images, image_index, buckets)
    torch.testing.assert_close(found, whole)
    weights = torch.linspace(-1, 1, whole.numel()).view_as(whole)  # each state counts, each differently
    parameters = [
        task.model.get_parameter(name)
        for name in ("vision_encoder.patch_embed.weight", "text_encoder.layers.0.mlp.fc1.weight")
    ]
    expected, gradients = (
        torch.autograd.grad((state * weights).sum(), parameters, retain_graph=True)
        for state in (whole, found)
    )
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-6)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_captions_loss_does_not_depend_on_the_buckets(
    backbone: str, captions: Callable[..., CaptionBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = BackbonePretraining(backbone, dropout=0.0)
    task.configure_model()
    batch = captions(5)
    torch.manual_seed(0)
    bucketed = task.losses(batch)
    monkeypatch.setattr(
        "contextblip.tasks.backbone_pretraining.length_buckets", lambda mask, _: length_buckets(mask, 1)
    )
    torch.manual_seed(0)
    torch.testing.assert_close(task.losses(batch), bucketed)

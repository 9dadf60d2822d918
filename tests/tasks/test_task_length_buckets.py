"""Length buckets: every text once, little padding, and the loss of one call over everything."""

from collections.abc import Callable

import pytest
import torch

from contextblip.tasks import BackbonePretraining
from contextblip.tasks.length_buckets import length_buckets
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

import math

import pytest
import torch

from contextblip.losses import (
    loss_candidates,
    loss_itc,
    loss_itm,
    loss_tmim,
    negative_weights,
    normalize_patches,
    sample_negatives,
)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_loss_itm_follows_equation_3(batch: int) -> None:
    logits = torch.randn(3 * batch, 2)
    labels = torch.cat([torch.ones(batch), torch.zeros(2 * batch)]).long()
    expected = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        expected -= row[label] - math.log(math.exp(row[0]) + math.exp(row[1]))
    assert loss_itm(logits, labels).item() == pytest.approx(expected / (3 * batch), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_loss_tmim_is_equation_4_per_pixel(batch: int) -> None:
    ours, target = torch.randn(batch, 3, 12), torch.randn(batch, 3, 12)
    equation = sum(
        ((ours[i, j] - target[i, j]) ** 2).sum().item() for i in range(batch) for j in range(3)
    ) / (batch * 3)
    assert loss_tmim(ours, target).item() == pytest.approx(equation / 12, rel=1e-5)


def test_loss_candidates_ignores_padding() -> None:
    logits = torch.tensor([[1.0, 2.0, -torch.inf]])
    expected = -math.log(math.exp(2) / (math.exp(1) + math.exp(2)))
    assert loss_candidates(logits, torch.tensor([1])).item() == pytest.approx(expected)


def test_loss_itc_shares_the_target_among_captions_of_one_image() -> None:
    features = torch.nn.functional.normalize(torch.randn(3, 4), dim=1)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    sim = (features @ features.T / 0.5).tolist()
    expected = 0.0
    for i in range(3):
        partners = [j for j in range(3) if same[i, j]]
        total = math.log(sum(math.exp(sim[i][j]) for j in range(3)))
        expected -= sum(sim[i][j] - total for j in partners) / len(partners)
    assert loss_itc(features, features, torch.tensor(0.5), same).item() == pytest.approx(
        expected / 3, rel=1e-5
    )


def test_negative_weights_are_softmax_plus_epsilon_off_the_diagonal() -> None:
    sim = torch.tensor([[0.9, 0.1, 0.2], [0.3, 0.8, -0.5], [0.0, 0.4, 0.7]])
    weights = negative_weights(sim, temperature=0.5)
    denominator = sum(math.exp(s / 0.5) for s in (0.9, 0.1, 0.2))
    assert weights[0].tolist() == pytest.approx(
        [0, math.exp(0.2) / denominator + 1e-4, math.exp(0.4) / denominator + 1e-4], rel=1e-5
    )


def test_captions_of_the_same_image_are_never_drawn() -> None:
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    weights = negative_weights(torch.randn(3, 3), same)
    assert (weights[same] == 0).all()
    assert all(sample_negatives(weights)[:2].tolist() == [2, 2] for _ in range(20))


def test_all_captions_of_one_image_fall_back_to_uniform() -> None:
    weights = negative_weights(torch.randn(3, 3), torch.ones(3, 3, dtype=torch.bool))
    assert torch.equal(weights, 1 - torch.eye(3))


def test_saturated_half_precision_similarities_can_be_drawn_from() -> None:
    sim = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float16)
    assert sample_negatives(negative_weights(sim, temperature=0.001)).tolist() == [1, 0]


def test_normalized_patches_have_zero_mean_and_unit_variance() -> None:
    patches = normalize_patches(torch.randn(2, 3, 48) * 5 + 2)
    torch.testing.assert_close(patches.mean(-1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 3), atol=1e-4, rtol=0)

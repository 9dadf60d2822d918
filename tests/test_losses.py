import math

import pytest
import torch

from contextblip.draws import choose
from contextblip.losses import (
    loss_candidates,
    loss_itc,
    loss_itm,
    loss_lm,
    loss_tmim,
    negative_weights,
    normalize_patches,
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


def test_loss_lm_is_the_smoothed_cross_entropy_of_the_next_words() -> None:
    logits = torch.randn(2, 4, 5)
    input_ids = torch.tensor([[4, 1, 2, 3], [4, 2, 0, 0]])
    attention_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    expected = 0.0
    # text, position that predicts, token behind it: four in all, however long the padding
    for text, position, token in [(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 0, 2)]:
        row = logits[text, position].tolist()
        total = math.log(sum(math.exp(value) for value in row))
        smoothed = [0.1 / 5 + 0.9 * (word == token) for word in range(5)]
        expected -= sum(share * (value - total) for share, value in zip(smoothed, row, strict=True))
    assert loss_lm(logits, input_ids, attention_mask).item() == pytest.approx(expected / 4, rel=1e-5)


def test_loss_lm_never_predicts_the_first_token_or_padding() -> None:
    logits = torch.randn(2, 4, 5, requires_grad=True)
    input_ids = torch.tensor([[4, 1, 2, 3], [4, 2, 0, 0]])
    attention_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    loss = loss_lm(logits, input_ids, attention_mask)
    other = torch.tensor([[0, 1, 2, 3], [1, 2, 4, 3]])
    assert torch.equal(loss, loss_lm(logits, other, attention_mask))
    torch.autograd.backward(loss)
    assert logits.grad is not None
    used = logits.grad.abs().sum(dim=-1) > 0
    assert used.tolist() == [[True, True, True, False], [True, False, False, False]]


def test_loss_lm_of_half_precision_logits_is_float32() -> None:
    logits = torch.randn(1, 3, 5).bfloat16()
    texts = torch.tensor([[4, 1, 2]]), torch.ones(1, 3, dtype=torch.long)
    assert torch.equal(loss_lm(logits, *texts), loss_lm(logits.float(), *texts))


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
    assert all(choose(weights, torch.rand(3, 1))[:2].tolist() == [2, 2] for _ in range(20))


def test_all_captions_of_one_image_fall_back_to_uniform() -> None:
    weights = negative_weights(torch.randn(3, 3), torch.ones(3, 3, dtype=torch.bool))
    assert torch.equal(weights, 1 - torch.eye(3))


def test_saturated_half_precision_similarities_can_be_drawn_from() -> None:
    sim = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float16)
    assert choose(negative_weights(sim, temperature=0.001), torch.rand(2, 1)).tolist() == [1, 0]


def test_normalized_patches_have_zero_mean_and_unit_variance() -> None:
    patches = normalize_patches(torch.randn(2, 3, 48) * 5 + 2)
    torch.testing.assert_close(patches.mean(-1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 3), atol=1e-4, rtol=0)

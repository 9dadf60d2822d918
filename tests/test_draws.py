"""Draws of a sample are uniform, independent of one another, and the same wherever the sample is."""

import pytest
import torch
from scipy import stats

from contextblip.draws import SampleDraws, choose

INDEX = torch.arange(4000)


def test_a_sample_draws_the_same_in_any_batch() -> None:
    whole, parts = (
        SampleDraws(INDEX, seed=3, step=7),
        [SampleDraws(part, 3, 7) for part in torch.split(INDEX, 900)],
    )
    for number in (1, 5):
        assert torch.equal(whole(number), torch.cat([part(number) for part in parts]))


@pytest.mark.parametrize(
    "other", [SampleDraws(INDEX, 4, 7), SampleDraws(INDEX, 3, 8), SampleDraws(INDEX + 4000, 3, 7)]
)
def test_seed_step_and_sample_all_count(other: SampleDraws) -> None:
    first, second = SampleDraws(INDEX, 3, 7)(1), other(1)
    assert abs(torch.corrcoef(torch.cat([first, second], dim=1).T)[0, 1]) < 0.06  # 4 standard errors


def test_draws_are_uniform_and_differ_from_call_to_call() -> None:
    draws = SampleDraws(INDEX, 3, 7)
    first, second = draws(50), draws(50)
    assert first.min() >= 0
    assert first.max() < 1
    for numbers in (first[:, 0], first[:, 49], second[:, 0], first[17], second[:, 3] + 0):
        assert stats.kstest(numbers.numpy(), "uniform").pvalue > 0.001
    neighbours = torch.stack([first[:, 0], first[:, 1], second[:, 0]])
    assert (torch.corrcoef(neighbours) - torch.eye(3)).abs().max() < 0.06
    assert torch.unique(first).numel() > 0.98 * first.numel()  # of 2**24 values


def test_choices_follow_the_weights_and_leave_zeros_out() -> None:
    weights = torch.tensor([[0.0, 1.0, 3.0, 0.0]]).repeat(4000, 1)
    chosen = choose(weights, SampleDraws(INDEX, 0, 0)(1))
    counts = chosen.bincount(minlength=4)
    assert counts[[0, 3]].tolist() == [0, 0]
    assert stats.binomtest(int(counts[1]), 4000, 0.25).pvalue > 0.001


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_ends_of_the_interval_choose_what_has_weight(uniform: float) -> None:
    weights = torch.tensor([[0.0, 1e-4, 1e4, 0.0]])
    assert choose(weights, torch.tensor([[uniform]])).item() in (1, 2)

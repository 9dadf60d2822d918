"""Recall at k against a slow oracle; ties and NaN count against the target."""

import pytest
import torch
from torch import Tensor

from contextblip.metrics import flat_shares
from contextblip.recall import RecallAtK, target_ranks


def slow_rank(scores: list[float], relevant: list[bool]) -> int:
    """Put whatever is not worse than the best relevant candidate before it."""
    if not any(relevant):
        return 0
    best = max(score for score, own in zip(scores, relevant, strict=True) if own)
    return 1 + sum(not score < best for score, own in zip(scores, relevant, strict=True) if not own)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_against_a_slow_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 6, (40, 12), generator=generator).float()  # many ties
    relevant = torch.rand(40, 12, generator=generator) < 0.15
    expected = [slow_rank(*row) for row in zip(scores.tolist(), relevant.tolist(), strict=True)]
    assert target_ranks(scores, relevant).tolist() == expected
    assert 0 in expected
    assert max(expected) > 3


def one_relevant(*places: int, width: int = 4) -> Tensor:
    relevant = torch.zeros(1, width, dtype=torch.bool)
    relevant[0, list(places)] = True
    return relevant


def test_a_tie_counts_against_the_target_but_not_between_its_own() -> None:
    scores = torch.tensor([[2.0, 2.0, 1.0, 2.0]])
    assert target_ranks(scores, one_relevant(0)).tolist() == [3]
    assert target_ranks(scores, one_relevant(0, 1)).tolist() == [2]
    assert target_ranks(scores, one_relevant(0, 1, 3)).tolist() == [1]
    assert target_ranks(torch.zeros(1, 4), one_relevant(2)).tolist() == [4], "a constant earns nothing"


def test_nan_never_helps() -> None:
    scores = torch.tensor([[float("nan"), 3.0, 1.0, 0.0]])
    assert target_ranks(scores, one_relevant(1)).tolist() == [2]
    assert target_ranks(scores, one_relevant(0)).tolist() == [4]
    assert target_ranks(torch.full((1, 4), -torch.inf), one_relevant(0)).tolist() == [4]


def test_an_empty_gallery_ranks_nothing() -> None:
    nothing = torch.zeros(3, 0)
    assert target_ranks(nothing, nothing.bool()).tolist() == [0, 0, 0]


def test_recall_counts_by_hand() -> None:
    recall = RecallAtK("text_recall")
    recall.update(torch.tensor([1, 5, 6, 0]))
    recall.update(torch.tensor([11, 2]))
    shares = recall.compute()
    assert {name: (share.value, share.n) for name, share in shares.items()} == {
        "text_recall@1": (0.2, 5),
        "text_recall@5": (0.6, 5),
        "text_recall@10": (0.8, 5),
    }
    assert not recall.hits.is_floating_point()
    assert not recall.total.is_floating_point()
    logged = flat_shares(shares, "test")
    assert logged["n/test/text_recall@5"] == 5
    recall.reset()
    recall.update(torch.tensor([0, 0]))
    assert recall.compute() == {}, "queries that belong to nothing are not counted"

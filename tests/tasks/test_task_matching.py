"""Negatives, pairs, and what pre-training logs about masks, by hand."""

import math

import pytest
import torch

from contextblip.metrics import attention_entropy
from contextblip.tasks.mask_memory import MaskMemory
from contextblip.tasks.matching import Negatives, draw_negatives, matching_labels, matching_pairs


def test_other_captions_of_an_image_are_never_its_negatives() -> None:
    image_id = torch.tensor([0, 0, 1, 1])
    same = image_id[:, None] == image_id
    for seed in range(20):
        torch.manual_seed(seed)
        drawn = draw_negatives(torch.eye(4) * 5 + same * 5, same, 1.0)
        assert drawn is not None
        assert not same[torch.arange(4), drawn.images].any()
        assert not same[drawn.texts, torch.arange(4)].any()


def test_negatives_follow_the_similarity_divided_by_the_temperature() -> None:
    sim = torch.tensor([[0.0, 0.1, 0.8], [0.7, 0.0, 0.1], [0.2, 0.6, 0.0]])
    torch.manual_seed(0)
    draws = [draw_negatives(sim, None, 0.02) for _ in range(50)]
    assert {tuple(drawn.images.tolist()) for drawn in draws if drawn} == {(2, 0, 1)}
    assert {tuple(drawn.texts.tolist()) for drawn in draws if drawn} == {(1, 2, 0)}
    flat = {
        tuple(drawn.images.tolist())
        for drawn in [draw_negatives(sim, None, 1.0) for _ in range(200)]
        if drawn
    }
    assert len(flat) == 8


def test_pairs_stand_in_the_papers_order() -> None:
    device = torch.device("cpu")
    drawn = Negatives(images=torch.tensor([2, 0, 1]), texts=torch.tensor([1, 2, 0]))
    texts, images = matching_pairs(3, drawn, device)
    assert texts.tolist() == [0, 1, 2, 0, 1, 2, 1, 2, 0]
    assert images.tolist() == [0, 1, 2, 2, 0, 1, 0, 1, 2]
    assert matching_labels(3, 9, device).tolist() == [1] * 3 + [0] * 6
    assert [index.tolist() for index in matching_pairs(1, None, device)] == [[0], [0]]


def test_entropy_by_hand() -> None:
    assert attention_entropy(torch.full((2, 8), 0.3)).item() == pytest.approx(math.log(8))
    assert attention_entropy(torch.eye(4)).item() == pytest.approx(0.0)
    assert attention_entropy(torch.tensor([[1.0, 3.0]])).item() == pytest.approx(
        -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    )


def test_mask_memory_compares_with_the_previous_epoch_only() -> None:
    memory, index = MaskMemory(), torch.tensor([5, 6])
    first = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    second = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1]], dtype=torch.bool)
    assert memory.changed(index, first).tolist() == []
    assert memory.changed(index, second).tolist() == []  # a caption that comes twice in one epoch
    memory.next_epoch()
    assert memory.changed(index, first).tolist() == [0.5, 1.0]
    memory.next_epoch()
    assert memory.changed(index.flip(0), first).tolist() == [0.0, 0.0]

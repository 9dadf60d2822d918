"""Batches of candidate sets: padding, sharing, the order of an epoch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from contextblip.types import Query
from data_modules.retrieval import RetrievalCollate, RetrievalSample, grouped_order, pad_candidates
from data_modules.text import TextProcessor, clean_retrieval_text, load_tokenizer

# sets of 1 to 3 items, as in IMAGECODE
SET_ROWS = np.repeat(np.arange(40), np.random.default_rng(0).choice([1, 2, 3], 40, p=[0.2, 0.4, 0.4]))


def query(text: str, number: int = 0) -> Query:
    return Query(set_name="s", query_index=number, text=text, phenomena=[], n_propositions=None)


def sample(set_row: int, images: torch.Tensor, target: int) -> RetrievalSample:
    return RetrievalSample(
        images=images,
        set_row=set_row,
        is_video=set_row > 4,
        queries=(query(f"a red circle {set_row}"),),
        target_indices=(target,),
    )


def test_sets_of_different_size_are_padded_and_masked() -> None:
    sets = [torch.full((size, 3, 2, 2), float(size)) for size in (2, 4, 3)]
    images, mask = pad_candidates(sets)
    assert images.shape == (3, 4, 3, 2, 2)
    assert mask.tolist() == [[True, True, False, False], [True] * 4, [True, True, True, False]]
    for row, size in enumerate((2, 4, 3)):
        assert torch.equal(images[row, :size], sets[row])
        assert not images[row, size:].any()


def test_sets_stand_once_however_many_queries_ask(world: Path) -> None:
    collate = RetrievalCollate(TextProcessor(load_tokenizer(str(world))[0], clean_retrieval_text))
    two, three = torch.rand(2, 3, 4, 4), torch.rand(3, 3, 4, 4)
    batch = collate([sample(7, two, 1), sample(3, three, 2), sample(7, two, -1)])
    assert batch["images"].shape == (2, 3, 3, 4, 4)
    assert batch["candidate_mask"].tolist() == [[True, True, False], [True, True, True]]
    assert batch["set_index"].tolist() == [0, 1, 0]
    assert batch["target_index"].tolist() == [1, 2, -1]
    assert batch["is_video"].tolist() == [True, False, True]
    assert batch["input_ids"].shape[0] == batch["attention_mask"].shape[0] == len(batch["queries"]) == 3
    assert batch["protocol"] == "retrieval"
    assert torch.equal(batch["images"][batch["set_index"][1]], three)


@pytest.mark.parametrize("batch_size", [2, 5, 12])
def test_batches_hold_whole_sets(batch_size: int) -> None:
    order = grouped_order(SET_ROWS, batch_size, seed=0, epoch=0)
    assert sorted(order.tolist()) == list(range(len(SET_ROWS)))
    batches = [set(SET_ROWS[order[start : start + batch_size]]) for start in range(0, len(order), batch_size)]
    split = sum(sum(row in batch for batch in batches) - 1 for row in range(40))
    plain = np.random.default_rng(0).permutation(len(SET_ROWS))
    shuffled = [
        set(SET_ROWS[plain[start : start + batch_size]]) for start in range(0, len(plain), batch_size)
    ]
    of_three = int((np.bincount(SET_ROWS) == 3).sum())
    assert split <= (of_three if batch_size == 2 else 2)  # a set of three never fits a batch of two
    assert split < sum(sum(row in batch for batch in shuffled) - 1 for row in range(40))


def test_grouped_order_depends_on_seed_and_epoch_alone() -> None:
    first = grouped_order(SET_ROWS, 5, seed=0, epoch=0).tolist()
    assert grouped_order(SET_ROWS, 5, seed=0, epoch=0).tolist() == first
    assert grouped_order(SET_ROWS, 5, seed=0, epoch=1).tolist() != first
    assert grouped_order(SET_ROWS, 5, seed=1, epoch=0).tolist() != first

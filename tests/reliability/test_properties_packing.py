"""Texts of any lengths: leaving padding out and putting it back changes nothing else."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from contextblip.models.packing import Layout, Tokens
from contextblip.tasks.length_buckets import length_buckets

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=8)


def masks_of(lengths: list[int], padding: int) -> Tensor:
    return (torch.arange(max(lengths) + padding) < torch.tensor(lengths)[:, None]).long()


def states_of(texts: int, length: int, width: int = 3) -> Tensor:
    """Return states that are all distinct and none 0."""
    return torch.arange(1.0, texts * length * width + 1).view(texts, length, width)


@given(
    kept=hnp.arrays("bool", hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)).map(torch.from_numpy),
    width=st.integers(1, 4),
)
def test_what_is_packed_comes_back_to_its_place(kept: Tensor, width: int) -> None:
    texts, length = kept.shape
    tokens, padded = Tokens.of(kept), states_of(texts, length, width)
    packed = tokens.pack(padded)
    assert packed.shape == (int(kept.sum()), width)
    assert torch.equal(tokens.pad(packed), padded * kept[..., None])
    assert torch.equal(tokens.pack(tokens.pad(packed)), packed)


@given(lengths=LENGTHS, padding=st.integers(0, 4), whole=st.integers(0, 8))
def test_leading_texts_stay_whole_and_the_rest_is_packed_behind(
    lengths: list[int], padding: int, whole: int
) -> None:
    mask, whole = masks_of(lengths, padding), min(whole, len(lengths))
    layout, padded = Layout.of(mask, None, whole), states_of(*mask.shape)
    packed = layout.texts.pack(padded)
    assert torch.equal(layout.texts.leading(packed, whole), padded[:whole])
    behind = layout.texts.behind(whole)
    rest = behind.pad(packed[whole * layout.texts.length :])
    assert torch.equal(rest, padded[whole:] * mask[whole:, :, None])
    assert torch.equal(layout.texts.first(packed), padded[:, :1])


@given(
    lengths=LENGTHS,
    padding=st.integers(0, 4),
    drawn=st.lists(st.integers(0, 7), min_size=1, max_size=12),
    whole=st.integers(0, 12),
)
def test_pairs_repeat_the_tokens_of_their_texts(
    lengths: list[int], padding: int, drawn: list[int], whole: int
) -> None:
    mask = masks_of(lengths, padding)
    text_index = torch.tensor(drawn) % len(lengths)
    layout, padded = Layout.of(mask, text_index, min(whole, len(drawn))), states_of(*mask.shape)
    assert layout.repeat is not None
    of_texts = layout.texts.pack(padded)
    assert torch.equal(of_texts[layout.repeat], layout.pairs.pack(padded[text_index]))
    unpadded = layout.pairs.pad(of_texts[layout.repeat]) * mask[text_index][..., None]
    assert torch.equal(unpadded, (padded * mask[..., None])[text_index])


@given(lengths=LENGTHS, padding=st.integers(0, 4), data=st.data())
def test_buckets_hold_every_text_once(lengths: list[int], padding: int, data: st.DataObject) -> None:
    buckets = data.draw(st.integers(1, len(lengths)))
    parts = length_buckets(masks_of(lengths, padding), buckets)
    assert sorted(torch.cat([rows for rows, _ in parts]).tolist()) == list(range(len(lengths)))
    assert len(parts) <= buckets
    found = [[lengths[row] for row in rows.tolist()] for rows, _ in parts]
    assert [length for _, length in parts] == [max(each) for each in found]
    assert all(max(one) <= min(other) for one, other in pairwise(found))

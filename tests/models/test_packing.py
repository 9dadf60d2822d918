"""Padding is not computed, and one token asks without keys and values: the same results either way."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contextblip.models.attention import Attention
from contextblip.models.layers import gelu
from contextblip.models.packing import Layout, Tokens
from contextblip.models.pairs import Pairs
from contextblip.models.text_encoder import TextEncoder

LENGTHS = (3, 6, 2, 5)
LENGTH, WIDTH, LAYERS = 6, 16, 3


@pytest.fixture
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(20, 16, WIDTH, LAYERS, 2, 32, context_width=12, dropout=0.0)


def given(length: int = LENGTH) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and two images' states."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 20, (len(LENGTHS), LENGTH), generator=generator)
    mask = (torch.arange(length) < torch.tensor(LENGTHS)[:, None]).long()
    return nn.functional.pad(ids, (0, length - LENGTH)), mask, torch.randn(2, 7, 12, generator=generator)


def test_packed_tokens_come_back_to_their_places() -> None:
    kept = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]]).bool()
    tokens = Tokens.of(kept)
    padded = torch.arange(1.0, 10).view(3, 3, 1)
    packed = tokens.pack(padded)
    assert packed[:, 0].tolist() == [1, 2, 4, 7, 8, 9]
    assert tokens.pad(packed)[..., 0].tolist() == [[1, 2, 0], [4, 0, 0], [7, 8, 9]]
    assert tokens.first(packed).tolist() == [[[1.0]], [[4.0]], [[7.0]]]


def test_only_whole_pairs_keep_their_padding() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    layout = Layout.of(mask, torch.tensor([0, 1, 0, 1]), whole=1)
    assert layout.texts.places.tolist() == [0, 1, 2, 3]  # text 0 whole, since its first pair is
    assert layout.pairs.places.tolist() == [0, 1, 2, 3, 6, 7, 9]
    assert layout.repeat is not None
    assert layout.repeat.tolist() == [0, 1, 2, 3, 0, 1, 3]


@pytest.mark.parametrize("length", [LENGTH, 11])
def test_a_padded_text_is_what_it_is_alone(encoder: TextEncoder, length: int) -> None:
    ids, mask, images = given(length)
    index = torch.tensor([0, 1, 1, 0])
    found = encoder(ids, mask, images, image_index=index, whole=0).first
    for row, tokens in enumerate(LENGTHS):
        alone = encoder(ids[row : row + 1, :tokens], mask[row : row + 1, :tokens], images[index[row]][None])
        torch.testing.assert_close(found[row], alone.first[0])


def test_padding_costs_nothing(encoder: TextEncoder) -> None:
    ids, mask, images = given(16)
    text, image = torch.tensor(list(product(range(4), range(2)))).T
    rows: list[int] = []
    for layer in encoder.layers:
        layer.mlp.fc1.register_forward_pre_hook(  # type: ignore[union-attr]  # a ModuleList forgets
            lambda _, inputs: rows.append(inputs[0].shape[:-1].numel())
        )
    encoder(ids, mask, images, text_index=text, image_index=image, whole=0)
    assert rows == [2 * sum(LENGTHS)] * (LAYERS - 1) + [len(text)]
    rows.clear()
    encoder(ids, mask, images, text_index=text, image_index=image, whole=3)
    behind = 2 * sum(LENGTHS) - (2 * LENGTHS[0] + LENGTHS[1])
    assert rows == [3 * 16 + behind] * (LAYERS - 1) + [3 * 16, len(text) - 3]


def attend_from_one(
    attention: Attention, read: Tensor, context: Tensor, mask: Tensor | None, pairs: Pairs | None
) -> list[Tensor]:
    """Return the new states and all gradients."""
    attention.zero_grad()
    context = context.detach().requires_grad_()
    states, _ = attention(read, context, mask, pairs=pairs)
    (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
    gradients = [parameter.grad for parameter in attention.parameters()]
    assert all(gradient is not None for gradient in gradients)  # strategies wait for each of them
    return [states.detach(), context.grad, *gradients]


@pytest.mark.parametrize("shares", [False, True])
def test_one_token_asks_without_keys_and_values(shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    attention = Attention(WIDTH, 2, 12)
    for part in (attention.query, attention.key, attention.value):
        nn.init.normal_(part.bias)
    read, context, mask, pairs = torch.randn(4, 1, WIDTH), torch.randn(4, 7, 12), None, None
    if shares:
        context, pairs = context[:2], Pairs.of(torch.tensor([1, 0, 1, 1]), 2)
    else:
        mask = (torch.arange(7) < torch.tensor([7, 2, 5, 1])[:, None])[:, None, None]
    used, absorbed = [], Attention._absorbed

    def recorded(*given: Any) -> Tensor:  # noqa: ANN401  # whatever it takes
        used.append(1)
        return absorbed(*given)

    monkeypatch.setattr(Attention, "_absorbed", recorded)
    found = attend_from_one(attention, read, context, mask, pairs)
    assert used
    monkeypatch.setattr(Attention, "_may_absorb", lambda *_: False)
    expected = attend_from_one(attention, read, context, mask, pairs)
    assert len(used) == 1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_keys_and_values_are_made_where_that_is_less_work() -> None:
    attention = Attention(WIDTH, 2, 12, dropout=0.1)
    one, several, context = torch.randn(4, 1, WIDTH), torch.randn(4, 2, WIDTH), torch.randn(4, 40, 12)
    alone = Pairs.of(None, 4)
    crowd = Pairs.of(torch.zeros(80, dtype=torch.long), 1)
    assert not attention._may_absorb(one, context, alone)  # dropped weights do not sum to 1
    attention.eval()
    assert attention._may_absorb(one, context, alone)
    assert not attention._may_absorb(several, context, alone)
    assert not attention._may_absorb(one.repeat(20, 1, 1), context[:1], crowd)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_other_types(dtype: torch.dtype, encoder: TextEncoder) -> None:
    ids, mask, images = given()
    index = torch.tensor([0, 1, 1, 0])
    expected = encoder(ids, mask, images, image_index=index, whole=0).first
    encoder.to(dtype)
    found = encoder(ids, mask, images.to(dtype), image_index=index, whole=0).first
    assert found.dtype == dtype
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


def test_gelu_takes_no_memory_without_gradients() -> None:
    states = torch.randn(3, 5)
    expected = nn.functional.gelu(states)
    kept = states.clone()
    torch.testing.assert_close(gelu(states), expected)
    assert torch.equal(states, kept)
    with torch.no_grad():
        assert gelu(states) is states
    torch.testing.assert_close(states, expected)

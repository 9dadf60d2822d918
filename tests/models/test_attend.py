"""Both ways of attention compute the same thing; `attend` chooses between them."""

from collections.abc import Callable
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from contextblip.models.attention import Attention, attend, padding_mask

N, HEADS, LENGTH, KEYS, WIDTH = 3, 2, 7, 11, 16
BF16, FP32 = torch.bfloat16, torch.float32
# half a unit in the last of bf16's 8 binary places
HALF_UNIT = torch.finfo(BF16).eps / 2


def states(dtype: torch.dtype = BF16) -> tuple[Tensor, Tensor, Tensor]:
    """Draw queries, keys and values whose numbers bf16 holds exactly."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(N, HEADS, length, WIDTH) for length in (LENGTH, KEYS, KEYS))
    return query.to(BF16).to(dtype), key.to(BF16).to(dtype), value.to(BF16).to(dtype)


def masks() -> dict[str, Tensor | None]:
    """A key mask of a text's padding, one of a query's own keys (causal), and none."""
    lengths = torch.tensor([KEYS, 5, 2])  # a key that stands alone would have no gradient: its weight is 1
    causal = torch.ones(LENGTH, KEYS, dtype=torch.bool).tril()
    return {
        "none": None,
        "padding": padding_mask(torch.arange(KEYS) < lengths[:, None]),
        "both": padding_mask(torch.arange(KEYS) < lengths[:, None]) & causal,
    }


def run(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], **keys: object) -> list[Tensor]:
    """Return the output and the gradients of queries, keys and values."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = function(*leaves, **keys)
    torch.manual_seed(1)
    upstream = torch.randn(output.shape).to(BF16).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaves, upstream)]


@pytest.mark.parametrize("mask", ["none", "padding", "both"])
def test_bf16_agrees_with_float32_within_its_precision(mask: str) -> None:
    ours = run(attend, states(), mask=masks()[mask])
    exact = run(F.scaled_dot_product_attention, states(FP32), attn_mask=masks()[mask])
    for found, expected in zip(ours, exact, strict=True):
        assert found.dtype == BF16
        # a handful of roundings, of which each is at most half a unit, and together less than their sum
        assert (found.float() - expected).norm() < 2 * HALF_UNIT * expected.norm()
        torch.testing.assert_close(
            found.float(), expected, rtol=0, atol=8 * HALF_UNIT * float(expected.abs().max())
        )


@pytest.mark.parametrize("mask", ["none", "padding", "both"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_float32_has_the_bits_of_the_fused_kernel(mask: str, dropout: float) -> None:
    torch.manual_seed(2)
    ours = run(attend, states(FP32), mask=masks()[mask], dropout=dropout)
    torch.manual_seed(2)
    fused = run(F.scaled_dot_product_attention, states(FP32), attn_mask=masks()[mask], dropout_p=dropout)
    assert all(torch.equal(found, expected) for found, expected in zip(ours, fused, strict=True))


@pytest.mark.parametrize(
    ("device", "dtype", "calls"),
    [("cpu", FP32, 1), ("cpu", torch.float16, 1), ("cpu", BF16, 0), ("meta", BF16, 1)],
)
def test_only_bf16_on_a_cpu_leaves_the_fused_kernel(
    device: str, dtype: torch.dtype, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = Mock(wraps=F.scaled_dot_product_attention)
    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    query, key, value = (tensor.to(device, dtype) for tensor in states())
    assert attend(query, key, value).shape == (N, HEADS, LENGTH, WIDTH)
    assert fused.call_count == calls
    with torch.no_grad():
        attend(query, key, value)
    assert fused.call_count == 2 * calls


def test_sharp_attention_errs_by_no_more_than_its_logits_are_rounded() -> None:
    """Trained heads have logits of 20 and more; half a unit of them is as many e-folds of a weight."""
    query, key, value = states(FP32)
    query, key, value = (20 * query).to(BF16), key.to(BF16), value.to(BF16)
    exact = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    logits = (query.float() @ key.float().mT) / WIDTH**0.5
    assert logits.abs().max() > 20
    bound = 4 * HALF_UNIT * float(logits.abs().max()) * float(value.abs().max())
    error = (attend(query, key, value).float() - exact).abs().max()
    assert 0 < error < bound


@pytest.mark.parametrize("dtype", [BF16, FP32])
def test_masked_keys_have_neither_influence_nor_gradient(dtype: torch.dtype) -> None:
    mask = masks()["both"]
    assert mask is not None
    query, key, value = states(dtype)
    seen = mask.any(dim=2)[:, 0]  # (N, KEYS): by any query of the sequence
    hidden = ~seen[:, None, :, None]
    found = run(attend, (query, key, value), mask=mask)
    other = run(attend, (query, key.masked_fill(hidden, 9.0), value.masked_fill(hidden, 9.0)), mask=mask)
    assert torch.equal(found[0], other[0])
    for gradient in found[2:]:
        assert torch.equal((gradient != 0).any(dim=-1), seen[:, None].expand(-1, HEADS, -1))


@pytest.mark.parametrize("dtype", [BF16, FP32])
def test_equal_logits_give_the_mean_of_the_permitted_values(dtype: torch.dtype) -> None:
    mask = masks()["both"]
    assert mask is not None
    query, key, value = states(dtype)
    weights = mask / mask.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(
        attend(torch.zeros_like(query), key, value, mask).float(),
        weights @ value.float(),
        rtol=0.0,
        atol=0.02,
    )


def test_a_mask_that_permits_all_changes_nothing() -> None:
    everything = torch.ones(N, 1, 1, KEYS, dtype=torch.bool)
    assert torch.equal(attend(*states(), everything), attend(*states()))


def test_nothing_wider_is_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    query, key, value = (tensor.requires_grad_() for tensor in states())
    with torch.autocast("cpu", BF16), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = attend(query, key, value, masks()["padding"])
    assert {tensor.dtype for tensor in kept if tensor.is_floating_point()} == {BF16}
    assert torch.equal(output, attend(*states(), masks()["padding"]))


@pytest.mark.parametrize("dtype", [BF16, FP32])
def test_dropout_of_the_weights_keeps_the_expectation(dtype: torch.dtype) -> None:
    draws = 4000
    query, key, value = (tensor[:1].expand(draws, -1, -1, -1) for tensor in states(dtype))
    torch.manual_seed(0)
    dropped = attend(query, key, value, dropout=0.4).float()
    exact = attend(query[:1], key[:1], value[:1]).float()[0]
    error = dropped.std(dim=0) / draws**0.5
    assert (dropped.std(dim=0) > 0.05).all()
    # 5 standard errors, and what bf16 rounds
    assert ((dropped.mean(dim=0) - exact).abs() < 5 * error + 0.01 * exact.abs().clamp(min=1)).all()


def test_nothing_is_dropped_in_evaluation() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, dropout=0.5).to(BF16)
    without = Attention(8, 2).to(BF16)
    without.load_state_dict(attention.state_dict())
    hidden = torch.randn(2, 5, 8, dtype=BF16)
    assert not torch.equal(attention(hidden)[0], attention(hidden)[0])
    assert torch.equal(attention.eval()(hidden)[0], without(hidden)[0])

"""Multi-head attention, with shared contexts, packed texts and maps that are kept out of the graph."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextblip.errors import ConfigurationError
from contextblip.models.linear import Linear
from contextblip.models.packing import Tokens
from contextblip.models.pairs import Pairs

BERT_EPS = 1e-12


def check_heads(width: int, heads: int, key: str) -> None:
    """Raise ``ConfigurationError`` naming ``key`` unless ``heads`` divides ``width``."""
    if heads < 1 or width % heads:
        divisors = [str(n) for n in range(1, 33) if width % n == 0]
        raise ConfigurationError(
            f"{key} is {heads}, but must divide the width {width}: {', '.join(divisors)}"
        )


def split_heads(states: Tensor, heads: int) -> Tensor:
    """Reshape ``(N, L, D)`` to ``(N, heads, L, D / heads)``."""
    batch, length, width = states.shape
    return states.view(batch, length, heads, width // heads).transpose(1, 2)


def padding_mask(attention_mask: Tensor) -> Tensor:
    """Turn a token mask ``(N, L)`` (1 = token) into SDPA's key mask ``(N, 1, 1, L)``, True = attend."""
    return attention_mask.bool()[:, None, None, :]


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Compute scaled dot-product attention the faster way for the device and the precision.

    PyTorch's fused kernel, except for bf16 on a CPU: there plain matrix products, which run at the
    processor's bf16 speed, take half its time forward and a fraction of it backward
    (`benchmarks/attention.py`). They round the logits to bf16, as everything between two layers is: scores
    drift from fp32 by 0.8% of what a query's candidates differ by where the kernel's drift by 0.7%.

    Args:
        query: ``(N, heads, L, D / heads)``.
        key: ``(N, heads, S, D / heads)``.
        value: ``(N, heads, S, D / heads)``.
        mask: True where a key may be attended to, broadcastable to ``(N, heads, L, S)``; at least one key a
            query.
        dropout: Probability on the attention weights.

    Returns:
        ``(N, heads, L, D / heads)``.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    with torch.autocast("cpu", enabled=False):  # all operands are bf16 already
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        weights = F.dropout(logits.softmax(dim=-1), dropout) if dropout else logits.softmax(dim=-1)
        return weights @ value


class Maps(NamedTuple):
    """Which attention maps are wanted.

    Attributes:
        heads: Heads that are averaged, counted from 0; ``()`` means all.
        sequences: Of how many sequences, the first ones, which are whole.
    """

    heads: tuple[int, ...]
    sequences: int


class KeysValues(NamedTuple):
    """What a context becomes for one attention.

    Attributes:
        key: ``(C, heads, S, D / heads)``.
        value: ``(C, heads, S, D / heads)``.
    """

    key: Tensor
    value: Tensor


class Attention(nn.Module):
    """Multi-head attention with BERT's residual connection and LayerNorm behind it.

    Args:
        width: Width D of the queries and of the output.
        heads: Number of heads.
        context_width: Width of what keys and values are made from; ``None`` means ``width``.
        dropout: Probability on attention weights and on the output.
    """

    def __init__(
        self, width: int, heads: int, context_width: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(context_width or width, width)
        self.value = Linear(context_width or width, width)
        self.output = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=BERT_EPS)
        self.dropout = nn.Dropout(dropout)

    def project(self, context: Tensor, tokens: Tokens | None = None) -> KeysValues:
        """Make keys and values.

        Args:
            context: ``(C, S, context width)``, or packed, ``(T, context width)``.
            tokens: Where packed states stand.

        Returns:
            ``(C, heads, S, D / heads)`` each.
        """
        projected = (part(context) for part in (self.key, self.value))
        return KeysValues(*(split_heads(_padded(states, tokens), self.heads) for states in projected))

    def forward(
        self,
        hidden: Tensor,
        context: Tensor | KeysValues | None = None,
        mask: Tensor | None = None,
        *,
        tokens: Tokens | None = None,
        pairs: Pairs | None = None,
        maps: Maps | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from ``hidden`` to ``context``.

        Args:
            hidden: Queries, ``(N, L, D)``, or packed, ``(T, D)``.
            context: What is attended to, ``(C, S, context width)``, or its keys and values where several
                calls share them; ``None`` is self-attention.
            mask: True where a key may be attended to, broadcastable to ``(C, heads, L, S)``; not with
                ``pairs``.
            tokens: Where packed queries stand; ``pairs`` have their own.
            pairs: Context of each query sequence; ``None`` when C = N, in order. Keys and values are
                projected once a context, however many sequences share it.
            maps: Which attention maps are wanted, if any.

        Returns:
            The new states, in the shape of ``hidden``, and the maps of the first M sequences, averaged over
            heads, ``(M, L, S)``, detached, or ``None``.
        """
        pairs = Pairs(None, tokens) if pairs is None else pairs
        query = self.query(hidden)
        if isinstance(context, Tensor) and maps is None and self._may_absorb(query, context, pairs):
            return self._add(hidden, self._absorbed(query, context, mask, pairs)), None
        context = self.project(hidden, tokens) if context is None else context
        key, value = context if isinstance(context, KeysValues) else self.project(context)
        attended = self._attend(query, key, value, mask, pairs)
        attention_map = None
        if maps is not None:
            first = slice(maps.sequences)
            asked = query[first] if pairs.tokens is None else pairs.tokens.leading(query, maps.sequences)
            keys = key[first] if pairs.context_index is None else key[pairs.context_index[first]]
            attention_map = mean_attention(split_heads(asked, self.heads), keys, mask, maps.heads)
        return self._add(hidden, attended), attention_map

    def _add(self, hidden: Tensor, attended: Tensor) -> Tensor:
        added: Tensor = self.norm(hidden + self.dropout(self.output(attended)))
        return added

    def _may_absorb(self, query: Tensor, context: Tensor, pairs: Pairs) -> bool:
        """Whether `_absorbed` computes less: one token a sequence, and few sequences a context."""
        drops, copies = self.training and self.dropout.p > 0, pairs.context_index is not None
        if query.dim() < 3 or query.shape[1] > 1 or drops or (copies and pairs.groups is None):
            return False
        asking, keys, width = 1 if pairs.groups is None else pairs.groups.size, *context.shape[1:]
        return asking * (width + self.heads * keys) < keys * width

    def _absorbed(self, query: Tensor, context: Tensor, mask: Tensor | None, pairs: Pairs) -> Tensor:
        """Attend without keys and values: their matrices are applied to the few that ask instead.

        ``q·(K x + k) = (Kᵀq)·x + q·k``, and ``Σ a (V x + v) = V Σ a x + v``, since the weights sum to 1. In
        fp32, for it is little work.
        """
        groups, width, dtype = pairs.groups, context.shape[-1], query.dtype
        full = torch.promote_types(dtype, torch.float32)
        with torch.autocast(query.device.type, enabled=False):
            context = context.to(full)
            to_key, to_value = (
                part.weight.to(full).view(self.heads, -1, width) for part in (self.key, self.value)
            )
            asking = split_heads(query.to(full) * to_key.shape[1] ** -0.5, self.heads)
            asked = torch.einsum("nhrd,hdc->nhrc", asking, to_key).flatten(1, 2)
            # the same for all keys of a row, so that it changes no weight, but its bias stays in the graph
            constant = (asking * self.key.bias.view(self.heads, 1, -1)).sum(-1).flatten(1)[..., None]
            if groups is None:
                logits = asked @ context.transpose(1, 2) + constant
            else:
                logits = groups.join(asked) @ context.transpose(1, 2) + groups.join(constant)
            if mask is not None:
                logits = logits.masked_fill(~mask[:, 0], -torch.inf)
            read = logits.softmax(dim=-1) @ context
            read = read if groups is None else groups.part(read, asked)
            read = read.view(len(query), self.heads, -1, width)
            attended = torch.einsum("nhrc,hdc->nrhd", read, to_value).flatten(2) + self.value.bias
        return attended.to(dtype)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, pairs: Pairs) -> Tensor:
        """Attend with all heads; the result has the shape of the query."""
        groups, tokens = pairs.groups, pairs.tokens
        if pairs.context_index is not None and groups is None:
            key, value = key[pairs.context_index], value[pairs.context_index]
        laid_out = _padded(query, tokens) if groups is None else groups.join(query)
        dropout = self.dropout.p if self.training else 0.0
        attended = attend(split_heads(laid_out, self.heads), key, value, mask, dropout)
        joined = attended.transpose(1, 2).flatten(2)
        if groups is not None:
            return groups.part(joined, query)
        return joined if tokens is None else tokens.pack(joined)


def _padded(states: Tensor, tokens: Tokens | None) -> Tensor:
    return states if tokens is None else tokens.pad(states)


@torch.no_grad()
def mean_attention(query: Tensor, key: Tensor, mask: Tensor | None, heads: Sequence[int]) -> Tensor:
    """Return attention probabilities averaged over heads, outside the autograd graph.

    SDPA never forms them; recomputing the product costs one of its two matrix products and keeps nothing.

    Args:
        query: ``(N, heads, L, D / heads)``.
        key: ``(N, heads, S, D / heads)``.
        mask: True where a key may be attended to, or ``None``.
        heads: Which heads to average; ``()`` means all.

    Returns:
        Probabilities, ``(N, L, S)`` float32.
    """
    if heads:
        query, key = query[:, list(heads)], key[:, list(heads)]
    with torch.autocast(query.device.type, enabled=False):
        logits = query.float() @ key.float().transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    mean: Tensor = logits.softmax(-1).mean(1)
    return mean

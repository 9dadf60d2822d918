"""Attention and post-LN transformer layers shared by text encoder, decoder and inter-context encoder."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextblip.errors import ConfigurationError
from contextblip.models.pairs import Pairs

BERT_EPS = 1e-12
BERT_WIDTH = 768
INIT_STD = 0.02


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

    PyTorch's fused kernel, except for bf16 on a CPU: there its backward pass takes several times as long as
    plain matrix products, which run at the processor's bf16 speed (`benchmarks/attention.py`).

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
    trains = torch.is_grad_enabled()  # without a backward pass the fused kernel's fp32 softmax is worth more
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or not trains:
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
        sequences: Of how many sequences, the first ones.
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
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width or width, width)
        self.value = nn.Linear(context_width or width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=BERT_EPS)
        self.dropout = nn.Dropout(dropout)

    def project(self, context: Tensor) -> KeysValues:
        """Make keys and values, ``(C, S, context width)`` to ``(C, heads, S, D / heads)`` each."""
        return KeysValues(*(split_heads(part(context), self.heads) for part in (self.key, self.value)))

    def forward(
        self,
        hidden: Tensor,
        context: Tensor | KeysValues | None = None,
        mask: Tensor | None = None,
        *,
        pairs: Pairs | None = None,
        maps: Maps | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from ``hidden`` to ``context``.

        Args:
            hidden: Queries, ``(N, L, D)``.
            context: What is attended to, ``(C, S, context width)``, or its keys and values where several
                calls share them; ``None`` is self-attention.
            mask: True where a key may be attended to, broadcastable to ``(C, heads, L, S)``; not with
                ``pairs``.
            pairs: Context of each query sequence; ``None`` when C = N, in order. Keys and values are
                projected once a context, however many sequences share it.
            maps: Which attention maps are wanted, if any.

        Returns:
            The new states, ``(N, L, D)``, and the maps of the first M sequences, averaged over heads,
            ``(M, L, S)``, detached, or ``None``.
        """
        source = hidden if context is None else context
        key, value = source if isinstance(source, KeysValues) else self.project(source)
        query = self.query(hidden)
        attended = self._attend(query, key, value, mask, pairs)
        update = self.dropout(self.output(attended))
        attention_map = None
        if maps is not None:
            first = slice(maps.sequences)
            keys = key[first] if pairs is None else key[pairs.context_index[first]]
            attention_map = mean_attention(split_heads(query[first], self.heads), keys, mask, maps.heads)
        return self.norm(hidden + update), attention_map

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, pairs: Pairs | None
    ) -> Tensor:
        """Attend with all heads, ``(N, L, D)`` to ``(N, L, D)``."""
        groups = None if pairs is None else pairs.groups
        if pairs is not None and groups is None:
            key, value = key[pairs.context_index], value[pairs.context_index]
        grouped = query if groups is None else groups.join(query)
        dropout = self.dropout.p if self.training else 0.0
        attended = attend(split_heads(grouped, self.heads), key, value, mask, dropout)
        joined = attended.transpose(1, 2).flatten(2)
        return joined if groups is None else groups.part(joined)


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


class FeedForward(nn.Module):
    """BERT's feed-forward part: two linear layers, erf GELU, residual, LayerNorm.

    Args:
        width: Width D of input and output.
        mlp_width: Hidden width.
        dropout: Probability on the output.
    """

    def __init__(self, width: int, mlp_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, mlp_width)
        self.fc2 = nn.Linear(mlp_width, width)
        self.norm = nn.LayerNorm(width, eps=BERT_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(N, L, D)`` to ``(N, L, D)``."""
        update: Tensor = self.dropout(self.fc2(F.gelu(self.fc1(hidden))))
        normed: Tensor = self.norm(hidden + update)
        return normed


class TransformerLayer(nn.Module):
    """Post-LN layer: self-attention, optional cross-attention, feed-forward (Devlin et al., 2019).

    Args:
        width: Width D.
        heads: Attention heads.
        mlp_width: Hidden width of the feed-forward part.
        context_width: Width of the cross-attended states; ``None`` builds no cross-attention.
        dropout: Probability at every dropout of BERT.
    """

    def __init__(
        self, width: int, heads: int, mlp_width: int, context_width: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads, dropout=dropout)
        self.cross_attention = (
            None if context_width is None else Attention(width, heads, context_width, dropout=dropout)
        )
        self.mlp = FeedForward(width, mlp_width, dropout)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None = None,
        context: Tensor | KeysValues | None = None,
        context_mask: Tensor | None = None,
        *,
        read: Tensor | None = None,
        repeat: Tensor | None = None,
        pairs: Pairs | None = None,
        maps: Maps | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the layer; without ``context`` the cross-attention is skipped.

        Args:
            hidden: ``(N, L, D)``.
            mask: Key mask of the self-attention, see `padding_mask`.
            context: Cross-attended states, ``(C, S, context width)``, or their keys and values.
            context_mask: Key mask of the cross-attention.
            read: States of the R tokens that are read behind the layer, part of ``hidden``,
                ``(N, R, D)``: all else is only attended to. ``None``: all are read.
            repeat: Row of ``hidden`` for each sequence from the cross-attention on: what several contexts
                are asked about runs through the self-attention once. ``None``: each row once.
            pairs: Context of each sequence, see `Attention.forward`.
            maps: Which cross-attention maps are wanted, if any.

        Returns:
            New states ``(N, R, D)`` and the cross-attention maps ``(M, R, S)`` or ``None``.
        """
        attention_map = None
        if read is None:
            hidden, _ = self.self_attention(hidden, mask=mask)
        else:
            hidden, _ = self.self_attention(read, hidden, mask)
        if repeat is not None:
            hidden = hidden[repeat]
        if context is not None and self.cross_attention is not None:
            hidden, attention_map = self.cross_attention(
                hidden, context, context_mask, pairs=pairs, maps=maps
            )
        return self.mlp(hidden), attention_map


def init_bert_weights(module: nn.Module, width: int = BERT_WIDTH) -> None:
    """Initialise as BERT does: N(0, 0.02), zero biases, unit LayerNorms; use with ``Module.apply``.

    Args:
        module: What to initialise; modules of other kinds are left alone.
        width: Width of the model. BERT's 0.02 suits its own; matrices of a narrower model get the standard
            deviation that keeps the size of their outputs.
    """
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INIT_STD * (BERT_WIDTH / width) ** 0.5)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)

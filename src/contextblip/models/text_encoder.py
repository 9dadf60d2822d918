"""BLIP's text encoder: BERT with cross-attention to the image in every layer (paper, Sec. 3.2)."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from contextblip.errors import ConfigurationError
from contextblip.models.layers import (
    BERT_EPS,
    TransformerLayer,
    check_heads,
    init_bert_weights,
    padding_mask,
)


class TextStates(NamedTuple):
    """States of the text encoder.

    Attributes:
        hidden: ``(N, L, D)``.
        attention: Cross-attention averaged over layers and heads, ``(N, L, S)``, detached; ``None`` unless
            asked for.
    """

    hidden: Tensor
    attention: Tensor | None


class TextEncoder(nn.Module):
    """BERT encoder without token types or pooler; alone or grounded in an image.

    Args:
        vocab_size: Rows of the word embeddings.
        max_positions: Longest text, in tokens.
        width: Width D.
        layers: Number of layers.
        heads: Attention heads.
        mlp_width: Hidden width of the feed-forward parts.
        context_width: Width of the image states that are attended to.
        dropout: BERT's dropout probability.
    """

    def __init__(
        self,
        vocab_size: int,
        max_positions: int,
        width: int,
        layers: int,
        heads: int,
        mlp_width: int,
        context_width: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_heads(width, heads, "text_heads")
        self.word_embeddings = nn.Embedding(vocab_size, width)
        self.position_embeddings = nn.Embedding(max_positions, width)
        self.norm = nn.LayerNorm(width, eps=BERT_EPS)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, mlp_width, context_width, dropout) for _ in range(layers)
        )
        self.heads = heads
        self.apply(partial(init_bert_weights, width=width))

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embed tokens and positions, ``(N, L)`` to ``(N, L, D)``.

        Raises:
            ConfigurationError: The text is longer than the position table.
        """
        length, longest = input_ids.shape[1], self.position_embeddings.num_embeddings
        if length > longest:
            raise ConfigurationError(
                f"a text has {length} tokens, but the backbone has {longest} positions: "
                f"set --data.max_tokens to at most {longest}"
            )
        positions = self.position_embeddings.weight[:length]
        embedded: Tensor = self.dropout(self.norm(self.word_embeddings(input_ids) + positions))
        return embedded

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_embeds: Tensor | None = None,
        *,
        image_index: Tensor | None = None,
        return_attention: bool = False,
        attention_layers: Sequence[int] | None = None,
        attention_heads: Sequence[int] | None = None,
    ) -> TextStates:
        """Encode texts, grounded in images where these are given.

        Args:
            input_ids: ``(N, L)`` int64.
            attention_mask: 1 at tokens, 0 at padding, ``(N, L)``.
            image_embeds: Image states, ``(C, S, context width)``; ``None`` skips the cross-attention.
            image_index: Row of ``image_embeds`` for each text, ``(N,)``; ``None`` when C = N, in order.
            return_attention: Whether the averaged cross-attention map is wanted.
            attention_layers: Layers averaged in the map, counted from 1; ``None`` means all.
            attention_heads: Heads averaged in the map, counted from 1; ``None`` means all.

        Returns:
            States and, if asked for, the map.
        """
        mask = padding_mask(attention_mask)
        wanted = self._map_layers(attention_layers) if return_attention else frozenset()
        heads = self._map_heads(attention_heads)
        hidden = self.embed(input_ids)
        total: Tensor | None = None
        for number, layer in enumerate(self.layers, start=1):
            hidden, attention_map = layer(
                hidden,
                mask,
                image_embeds,
                context_index=image_index,
                map_heads=heads if number in wanted else None,
            )
            if attention_map is not None:
                total = attention_map if total is None else total + attention_map
        return TextStates(hidden, None if total is None else total / len(wanted))

    def _map_layers(self, chosen: Sequence[int] | None) -> frozenset[int]:
        valid = range(1, len(self.layers) + 1)
        return frozenset(_checked(chosen, valid, "attention_layers") if chosen is not None else valid)

    def _map_heads(self, chosen: Sequence[int] | None) -> tuple[int, ...]:
        if chosen is None:
            return ()
        return tuple(head - 1 for head in _checked(chosen, range(1, self.heads + 1), "attention_heads"))


def _checked(chosen: Sequence[int], valid: range, key: str) -> Sequence[int]:
    """Return ``chosen`` or raise ``ConfigurationError`` naming ``key``."""
    if not chosen or any(number not in valid for number in chosen):
        raise ConfigurationError(
            f"{key} is {list(chosen)}, but must hold numbers from {valid.start} to {valid.stop - 1}"
        )
    return chosen


def with_first_token(input_ids: Tensor, token_id: int) -> Tensor:
    """Return ids ``(N, L)`` whose first token is ``token_id`` (BLIP's [ENC] in grounded passes)."""
    first = torch.full_like(input_ids[:, :1], token_id)
    return torch.cat([first, input_ids[:, 1:]], dim=1)

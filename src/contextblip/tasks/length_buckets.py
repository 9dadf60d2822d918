"""Texts of like length together, so that little is computed for padding."""

import torch
from torch import Tensor

from contextblip.models.contextblip import ContextBLIP


def length_buckets(attention_mask: Tensor, buckets: int) -> list[tuple[Tensor, int]]:
    """Part texts into buckets of equal size by their length.

    Args:
        attention_mask: 1 at tokens, 0 at padding, ``(N, L)``.
        buckets: How many, at most N.

    Returns:
        Of each bucket its rows, ``(n,)`` int64, and the length of its longest text in tokens.
    """
    lengths = attention_mask.sum(dim=1)
    parts = lengths.argsort(stable=True).chunk(buckets)
    return [(rows, int(lengths[rows].max())) for rows in parts]


def first_states(
    model: ContextBLIP,
    input_ids: Tensor,
    attention_mask: Tensor,
    image_embeds: Tensor,
    image_index: Tensor,
    buckets: int = 3,
) -> Tensor:
    """Fuse texts with images, bucket by bucket, and return the states that the ITM head reads.

    Padding is masked, so the result is that of one call. More buckets save more padding, but each projects
    the keys and values of the images anew.

    Args:
        model: The model.
        input_ids: ``(N, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(N, L)``.
        image_embeds: Image states, ``(C, 1 + V, D)``.
        image_index: Row of ``image_embeds`` for each text, ``(N,)``.
        buckets: How many.

    Returns:
        First fused token of each text, in their order, ``(N, 1, D)``.
    """
    parts = length_buckets(attention_mask, buckets)
    fused = [
        model.fuse(
            input_ids[rows, :length],
            attention_mask[rows, :length],
            image_embeds,
            image_index=image_index[rows],
            whole=0,
        ).first_token
        for rows, length in parts
    ]
    order = torch.cat([rows for rows, _ in parts])
    return torch.cat(fused)[order.argsort()]

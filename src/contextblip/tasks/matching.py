"""Pairs for image-text matching: each positive with two sampled negatives (paper, Sec. 3.3, Step 1)."""

from typing import NamedTuple

import torch
from torch import Tensor

from contextblip.losses import negative_weights, sample_negatives


class Negatives(NamedTuple):
    """One negative image for each text and one negative text for each image.

    Attributes:
        images: Row of the negative image of text b, ``(B,)`` int64.
        texts: Row of the negative text of image b, ``(B,)`` int64.
    """

    images: Tensor
    texts: Tensor


class Pairs(NamedTuple):
    """Texts and the images they are fused with.

    Attributes:
        input_ids: ``(N, L)`` int64.
        attention_mask: ``(N, L)``.
        image_index: Row of the image, ``(N,)`` int64.
    """

    input_ids: Tensor
    attention_mask: Tensor
    image_index: Tensor


def draw_negatives(
    sim_t2i: Tensor, same_image: Tensor | None, temperature: float | Tensor
) -> Negatives | None:
    """Draw negatives of the local batch, likelier the more similar.

    Args:
        sim_t2i: Similarities, row = text, ``(B, B)``.
        same_image: Pairs never to be drawn, ``(B, B)`` bool; ``None``: a text's own image only.
        temperature: Divides the similarities.

    Returns:
        The negatives, or ``None`` for a batch of one, which has none.
    """
    if len(sim_t2i) < 2:
        return None
    images = sample_negatives(negative_weights(sim_t2i, same_image, temperature))
    texts = sample_negatives(negative_weights(sim_t2i.T, same_image, temperature))
    return Negatives(images, texts)


def negative_pairs(input_ids: Tensor, attention_mask: Tensor, negatives: Negatives) -> Pairs:
    """Line up the 2B negative pairs: each text with its negative image, each image with its negative text.

    Args:
        input_ids: ``(B, L)`` int64.
        attention_mask: ``(B, L)``.
        negatives: What was drawn.

    Returns:
        The pairs in that order, N = 2B.
    """
    own = torch.arange(len(input_ids), device=input_ids.device)
    texts, images = torch.cat([own, negatives.texts]), torch.cat([negatives.images, own])
    return Pairs(input_ids[texts], attention_mask[texts], images)


def matching_labels(batch_size: int, pairs: int, device: torch.device) -> Tensor:
    """Return 1 for the positives, which come first, and 0 for the rest.

    Args:
        batch_size: Positives B.
        pairs: All pairs N.
        device: Where.

    Returns:
        ``(N,)`` int64.
    """
    return (torch.arange(pairs, device=device) < batch_size).long()

"""Pairs for image-text matching: each positive with two sampled negatives (paper, Sec. 3.3, Step 1)."""

from typing import NamedTuple

import torch
from torch import Tensor

from contextblip.draws import Uniform, choose, drawn_anywhere
from contextblip.losses import negative_weights


class Negatives(NamedTuple):
    """One negative image for each text and one negative text for each image.

    Attributes:
        images: Row of the negative image of text b, ``(B,)`` int64.
        texts: Row of the negative text of image b, ``(B,)`` int64.
    """

    images: Tensor
    texts: Tensor


def draw_negatives(
    sim_t2i: Tensor,
    same_image: Tensor | None,
    temperature: float | Tensor,
    sim_i2t: Tensor | None = None,
    first: int = 0,
    uniform: Uniform | None = None,
) -> Negatives | None:
    """Draw negatives among C pairs, of which the batch is a part or the whole; likelier the more similar.

    Args:
        sim_t2i: Similarities, row = text of the batch, ``(B, C)``.
        same_image: Pairs never to be drawn, ``(B, C)`` bool; ``None``: a text's own image only.
        temperature: Divides the similarities.
        sim_i2t: Similarities, row = image of the batch, ``(B, C)``; ``None``: the batch is the whole.
        first: Where among the C pairs the batch begins.
        uniform: What draws; ``None``: torch's generator.

    Returns:
        The negatives, as rows of the C pairs, or ``None`` for a single pair, which has none.
    """
    if sim_t2i.shape[1] < 2:
        return None
    sim_i2t = sim_t2i.T if sim_i2t is None else sim_i2t
    uniform = drawn_anywhere(len(sim_t2i), sim_t2i.device) if uniform is None else uniform
    of_texts, of_images = (
        negative_weights(sim, same_image, temperature, first) for sim in (sim_t2i, sim_i2t)
    )
    return Negatives(choose(of_texts, uniform(1)), choose(of_images, uniform(1)))


def matching_pairs(
    batch_size: int, negatives: Negatives | None, device: torch.device, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Line up the 3B pairs: positives, each text with its negative image, each image with its negative text.

    Args:
        batch_size: Positives B.
        negatives: What was drawn; ``None``: positives alone.
        device: Where.
        first: Row of the first positive.

    Returns:
        Text and image of each pair in that order, ``(N,)`` int64 each.
    """
    own = torch.arange(batch_size, device=device) + first
    if negatives is None:
        return own, own
    return torch.cat([own, own, negatives.texts]), torch.cat([own, negatives.images, own])


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

"""Retrieval in two steps: a shortlist by a cheap similarity, then a costly score for its pairs alone.

BLIP (Li et al., 2022, Sec. 5.1) takes the ITC similarity for the first and the ITM head for the second step.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from contextblip.recall import target_ranks

# Similarities that are held at once: 128 MiB in fp32, where COCO's whole matrix takes 477 MiB
MAX_SIMILARITIES = 2**25


class Shortlist(NamedTuple):
    """The best candidates of each query.

    Attributes:
        candidates: Rows of the gallery, best first, ``(Q, k)`` int64.
        relevant: Which of them belong to the query, ``(Q, k)`` bool.
        ranks: Rank of the best relevant candidate in the whole gallery, see `target_ranks`, ``(Q,)`` int64.
    """

    candidates: Tensor
    relevant: Tensor
    ranks: Tensor


class PairChunk(NamedTuple):
    """Some pairs, sorted by image.

    Attributes:
        images: The distinct images, ``(C,)`` int64.
        image_index: Row of ``images`` for each pair, ``(n,)`` int64.
        texts: Text of each pair, ``(n,)`` int64.
    """

    images: Tensor
    image_index: Tensor
    texts: Tensor


def shortlist(
    features: Tensor,
    gallery: Tensor,
    labels: Tensor,
    gallery_labels: Tensor,
    top_k: int,
    max_similarities: int = MAX_SIMILARITIES,
) -> Shortlist:
    """Find each query's most similar candidates, some queries at a time.

    Args:
        features: Unit-norm features of the queries, ``(Q, E)`` float32.
        gallery: Those of the candidates, ``(C, E)`` float32.
        labels: What each query belongs to, -1 for nothing, ``(Q,)`` int64.
        gallery_labels: What each candidate belongs to; it is relevant where that is the same, ``(C,)`` int64.
        top_k: Candidates kept; all of a gallery that has fewer.
        max_similarities: Largest number of similarities held at once.

    Returns:
        The shortlists.
    """
    queries = max(1, max_similarities // max(1, len(gallery)))
    top_k = min(top_k, len(gallery))
    parts = []
    for chunk, label in zip(torch.split(features, queries), torch.split(labels, queries), strict=True):
        similarities = chunk @ gallery.T
        relevant = (label[:, None] == gallery_labels) & (label >= 0)[:, None]
        candidates = similarities.topk(top_k, dim=1).indices
        parts.append((candidates, relevant.gather(1, candidates), target_ranks(similarities, relevant)))
    candidates, relevant, ranks = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return Shortlist(candidates, relevant, ranks)


def pair_keys(text_candidates: Tensor, image_candidates: Tensor, owned: Tensor) -> Tensor:
    """Number the pairs that either direction asks for; a pair that both ask for comes once.

    Args:
        text_candidates: Texts on each image's shortlist, ``(N, k)`` int64.
        image_candidates: Images on each text's shortlist, ``(M, k')`` int64.
        owned: Images whose pairs are wanted, ``(N,)`` bool.

    Returns:
        ``image * M + text`` of each pair, ascending, hence sorted by image, ``(P,)`` int64.
    """
    from_images, from_texts = directed_keys(text_candidates, image_candidates)
    asked = torch.cat([from_images[owned].flatten(), from_texts[owned[image_candidates]]])
    keys: Tensor = torch.unique(asked)
    return keys


def directed_keys(text_candidates: Tensor, image_candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Number the pairs of both directions.

    Args:
        text_candidates: Texts on each image's shortlist, ``(N, k)`` int64.
        image_candidates: Images on each text's shortlist, ``(M, k')`` int64.

    Returns:
        ``image * M + text``, ``(N, k)`` and ``(M, k')`` int64.
    """
    texts = len(image_candidates)
    images = torch.arange(len(text_candidates), device=text_candidates.device)
    columns = torch.arange(texts, device=image_candidates.device)
    return images[:, None] * texts + text_candidates, image_candidates * texts + columns[:, None]


def pair_chunks(keys: Tensor, texts: int, chunk_size: int) -> Iterator[PairChunk]:
    """Take pairs apart, so many at a time; a chunk names an image once, however many of its pairs it holds.

    Args:
        keys: From `pair_keys`.
        texts: Number of texts M.
        chunk_size: Pairs a chunk.

    Yields:
        The chunks, in order.
    """
    for chunk in torch.split(keys, chunk_size) if len(keys) else ():
        images, image_index = torch.unique_consecutive(chunk // texts, return_inverse=True)
        yield PairChunk(images, image_index, chunk % texts)


def score_pairs(keys: Tensor, texts: int, chunk_size: int, score: Callable[[PairChunk], Tensor]) -> Tensor:
    """Score pairs chunk by chunk.

    Args:
        keys: From `pair_keys`.
        texts: Number of texts M.
        chunk_size: Pairs scored at once.
        score: Gives the scores of a chunk's n pairs, ``(n,)``.

    Returns:
        Scores in the order of the keys, ``(P,)`` float32.
    """
    scores = torch.empty(len(keys), dtype=torch.float32, device=keys.device)
    start = 0
    for chunk in pair_chunks(keys, texts, chunk_size):
        scores[start : start + len(chunk.texts)] = score(chunk).float()
        start += len(chunk.texts)
    return scores


def look_up(keys: Tensor, scores: Tensor, wanted: Tensor) -> Tensor:
    """Find the scores of pairs; those of pairs that are not there are 0, so that processes can be added up.

    Args:
        keys: Ascending, ``(P,)`` int64.
        scores: ``(P,)``.
        wanted: Keys of any shape.

    Returns:
        Scores in the shape of ``wanted``.
    """
    if not len(keys):
        return scores.new_zeros(wanted.shape)
    place = torch.searchsorted(keys, wanted).clamp_max_(len(keys) - 1)
    return torch.where(keys[place] == wanted, scores[place], 0.0)


def reranked(listed: Shortlist, scores: Tensor) -> Tensor:
    """Rank the best relevant candidate after the shortlist was put in a new order.

    What is not on the shortlist stays behind it, in the order of the similarities.

    Args:
        listed: The shortlists.
        scores: New scores of the candidates on them, ``(Q, k)``.

    Returns:
        Ranks counted from 1, 0 where nothing is relevant, ``(Q,)`` int64.
    """
    return torch.where(listed.relevant.any(dim=1), target_ranks(scores, listed.relevant), listed.ranks)

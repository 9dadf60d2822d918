"""Scoring texts by their parts: the parts a few at a time, their scores joined into the text's."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from contextblip.tasks.candidate_scoring import Texts
from contextblip.types import TextParts

PartsScore = Literal["mean", "min", "product"]


def part_chunks(parts: TextParts, set_index: Tensor, size: int) -> Iterator[Texts]:
    """Take parts, so many at a time, each chunk as wide as its longest part.

    Args:
        parts: P parts of the texts of B queries.
        set_index: Set of each query, ``(B,)`` int64.
        size: Parts a chunk.

    Yields:
        The parts as texts of their own, in order.
    """
    columns = (parts["input_ids"], parts["attention_mask"], set_index[parts["query_index"]])
    for input_ids, attention_mask, sets in zip(
        *(torch.split(column, size) for column in columns), strict=True
    ):
        length = int(attention_mask.sum(dim=1).max())
        yield Texts(input_ids[:, :length], attention_mask[:, :length], sets)


def join_parts(logits: Tensor, query_index: Tensor, how: PartsScore, *, of_matches: bool) -> Tensor:
    """Join the scores of each text's parts; those of a text of one part stay what they are.

    ``mean`` and ``min`` are taken of the margins. ``product`` multiplies probabilities, in log space: of
    matches, each candidate's own, where the margins are log-odds, whose joint log-odds are returned; of the
    candidates, which exclude one another, by adding the logits, whose softmax is the product of the parts'
    softmaxes over the candidates, normalised anew.

    Args:
        logits: Margins of the parts, -inf at padding, ``(P, K)`` float32.
        query_index: Row of the query each part belongs to, ascending, every query at least once, ``(P,)``.
        how: ``mean``, ``min`` or ``product``.
        of_matches: Whether margins are log-odds of a match (ITM); else their softmax over the candidates is
            the probability.

    Returns:
        Margins of the B texts, -inf at padding, ``(B, K)`` float32.
    """
    join = _match_product if how == "product" and of_matches else _JOINS[how]
    sizes = torch.bincount(query_index).tolist()
    return torch.stack([join(rows) for rows in torch.split(logits, sizes)])


def _match_product(margins: Tensor) -> Tensor:
    """Return the log-odds of a product of probabilities, given their log-odds, ``(n, K)`` to ``(K,)``."""
    log_product = F.logsigmoid(margins).sum(dim=0)
    # a product that rounds to 1 still has finite log-odds
    log_product = log_product.clamp(max=-torch.finfo(margins.dtype).tiny)
    return log_product - (-log_product.expm1()).log()


_JOINS: Mapping[PartsScore, Callable[[Tensor], Tensor]] = {
    "mean": lambda margins: margins.mean(dim=0),
    "min": lambda margins: margins.amin(dim=0),
    "product": lambda margins: margins.sum(dim=0),
}

"""Recall at k of image-text retrieval; a tie with the target counts against it.

All states are sums of integers, so that they add up exactly over processes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from contextblip.groups import Share

TOP_K = (1, 5, 10)


def target_ranks(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank the best relevant candidate of each query.

    Candidates that score as much as it does stand before it, unless they are relevant too; so does whatever
    scores NaN. A model that gives all candidates one score thus gets no credit for the order of the files.

    Args:
        scores: ``(Q, C)``.
        relevant: True at the candidates that belong to the query, ``(Q, C)`` bool.

    Returns:
        Ranks counted from 1, 0 where nothing is relevant, ``(Q,)`` int64.
    """
    if scores.shape[1] == 0:
        return torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    best = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    before = ~(scores < best) & ~relevant
    return torch.where(relevant.any(dim=1), 1 + before.sum(dim=1), 0)


class RecallAtK(Metric):
    """Share of the queries that find a relevant candidate among their first k.

    From text to image the one relevant candidate is the caption's image; from image to text any of the
    image's captions will do. Queries without a relevant candidate are not counted.

    Args:
        name: What is found, ``text_recall`` or ``image_recall``.
        top_k: The numbers k.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    hits: Tensor
    total: Tensor

    def __init__(self, name: str, top_k: Sequence[int] = TOP_K) -> None:
        super().__init__()
        self.name = name
        self.top_k = tuple(top_k)
        zeros = torch.zeros(len(self.top_k), dtype=torch.long)
        self.add_state("hits", default=zeros, dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, ranks: Tensor) -> None:
        """Count some queries.

        Args:
            ranks: Rank of each query's best relevant candidate, from 1; 0 for none, ``(Q,)`` int64.
        """
        counted = ranks[ranks > 0].to(self.total.device)
        limits = torch.tensor(self.top_k, device=counted.device)
        self.hits += (counted[:, None] <= limits).sum(dim=0)
        self.total += len(counted)

    def compute(self) -> dict[str, Share]:
        """Return the recalls by name, such as ``text_recall@5``; nothing where no query was counted."""
        total = int(self.total)
        hits = zip(self.top_k, self.hits.tolist(), strict=True)
        return {f"{self.name}@{k}": Share(count / total, total) for k, count in hits} if total else {}

"""Stage two's memory: what the frozen parts make of a query and its candidates is computed once."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from contextblip.types import Query


class FeatureMemory:
    """Keeps the fused features of queries: 4 K D bytes each, 0.6 GB a process for the real IMAGECODE.

    It holds only where equal queries mean equal pixels and the parts behind the features stay as they are.
    """

    def __init__(self) -> None:
        self._features: dict[tuple[str, int], Tensor] = {}

    def __len__(self) -> int:
        """Queries that are remembered."""
        return len(self._features)

    def recall(
        self,
        queries: Sequence[Query],
        candidate_mask: Tensor,
        compute: Callable[[Sequence[int]], Sequence[Tensor]],
    ) -> Tensor:
        """Return the features of a batch, computing those of new queries alone.

        Args:
            queries: B queries.
            candidate_mask: True at real candidates, ``(B, K)`` bool; K may differ from batch to batch.
            compute: Gives the features of some rows of the batch, in their order, ``(count, D)`` each.

        Returns:
            ``(B, K, D)`` on the mask's device, zero at padding.
        """
        keys = [(query["set_name"], query["query_index"]) for query in queries]
        new = {key: row for row, key in enumerate(keys) if key not in self._features}
        for key, features in zip(new, compute(list(new.values())) if new else (), strict=True):
            self._features[key] = features.detach().cpu().clone()
        most = candidate_mask.shape[1]
        rows = [F.pad(self._features[key], (0, 0, 0, most - len(self._features[key]))) for key in keys]
        return torch.stack(rows).to(candidate_mask.device)

"""Accuracies of retrieval, by group for IMAGECODE, by pair for MMVP-VLM (paper, Tables 1 to 4); mean loss.

All states are sums of integers, so that they add up exactly over processes.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from contextblip.groups import MMVP_TYPES, PHENOMENA, PROPOSITIONS, SAMPLES, WORD_RANGES, Mean, Share
from contextblip.types import Query

RETRIEVAL_GROUPS = (
    "accuracy",
    "accuracy_video",
    "accuracy_static",
    "accuracy/challenging",
    *(f"accuracy/{name}" for name in PHENOMENA),
    *(f"accuracy/propositions_{number}" for number in PROPOSITIONS),
    *(f"accuracy/words_{low}-{high}" if high else f"accuracy/words_{low}+" for low, high in WORD_RANGES),
    *(f"accuracy/sample_{name}" for name in SAMPLES),
)
# Losses are summed in these units, and none counts as more than MOST_LOSS: 2**19 of them fit
_UNIT = 2**24
MOST_LOSS = 2.0**20
PAIR_GROUPS = ("pair_accuracy", *(f"pair_accuracy/{name}" for name in MMVP_TYPES))


class GroupedAccuracy(Metric):
    """Accuracy within groups that may overlap.

    Args:
        groups: Names of the groups, G of them.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: Tensor
    total: Tensor

    def __init__(self, groups: Sequence[str]) -> None:
        super().__init__()
        self.groups = tuple(groups)
        zeros = torch.zeros(len(self.groups), dtype=torch.long)
        self.add_state("correct", default=zeros, dist_reduce_fx="sum")
        self.add_state("total", default=zeros.clone(), dist_reduce_fx="sum")

    def update(self, correct: Tensor, membership: Tensor) -> None:
        """Count some answers.

        Args:
            correct: Which are right, ``(B,)`` bool.
            membership: Which groups each belongs to, ``(B, G)`` bool.
        """
        members = membership.to(self.total.device)
        self.total += members.sum(dim=0)
        self.correct += (members & correct.to(members.device)[:, None]).sum(dim=0)

    def compute(self) -> dict[str, Share]:
        """Return the accuracy of each group that has answers, by name."""
        counts = zip(self.groups, self.correct.tolist(), self.total.tolist(), strict=True)
        return {name: Share(correct / total, total) for name, correct, total in counts if total}


class RetrievalAccuracy(GroupedAccuracy):
    """IMAGECODE's accuracy: all, video, static, challenging; by phenomenon, propositions, length, draw."""

    def __init__(self) -> None:
        super().__init__(RETRIEVAL_GROUPS)

    def update_queries(self, correct: Tensor, is_video: Tensor, queries: Sequence[Query]) -> None:
        """Count the answers to some queries.

        Args:
            correct: Which are right, ``(B,)`` bool.
            is_video: Which ask for a video frame, ``(B,)`` bool.
            queries: One entry a query.
        """
        videos = is_video.tolist()
        rows = [_query_groups(query, video) for query, video in zip(queries, videos, strict=True)]
        self.update(correct, _membership(rows, self.groups))


class PairAccuracy(GroupedAccuracy):
    """MMVP-VLM's accuracy: a pair counts only if each of its statements strictly prefers its own image.

    Pairs of a type that is not among the nine count in the average alone.
    """

    def __init__(self) -> None:
        super().__init__(PAIR_GROUPS)

    def update_pairs(
        self, candidate_logits: Tensor, target_index: Tensor, set_index: Tensor, queries: Sequence[Query]
    ) -> None:
        """Count some pairs; all statements of a pair must be in the batch.

        Args:
            candidate_logits: ``(B, K)``, -inf at padding.
            target_index: ``(B,)`` int64.
            set_index: Equal for the statements of a pair, ``(B,)`` int64.
            queries: One entry a statement; its first phenomenon is the pair's type.
        """
        right = strictly_best(candidate_logits, target_index).tolist()
        pairs: dict[int, bool] = {}
        types: dict[int, str] = {}
        for pair, good, query in zip(set_index.tolist(), right, queries, strict=True):
            pairs[pair] = pairs.get(pair, True) and good
            types[pair] = query["phenomena"][0] if query["phenomena"] else ""
        rows = [["pair_accuracy", f"pair_accuracy/{types[pair]}"] for pair in pairs]
        self.update(torch.tensor(list(pairs.values())), _membership(rows, self.groups))


class MeanLoss(Metric):
    """Mean of the losses of queries, to the same last bit however processes share them."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    units: Tensor
    total: Tensor
    no_numbers: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("units", "total", "no_numbers"):
            self.add_state(name, default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, losses: Tensor) -> None:
        """Count some losses.

        Args:
            losses: One a query, ``(B,)``.
        """
        finite = losses.isfinite()
        kept = losses.float().masked_fill(~finite, 0.0).clamp(-MOST_LOSS, MOST_LOSS)
        self.units += (kept * _UNIT).round().long().sum().to(self.units.device)
        self.no_numbers += (~finite).sum().to(self.units.device)
        self.total += len(losses)

    def compute(self) -> float:
        """Return the mean; NaN where a loss was no finite number or there was none."""
        total = int(self.total)
        return math.nan if int(self.no_numbers) or not total else int(self.units) / _UNIT / total


def strictly_best(candidate_logits: Tensor, target_index: Tensor) -> Tensor:
    """Return whether the target's logit is above all others; a tie is not.

    Args:
        candidate_logits: ``(B, K)``.
        target_index: ``(B,)`` int64.

    Returns:
        ``(B,)`` bool.
    """
    target = target_index[:, None]
    others = candidate_logits.scatter(1, target, -torch.inf)
    return candidate_logits.gather(1, target).squeeze(1) > others.amax(dim=1)


def flat_shares(shares: Mapping[str, Share | Mean], prefix: str) -> dict[str, float]:
    """Return ``prefix/name`` and ``n/prefix/name`` for each group or mean.

    Args:
        shares: By name.
        prefix: ``val`` or ``test``.

    Returns:
        Names to log.
    """
    values = {f"{prefix}/{name}": share.value for name, share in shares.items()}
    return values | {f"n/{prefix}/{name}": float(share.n) for name, share in shares.items()}


def attention_entropy(row_attention: Tensor) -> Tensor:
    """Return the mean entropy, in nats, of attention over the patches after bringing it to sum 1.

    Args:
        row_attention: Non-negative, ``(B, P)``.

    Returns:
        Scalar between 0 and log P.
    """
    share = row_attention.float() / row_attention.float().sum(dim=1, keepdim=True).clamp_min(1e-12)
    entropy: Tensor = torch.special.entr(share).sum(dim=1)
    return entropy.mean()


def _query_groups(query: Query, is_video: bool) -> list[str]:
    """Return the names of the groups a query belongs to."""
    words = len(query["text"].split())
    lengths = [
        f"accuracy/words_{low}-{high}" if high else f"accuracy/words_{low}+"
        for low, high in WORD_RANGES
        if low <= words <= (high or words)
    ]
    names = ["accuracy", "accuracy_video" if is_video else "accuracy_static", *lengths]
    names += [f"accuracy/{name}" for name in query["phenomena"]]
    names += [f"accuracy/sample_{name}" for name in query["samples"]]
    names += ["accuracy/challenging"] if query["challenging"] else []
    return [*names, f"accuracy/propositions_{query['n_propositions']}"]


def _membership(rows: Sequence[Sequence[str]], groups: Sequence[str]) -> Tensor:
    """Return which of the groups each row names, ``(B, G)`` bool."""
    return torch.tensor([[group in row for group in groups] for row in rows]).reshape(len(rows), len(groups))

"""How the candidates are ranked: rank of the target, frames off, calibration, the best constant guess.

All states are sums of integers, so that they add up exactly over processes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from contextblip.groups import Mean
from contextblip.types import Query

SUBSETS = ("", "_video", "_static")
N_BINS = 15
# Reciprocal ranks and probabilities are summed in units of 2**-30: no fp32 probability from 2**-7 up is
# rounded, and 2**33 of them fit
_UNIT = 2**30
# Places from here on are counted together, and no constant guess names them
MOST_PLACES = 1000


def ranking_metrics() -> MetricCollection:
    """Return what is counted of each labelled query beside the accuracy.

    Returns:
        `TargetRank`, `FrameDistance`, `CalibrationError` and `PositionPrior`; ``update`` takes the arguments
        of all of them by name, ``compute`` returns all means by name.
    """
    return MetricCollection(
        [TargetRank(), FrameDistance(), CalibrationError(), PositionPrior()], compute_groups=False
    )


def fractional_ranks(candidate_logits: Tensor, target_index: Tensor, candidate_mask: Tensor) -> Tensor:
    """Rank the target among its candidates; those that tie share the mean of their ranks.

    A model that gives all K candidates one logit thus has the rank (K + 1) / 2, which is what guessing has.
    What scores NaN stands first, unless it is the target, which then stands last.

    Args:
        candidate_logits: ``(B, K)``.
        target_index: ``(B,)`` int64; any rank is returned where it is -1.
        candidate_mask: True at real candidates, ``(B, K)`` bool.

    Returns:
        Ranks from 1, multiples of a half, ``(B,)`` float32.
    """
    target = target_index.clamp(min=0)[:, None]
    own = candidate_logits.gather(1, target)
    others = candidate_mask.scatter(1, target, False)
    ties = others & (candidate_logits == own)
    better = others & ~(candidate_logits <= own)
    return 1.0 + better.sum(dim=1) + 0.5 * ties.sum(dim=1)


def frame_distances(prediction: Tensor, target_index: Tensor, queries: Sequence[Query]) -> list[int | None]:
    """Return how many frames of the video lie between prediction and target.

    Args:
        prediction: ``(B,)`` int64.
        target_index: ``(B,)`` int64.
        queries: One entry a query.

    Returns:
        One number a query, ``None`` where it is unlabelled or its candidates are not frames.
    """
    places = zip(prediction.tolist(), target_index.tolist(), queries, strict=True)
    return [
        abs(query["frames"][found] - query["frames"][target]) if query["frames"] and target >= 0 else None
        for found, target, query in places
    ]


class TargetRank(Metric):
    """``mean_rank`` and ``mrr`` (mean of 1 / rank) of the target, each also ``_video`` and ``_static``."""

    is_differentiable = False
    full_state_update = False

    half_ranks: Tensor
    reciprocals: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("half_ranks", "reciprocals", "total"):
            zeros = torch.zeros(len(SUBSETS), dtype=torch.long)
            self.add_state(name, default=zeros, dist_reduce_fx="sum")

    def update(
        self, candidate_logits: Tensor, target_index: Tensor, candidate_mask: Tensor, is_video: Tensor
    ) -> None:
        """Count some labelled queries.

        Args:
            candidate_logits: ``(B, K)``.
            target_index: ``(B,)`` int64.
            candidate_mask: True at real candidates, ``(B, K)`` bool.
            is_video: Which ask for a video frame, ``(B,)`` bool.
        """
        ranks = fractional_ranks(candidate_logits, target_index, candidate_mask)
        doubled = (2 * ranks).long().to(self.total.device)
        video = is_video.to(self.total.device)
        members = torch.stack([torch.ones_like(video), video, ~video], dim=1)
        self.half_ranks += (members * doubled[:, None]).sum(dim=0)
        self.reciprocals += (members * ((2 * _UNIT + doubled // 2) // doubled)[:, None]).sum(dim=0)
        self.total += members.sum(dim=0)

    def compute(self) -> dict[str, Mean]:
        """Return the means of the subsets that have queries, by name."""
        sums = {"mean_rank": (self.half_ranks, 2), "mrr": (self.reciprocals, _UNIT)}
        return {
            f"{name}{subset}": Mean(int(state[row]) / unit / int(self.total[row]), int(self.total[row]))
            for name, (state, unit) in sums.items()
            for row, subset in enumerate(SUBSETS)
            if self.total[row]
        }


class FrameDistance(Metric):
    """``frame_distance``: mean number of frames between prediction and target, over video queries."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    distance: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("distance", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target_index: Tensor, queries: Sequence[Query]) -> None:
        """Count some labelled queries.

        Args:
            prediction: ``(B,)`` int64.
            target_index: ``(B,)`` int64.
            queries: One entry a query.
        """
        found = [value for value in frame_distances(prediction, target_index, queries) if value is not None]
        self.distance += sum(found)
        self.total += len(found)

    def compute(self) -> dict[str, Mean]:
        """Return the mean by name; nothing where no query asked for a frame."""
        total = int(self.total)
        return {"frame_distance": Mean(int(self.distance) / total, total)} if total else {}


class CalibrationError(Metric):
    """``ece``: the expected calibration error (Guo et al., ICML 2017).

    The confidence of an answer is its probability among the candidates, the softmax of their logits; over
    bins of equal width, the mean gap between confidence and accuracy.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    correct: Tensor
    confidence: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("correct", "confidence", "total"):
            self.add_state(name, default=torch.zeros(N_BINS, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, candidate_logits: Tensor, prediction: Tensor, target_index: Tensor) -> None:
        """Count some labelled queries.

        Args:
            candidate_logits: ``(B, K)``, -inf at padding.
            prediction: ``(B,)`` int64.
            target_index: ``(B,)`` int64.
        """
        # no probability, no confidence
        probabilities = candidate_logits.float().softmax(dim=1).nan_to_num(nan=0.0)
        confidence = probabilities.gather(1, prediction[:, None]).squeeze(1).to(self.total.device)
        correct = (prediction == target_index).to(self.total.device)
        edges = torch.linspace(0, 1, N_BINS + 1, device=self.total.device)[1:-1]
        bins = torch.arange(N_BINS, device=self.total.device)
        members = torch.bucketize(confidence, edges, right=True)[:, None] == bins
        self.correct += (members & correct[:, None]).sum(dim=0)
        self.confidence += (members * (confidence * _UNIT).long()[:, None]).sum(dim=0)
        self.total += members.sum(dim=0)

    def compute(self) -> dict[str, Mean]:
        """Return the error by name; nothing where no query was counted."""
        total = int(self.total.sum())
        gaps = zip(self.correct.tolist(), self.confidence.tolist(), strict=True)
        gap = sum(abs(correct - confidence / _UNIT) for correct, confidence in gaps)
        return {"ece": Mean(gap / total, total)} if total else {}


class PositionPrior(Metric):
    """``baseline/position_prior``: accuracy of always guessing the place that is the target most often.

    The place is chosen on the very labels that are counted, once for all queries, once for videos and once
    for static sets: no constant guess does better on them. Video targets crowd the middle of the ten.
    """

    is_differentiable = False
    full_state_update = False

    labels: Tensor

    def __init__(self) -> None:
        super().__init__()
        zeros = torch.zeros(2, MOST_PLACES + 1, dtype=torch.long)
        self.add_state("labels", default=zeros, dist_reduce_fx="sum")

    def update(self, target_index: Tensor, is_video: Tensor) -> None:
        """Count some labels.

        Args:
            target_index: ``(B,)`` int64.
            is_video: Which ask for a video frame, ``(B,)`` bool.
        """
        places = torch.arange(MOST_PLACES + 1, device=self.labels.device)
        targets = target_index.clamp(max=MOST_PLACES).to(self.labels.device)[:, None] == places
        video = is_video.to(self.labels.device)[:, None]
        self.labels += torch.stack([(targets & video).sum(dim=0), (targets & ~video).sum(dim=0)])

    def compute(self) -> dict[str, Mean]:
        """Return the accuracies of the subsets that have queries, by name."""
        counts: Mapping[str, Tensor] = dict(zip(SUBSETS, (self.labels.sum(dim=0), *self.labels), strict=True))
        return {
            f"baseline/position_prior{subset}": Mean(
                int(count[:-1].max()) / int(count.sum()), int(count.sum())
            )
            for subset, count in counts.items()
            if count.any()
        }

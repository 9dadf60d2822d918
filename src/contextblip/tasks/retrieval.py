"""What zero-shot retrieval and both fine-tuning stages share: scoring candidates and counting (Sec. 4)."""

import warnings
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from contextblip.errors import DatasetError
from contextblip.losses import loss_candidates
from contextblip.metrics import PairAccuracy, RetrievalAccuracy, flat_shares
from contextblip.tasks.base import ContextBLIPTask
from contextblip.types import RetrievalBatch, RetrievalOutput

Score = Literal["itm", "candidate"]


class CandidateScores(NamedTuple):
    """Scores of each query's candidates.

    Attributes:
        candidate_logits: fp32 margins that rank, -inf at padding, ``(B, K)``.
        scores: Probabilities for display, 0 at padding, ``(B, K)`` float32.
    """

    candidate_logits: Tensor
    scores: Tensor


class RetrievalTask(ContextBLIPTask):
    """Base of the tasks that choose one of K candidates.

    Logs, for validation and test: ``loss``, the cross entropy over the candidates; ``accuracy``,
    ``accuracy_video``, ``accuracy_static``, ``accuracy/<phenomenon>``, ``accuracy/propositions_<n>`` and
    ``accuracy/words_<from>-<to>``; for pairs (MMVP-VLM) ``pair_accuracy`` and ``pair_accuracy/<type>``; each
    with the number of queries or pairs under ``n/<name>``. Unlabelled queries are scored but not counted.
    """

    def score(self, batch: RetrievalBatch) -> CandidateScores:
        """Score the candidates of each query.

        Args:
            batch: Queries over image sets.

        Returns:
            Logits and scores.
        """
        raise NotImplementedError

    def fuse_candidates(self, batch: RetrievalBatch) -> tuple[Tensor, Tensor]:
        """Encode each real image once and fuse every query with each of its candidates.

        Args:
            batch: Queries over image sets.

        Returns:
            Fused states of the N real pairs, query by query, ``(N, L, D)``, and where they stand,
            ``(B, K)`` bool.
        """
        real = batch["candidate_mask"]
        image_embeds = self.model.encode_images(batch["images"][real]).image_embeds
        rows = (real.flatten().cumsum(0) - 1).view_as(real)  # row of image_embeds for each real candidate
        candidate_mask = real[batch["set_index"]]
        query, candidate = candidate_mask.nonzero(as_tuple=True)
        fused = self.model.fuse(
            batch["input_ids"][query],
            batch["attention_mask"][query],
            image_embeds,
            image_index=rows[batch["set_index"][query], candidate],
        )
        return fused.multimodal_embeds, candidate_mask

    def itm_scores(self, multimodal_embeds: Tensor, candidate_mask: Tensor) -> CandidateScores:
        """Score by the ITM head: the margin ranks, the probability of a match is shown.

        Args:
            multimodal_embeds: Fused states of the real pairs, ``(N, L, D)``.
            candidate_mask: Where they stand, ``(B, K)`` bool.

        Returns:
            Logits and scores.
        """
        with self._full_precision():
            logits = self.model.itm_logits(self._as_weights(multimodal_embeds)).float()
        margin = spread(logits[:, 1] - logits[:, 0], candidate_mask, -torch.inf)
        return CandidateScores(margin, spread(logits.softmax(dim=1)[:, 1], candidate_mask, 0.0))

    def head_scores(self, features: Tensor, batch: RetrievalBatch, inter_context: bool) -> CandidateScores:
        """Score by the head of stage one, with or without the inter-context encoder before it.

        Args:
            features: Unit-norm fused features, zero at padding, ``(B, K, D)``.
            batch: Queries over image sets.
            inter_context: Whether the candidates see one another.

        Returns:
            Logits and scores.
        """
        candidate_mask = batch["candidate_mask"][batch["set_index"]]
        with self._full_precision():
            logits = self.model.score_candidates(
                self._as_weights(features), batch["is_video"], candidate_mask, inter_context=inter_context
            )
        return CandidateScores(logits, logits.softmax(dim=1))

    def candidate_features(self, batch: RetrievalBatch) -> Tensor:
        """Return the unit-norm fused feature of each query and candidate, zero at padding.

        Args:
            batch: Queries over image sets.

        Returns:
            ``(B, K, D)``.
        """
        multimodal_embeds, candidate_mask = self.fuse_candidates(batch)
        return spread(self.model.candidate_features(multimodal_embeds), candidate_mask, 0.0)

    def _full_precision(self) -> torch.autocast:
        """Switch mixed precision off: in bf16 the logits of close candidates would tie."""
        return torch.autocast(self.device.type, enabled=False)

    def _as_weights(self, states: Tensor) -> Tensor:
        """Bring states to the precision of the heads, fp32 unless the whole model is lower."""
        return states.to(self.model.itm_head.weight.dtype)

    def candidate_loss(self, batch: RetrievalBatch, scored: CandidateScores) -> Tensor:
        """Return the training loss and log it.

        Args:
            batch: Labelled queries over image sets.
            scored: Their scores.

        Returns:
            Cross entropy over the candidates, the mean over queries, scalar.

        Raises:
            DatasetError: A query has no label.
        """
        target, logits = batch["target_index"], scored.candidate_logits
        if bool((target < 0).any()):
            raise DatasetError("the training data hold a query without a label: train on a labelled split")
        loss = loss_candidates(logits, target)
        accuracy = (logits.argmax(dim=1) == target).float().mean()
        self.log("train/loss", loss.detach(), batch_size=len(target), prog_bar=True)
        self.log("train/accuracy", accuracy, batch_size=len(target))
        return loss

    def configure_model(self) -> None:
        """Build the model and the counters."""
        super().configure_model()
        if not hasattr(self, "accuracy"):
            self.accuracy = RetrievalAccuracy()
            self.pair_accuracy = PairAccuracy()

    def validation_step(self, batch: RetrievalBatch) -> RetrievalOutput:
        """Score and count.

        Args:
            batch: Queries over image sets.

        Returns:
            Scores and predictions, a `RetrievalOutput`.
        """
        return self._evaluate(batch, "val")

    def test_step(self, batch: RetrievalBatch) -> RetrievalOutput:
        """Score and count.

        Args:
            batch: Queries over image sets.

        Returns:
            Scores and predictions, a `RetrievalOutput`.
        """
        return self._evaluate(batch, "test")

    def predict_step(self, batch: RetrievalBatch) -> RetrievalOutput:
        """Score, whether labelled or not.

        Args:
            batch: Queries over image sets.

        Returns:
            Scores and predictions.
        """
        return retrieval_output(batch, self.score(batch))

    def _evaluate(self, batch: RetrievalBatch, stage: str) -> RetrievalOutput:
        """Score a batch, count the labelled queries and log their loss."""
        output = retrieval_output(batch, self.score(batch))
        labelled = batch["target_index"] >= 0
        if not bool(labelled.any()):
            return output
        logits, target = output["candidate_logits"][labelled], batch["target_index"][labelled]
        size = len(target)
        self.log(f"{stage}/loss", loss_candidates(logits, target), batch_size=size, sync_dist=True)
        queries = [query for query, known in zip(batch["queries"], labelled.tolist(), strict=True) if known]
        if batch["protocol"] == "pairs":
            self.pair_accuracy.update_pairs(logits, target, batch["set_index"][labelled], queries)
        else:
            correct = output["prediction"][labelled] == target
            self.accuracy.update_queries(correct, batch["is_video"][labelled], queries)
        return output

    def on_validation_epoch_end(self) -> None:
        """Log the accuracies."""
        self._log_accuracies("val")

    def on_test_epoch_end(self) -> None:
        """Log the accuracies."""
        self._log_accuracies("test")

    def _log_accuracies(self, stage: str) -> None:
        for metric in (self.accuracy, self.pair_accuracy):
            with warnings.catch_warnings():
                # Every process must take part in the sum, also one that had nothing to count.
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
                shares = metric.compute()
            self.log_dict(flat_shares(shares, stage), sync_dist=True)
            metric.reset()


def spread(values: Tensor, where: Tensor, fill: float) -> Tensor:
    """Put one value a real pair into its place among the candidates.

    Args:
        values: ``(N,)`` or ``(N, D)``.
        where: True at N places, ``(B, K)`` bool.
        fill: Value elsewhere.

    Returns:
        ``(B, K)`` or ``(B, K, D)``.
    """
    placed = values.new_full((*where.shape, *values.shape[1:]), fill)
    placed[where] = values
    return placed


def retrieval_output(batch: RetrievalBatch, scored: CandidateScores) -> RetrievalOutput:
    """Join scores with what callbacks need to know of the queries.

    Args:
        batch: Queries over image sets.
        scored: Their scores.

    Returns:
        The output of a step, detached.
    """
    logits = scored.candidate_logits.detach()
    return {
        "candidate_logits": logits,
        "scores": scored.scores.detach(),
        "prediction": logits.argmax(dim=1),
        "target_index": batch["target_index"],
        "is_video": batch["is_video"],
        "candidate_mask": batch["candidate_mask"][batch["set_index"]],
        "queries": batch["queries"],
    }

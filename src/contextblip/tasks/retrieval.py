"""What zero-shot retrieval and both fine-tuning stages share: scoring candidates and counting (Sec. 4)."""

import warnings

from torch import Tensor
from torch.nn import functional as F

from contextblip.errors import DatasetError
from contextblip.losses import loss_candidates
from contextblip.metrics import MeanLoss, PairAccuracy, RetrievalAccuracy, flat_shares
from contextblip.ranking_metrics import ranking_metrics
from contextblip.tasks.candidate_scoring import CandidateScores, CandidateScoring
from contextblip.types import RetrievalBatch, RetrievalOutput


class RetrievalTask(CandidateScoring):
    """Base of the tasks that choose one of K candidates.

    Logs, for validation and test: ``loss``, the cross entropy over the candidates; ``accuracy``,
    ``accuracy_video``, ``accuracy_static``, ``accuracy/<phenomenon>``, ``accuracy/propositions_<n>``,
    ``accuracy/words_<from>-<to>`` and ``accuracy/sample_<subset>_<seed>`` (the draws of Table 8);
    ``mean_rank`` and ``mrr`` of the target and ``baseline/position_prior``, the best constant guess, each
    also ``_video`` and ``_static``; ``frame_distance`` from prediction to target in videos; ``ece``, the
    calibration error. For pairs (MMVP-VLM) ``loss``, ``pair_accuracy`` and ``pair_accuracy/<type>`` alone.
    The number of queries or pairs is under ``n/<name>``. Unlabelled queries are scored but not counted.
    """

    def score(self, batch: RetrievalBatch) -> CandidateScores:
        """Score the candidates of each query.

        Args:
            batch: Queries over image sets.

        Returns:
            Logits and scores.
        """
        raise NotImplementedError

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
            self.ranking = ranking_metrics()
            # the trainer's own mean over processes is off where they have unequal shares of the queries
            self.mean_loss = MeanLoss()

    def validation_step(self, batch: RetrievalBatch) -> RetrievalOutput:
        """Score and count.

        Args:
            batch: Queries over image sets.

        Returns:
            Scores and predictions, a `RetrievalOutput`.
        """
        return self._evaluate(batch)

    def test_step(self, batch: RetrievalBatch) -> RetrievalOutput:
        """Score and count.

        Args:
            batch: Queries over image sets.

        Returns:
            Scores and predictions, a `RetrievalOutput`.
        """
        return self._evaluate(batch)

    def predict_step(self, batch: RetrievalBatch) -> RetrievalOutput:
        """Score, whether labelled or not.

        Args:
            batch: Queries over image sets.

        Returns:
            Scores and predictions.
        """
        return retrieval_output(batch, self.score(batch))

    def _evaluate(self, batch: RetrievalBatch) -> RetrievalOutput:
        """Score a batch and count the labelled queries."""
        output = retrieval_output(batch, self.score(batch))
        labelled = batch["target_index"] >= 0
        if not bool(labelled.any()):
            return output
        logits, target = output["candidate_logits"][labelled], batch["target_index"][labelled]
        self.mean_loss.update(F.cross_entropy(logits.float(), target, reduction="none"))
        queries = [query for query, known in zip(batch["queries"], labelled.tolist(), strict=True) if known]
        if batch["protocol"] == "pairs":
            self.pair_accuracy.update_pairs(logits, target, batch["set_index"][labelled], queries)
        else:
            prediction, is_video = output["prediction"][labelled], batch["is_video"][labelled]
            self.accuracy.update_queries(prediction == target, is_video, queries)
            self.ranking.update(
                candidate_logits=logits,
                candidate_mask=output["candidate_mask"][labelled],
                prediction=prediction,
                target_index=target,
                is_video=is_video,
                queries=queries,
            )
        return output

    def on_validation_epoch_end(self) -> None:
        """Log what was counted."""
        self._log_accuracies("val")

    def on_test_epoch_end(self) -> None:
        """Log what was counted."""
        self._log_accuracies("test")

    def _log_accuracies(self, stage: str) -> None:
        counters = (self.accuracy, self.pair_accuracy, self.ranking)
        with warnings.catch_warnings():
            # Every process must take part in the sum, also one that had nothing to count.
            warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            counted = {name: value for counter in counters for name, value in counter.compute().items()}
            loss = self.mean_loss.compute()
        if counted:
            # equal in all processes: a mean over them could round
            numbers = {f"{stage}/loss": loss} | flat_shares(counted, stage)
            self.log_dict(numbers, sync_dist=True, reduce_fx="max")
        for metric in (*counters, self.mean_loss):
            metric.reset()


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

"""Scoring the candidates of texts: images encoded once, texts fused with them, heads in full precision."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from contextblip.errors import ConfigurationError
from contextblip.models.grounding import ProjectedImages
from contextblip.models.outputs import ImageOutput
from contextblip.tasks.base import ContextBLIPTask
from contextblip.tasks.pair_scoring import pair_scores
from contextblip.types import RetrievalBatch
from contextblip.vision_cache import CachedVision

Score = Literal["itm", "candidate"]


class CandidateScores(NamedTuple):
    """Scores of each query's candidates.

    Attributes:
        candidate_logits: fp32 margins that rank, -inf at padding, ``(B, K)``.
        scores: Probabilities for display, 0 at padding, ``(B, K)`` float32.
    """

    candidate_logits: Tensor
    scores: Tensor


class Texts(NamedTuple):
    """Texts that each ask for one candidate of a set.

    Attributes:
        input_ids: Token ids, [CLS] first, ``(T, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(T, L)`` int64.
        set_index: Row of the set each text is about, ``(T,)`` int64.
    """

    input_ids: Tensor
    attention_mask: Tensor
    set_index: Tensor


class Candidates(NamedTuple):
    """The encoded images of a batch's sets.

    Attributes:
        images: Of the real candidates, each once.
        rows: Row of ``images`` for each real candidate, ``(S, K)`` int64; meaningless at padding.
        mask: True at real candidates, ``(S, K)`` bool.
        projected: Their keys and values where several calls share them.
    """

    images: ImageOutput
    rows: Tensor
    mask: Tensor
    projected: ProjectedImages | None = None

    @classmethod
    def number(
        cls, images: ImageOutput, mask: Tensor, projected: ProjectedImages | None = None
    ) -> "Candidates":
        """Give each real candidate its row of the images, which stand in the mask's order."""
        return cls(images, (mask.flatten().cumsum(0) - 1).view_as(mask), mask, projected)

    def pairs(self, set_index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pair texts with the real candidates of their sets.

        Args:
            set_index: Set of each text, ``(T,)``.

        Returns:
            Text and image of each of the N pairs, text by text, ``(N,)`` int64, and where the pairs stand,
            ``(T, K)`` bool.
        """
        where = self.mask[set_index]
        text, candidate = where.nonzero(as_tuple=True)
        return text, self.rows[set_index[text], candidate], where

    def restrict(self, set_index: Tensor) -> tuple["Candidates", Tensor]:
        """Keep only the sets that texts are about, so that no other image's keys and values are computed.

        Args:
            set_index: Set of each text, ``(T,)``.

        Returns:
            Those sets, and the set of each text among them, ``(T,)``.
        """
        sets, among = torch.unique(set_index, return_inverse=True)
        mask = self.mask[sets]
        kept = self.rows[sets][mask]
        images = ImageOutput(self.images.image_embeds[kept], self.images.image_features[kept])
        return Candidates.number(images, mask), among


def whole_texts(batch: RetrievalBatch) -> Texts:
    """Return the texts of a batch's queries, unsplit."""
    return Texts(batch["input_ids"], batch["attention_mask"], batch["set_index"])


class CandidateScoring(ContextBLIPTask):
    """The ways of scoring that the tasks which choose one of K candidates share."""

    # Whether the task joins the scores of a text's parts.
    scores_parts = False
    # Gives the ViT's states in place of the model where the run has a store of them.
    vision_cache: CachedVision | None = None

    def setup(self, stage: str) -> None:
        """Refuse texts in parts where they would be scored whole all the same.

        Args:
            stage: Name of the Trainer's entry point.

        Raises:
            ConfigurationError: The data split texts, which this task does not score by their parts.
        """
        super().setup(stage)
        if self.text_parts != "whole" and not self.scores_parts:
            raise ConfigurationError(
                f"data.text_parts is {self.text_parts!r}, but {type(self).__name__} was trained on whole "
                "texts and scores them alone: leave it out, or use contextblip.tasks.ZeroShot"
            )

    @property
    def text_parts(self) -> str:
        """Parts that the data module splits texts into; ``whole`` where it has no such key."""
        return str(getattr(getattr(self.trainer, "datamodule", None), "text_parts", "whole"))

    def encode_candidates(self, batch: RetrievalBatch) -> Candidates:
        """Encode each real image of a batch once.

        Args:
            batch: Queries over image sets.

        Returns:
            The encoded images.
        """
        real = batch["candidate_mask"]
        encoder, images = self.vision_cache or self.model, batch["images"]
        images = images.flatten(0, 1) if real.all() else images[real]  # a copy only where there is padding
        return Candidates.number(encoder.encode_images(images), real)

    def fuse_texts(self, candidates: Candidates, texts: Texts) -> tuple[Tensor, Tensor]:
        """Fuse every text with each candidate of its set.

        Args:
            candidates: Encoded images.
            texts: T texts.

        Returns:
            First fused token of the N real pairs, text by text, ``(N, 1, D)``, and where they stand,
            ``(T, K)`` bool.
        """
        text, image, where = candidates.pairs(texts.set_index)
        fused = self.model.fuse(
            texts.input_ids,
            texts.attention_mask,
            candidates.projected or candidates.images.image_embeds,
            text_index=text,
            image_index=image,
            whole=0,
        )
        return fused.first_token, where

    def fuse_candidates(self, batch: RetrievalBatch) -> tuple[Tensor, Tensor]:
        """Encode each real image once and fuse every query with each of its candidates.

        Args:
            batch: Queries over image sets.

        Returns:
            First fused token of the N real pairs, query by query, ``(N, 1, D)``, and where they stand,
            ``(B, K)`` bool.
        """
        return self.fuse_texts(self.encode_candidates(batch), whole_texts(batch))

    def itm_logits(self, first_token: Tensor) -> Tensor:
        """Apply the ITM head in full precision, ``(N, 1, D)`` to ``(N, 2)`` float32."""
        with self._full_precision():
            return self.model.itm_logits(self._as_weights(first_token)).float()

    def itm_scores(self, first_token: Tensor, candidate_mask: Tensor) -> CandidateScores:
        """Score by the ITM head: the margin ranks, the probability of a match is shown.

        Args:
            first_token: First fused token of the real pairs, ``(N, 1, D)``.
            candidate_mask: Where they stand, ``(B, K)`` bool.

        Returns:
            Logits and scores.
        """
        margin = spread(pair_scores(self.itm_logits(first_token)), candidate_mask, -torch.inf)
        return CandidateScores(margin, margin.sigmoid())

    def similarities(self, candidates: Candidates, texts: Texts) -> Tensor:
        """Compare texts with candidates by their ITC features, each encoded by itself.

        Args:
            candidates: Encoded images.
            texts: T texts, encoded once each.

        Returns:
            Cosine similarity of the N real pairs, text by text, ``(N,)`` float32.
        """
        encoded = self.model.encode_text(texts.input_ids, texts.attention_mask, whole=False)
        features = encoded.text_features.float()
        text, image, _ = candidates.pairs(texts.set_index)
        with self._full_precision():
            return (candidates.images.image_features[image].float() * features[text]).sum(dim=1)

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
        first_token, candidate_mask = self.fuse_candidates(batch)
        return spread(self.model.candidate_features(first_token), candidate_mask, 0.0)

    def _full_precision(self) -> torch.autocast:
        """Switch mixed precision off: in bf16 the logits of close candidates would tie."""
        return torch.autocast(self.device.type, enabled=False)

    def _as_weights(self, states: Tensor) -> Tensor:
        """Bring states to the precision of the heads, fp32 unless the whole model is lower."""
        return states.to(self.model.itm_head.weight.dtype)


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

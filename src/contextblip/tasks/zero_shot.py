"""Zero-shot retrieval with the ITM head, ITC features or both (paper, Sec. 4.2 and Figure 2d)."""

import logging
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from contextblip.errors import ConfigurationError
from contextblip.models.adapter import AdapterFusion
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import ContextBLIP, ITMToken
from contextblip.tasks.candidate_scoring import Candidates, CandidateScores, Texts, spread, whole_texts
from contextblip.tasks.checking import check
from contextblip.tasks.evaluation_only import EvaluationOnly
from contextblip.tasks.pair_scoring import pair_scores
from contextblip.tasks.part_scoring import PartsScore, join_parts, part_chunks
from contextblip.tasks.retrieval import RetrievalTask
from contextblip.types import RetrievalBatch, TextParts

log = logging.getLogger(__name__)


class ZeroShot(EvaluationOnly, RetrievalTask):
    """Ranks candidates by how well they match a text; nothing trains. See `RetrievalTask` for what it logs.

    What ranks is ``score``: ``itm`` the ITM head's margin of a match over none; ``itc`` the cosine similarity
    of the unimodal features over the backbone's temperature, without any fusion; ``itm+itc`` the logit of a
    match plus the similarity, by which BLIP re-ranks (`ImageTextRetrieval`). ITC features are those of BLIP
    alone, since the adapter stands behind them. Probabilities are those of a match for ``itm``, for the
    others a softmax over the candidates.

    With ``--data.text_parts`` each part of a text is scored by itself, as many at once as the batch has
    queries, so that they take no more memory than whole texts do; images are encoded once all the same.
    ``parts_score`` joins the parts: the ``mean`` or the minimum (``min``) of their margins, or the
    ``product`` of their probabilities, in log space. For ``itc`` and ``itm+itc``, whose probabilities are
    softmaxes over the candidates, product and mean rank alike. A text of one part scores as a whole text.

    Args:
        backbone: Folder, file or hub id of BLIP's weights, ``random:base`` or ``random:miniature``.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
        init_from: Checkpoint of pre-training; ``None`` evaluates the backbone alone.
        adapter_layers: ViT layers the adapter reads, counted from 1; empty means plain BLIP.
        downsampling_rate: The paper's δ: width of the ViT over width of a down-projection.
        adapter_fusion: Whether the adapter's scales are concatenated (paper's counts) or added.
        adapter_zero_init: Whether the adapter's update starts at zero, by a gate that is learned.
        itm_token: First token of an image-grounded text: [ENC] as BLIP was trained, or [CLS].
        score: What ranks: the ITM head (paper), the ITC similarity, or BLIP's sum of both.
        parts_score: How the scores of a text's parts are joined; needs ``--data.text_parts``.
    """

    ranks_by = "itm"
    scores_parts = True
    refusal = "ZeroShot trains nothing: use validate, test or predict instead of fit"

    def __init__(
        self,
        backbone: str,
        image_size: int | None = None,
        init_from: str | None = None,
        adapter_layers: Sequence[int] = (3, 6, 9, 12),
        downsampling_rate: int = 2,
        adapter_fusion: AdapterFusion = "concat",
        adapter_zero_init: bool = False,
        itm_token: ITMToken = "enc",
        score: Literal["itm", "itc", "itm+itc"] = "itm",
        parts_score: PartsScore = "mean",
    ) -> None:
        super().__init__(
            backbone,
            image_size,
            init_from,
            adapter_layers,
            downsampling_rate,
            adapter_fusion,
            adapter_zero_init,
            itm_token,
        )
        self.save_hyperparameters()
        check(score in ("itm", "itc", "itm+itc"), "score", score, "itm, itc or itm+itc")
        check(parts_score in ("mean", "min", "product"), "parts_score", parts_score, "mean, min or product")
        self.ranks_by = score
        self.parts_score: PartsScore = parts_score

    def setup(self, stage: str) -> None:
        """Refuse or name keys that would do nothing.

        Args:
            stage: Name of the Trainer's entry point.

        Raises:
            ConfigurationError: The stage is ``fit``, or ``parts_score`` is set although texts are whole.
        """
        super().setup(stage)
        if self.parts_score != "mean" and self.text_parts == "whole":
            raise ConfigurationError(
                f"model.parts_score is {self.parts_score!r}, but the texts are scored whole: set "
                "--data.text_parts (ImageCoDeDataModule has it) to sentences or propositions, or leave "
                "parts_score out"
            )
        if self.ranks_by == "itc" and self.adapter_arguments["adapter_layers"] and self.global_rank == 0:
            log.warning("model.score itc compares BLIP's own features: the adapter has no part in it")

    def build_model(self, config: BackboneConfig) -> ContextBLIP:
        """Build BLIP with adapter.

        Args:
            config: The backbone's sizes.

        Returns:
            The model.
        """
        return ContextBLIP.build(config, **self.adapter_arguments)

    def score(self, batch: RetrievalBatch) -> CandidateScores:
        """Score the candidates of each query, by its whole text or by its parts.

        Args:
            batch: Queries over image sets.

        Returns:
            Logits and scores.
        """
        candidates = self.encode_candidates(batch)
        if batch["parts"] is None:
            margins = self._margins(candidates, whole_texts(batch))
        else:
            margins = self._joined_margins(candidates, batch["parts"], batch["set_index"])
        shown = margins.sigmoid() if self.ranks_by == "itm" else margins.softmax(dim=1)
        return CandidateScores(margins, shown)

    def _joined_margins(self, candidates: Candidates, parts: TextParts, set_index: Tensor) -> Tensor:
        """Score texts by their parts, ``(B, K)`` float32."""
        margins = []
        for texts in part_chunks(parts, set_index, len(set_index)):
            asked, sets = candidates.restrict(texts.set_index)
            margins.append(self._margins(asked, texts._replace(set_index=sets)))
        of_matches = self.ranks_by == "itm"
        return join_parts(torch.cat(margins), parts["query_index"], self.parts_score, of_matches=of_matches)

    def _margins(self, candidates: Candidates, texts: Texts) -> Tensor:
        """Score T texts, ``(T, K)`` float32, -inf at padding."""
        where = candidates.mask[texts.set_index]
        if self.ranks_by == "itc":
            values = self.similarities(candidates, texts) / self.model.temperature.float()
        else:
            similarities = self.similarities(candidates, texts) if self.ranks_by == "itm+itc" else None
            values = pair_scores(self.itm_logits(self.fuse_texts(candidates, texts)[0]), similarities)
        return spread(values, where, -torch.inf)

"""The scores of image-text pairs, and a gallery's, chunk by chunk."""

import time
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from contextblip.models.contextblip import ContextBLIP
from contextblip.reranking import PairChunk
from contextblip.tasks.retrieval_gallery import Gallery

# the last is an older word for the second
RerankScore = Literal["itm", "itm+itc", "itm_plus_itc"]
SECONDS_BETWEEN_REPORTS = 60.0


def pair_scores(itm_logits: Tensor, similarities: Tensor | None = None) -> Tensor:
    """Score pairs by the ITM head, alone or with their ITC similarity.

    Args:
        itm_logits: ``(N, 2)`` float32, class 1 is a match.
        similarities: Cosine similarity of the unimodal features, ``(N,)``; ``None`` leaves it out.

    Returns:
        The margin of a match over none; with similarities their sum with the logit of a match, by which
        BLIP's published test re-ranks; ``(N,)``.
    """
    if similarities is None:
        return itm_logits[:, 1] - itm_logits[:, 0]
    return itm_logits[:, 1] + similarities


class PairScorer:
    """Scores chunks of pairs and says now and then how far it is.

    Args:
        model: BLIP with or without adapter.
        gallery: Images and texts; holds the states of the images that are asked for.
        kind: See `ImageTextRetrieval`.
        total: Pairs that will be asked for, for the reports.
        seconds_between_reports: Least time between two reports.
    """

    def __init__(
        self,
        model: ContextBLIP,
        gallery: Gallery,
        kind: RerankScore,
        total: int,
        seconds_between_reports: float = SECONDS_BETWEEN_REPORTS,
    ) -> None:
        self.model = model
        self.gallery = gallery
        self.kind = kind
        self.total = total
        self.done = 0
        self.seconds_between_reports = seconds_between_reports
        self.last_report = time.monotonic()

    def __call__(self, chunk: PairChunk) -> Tensor:
        """Score a chunk's n pairs, ``(n,)`` float32."""
        gallery = self.gallery
        embeds = torch.stack([gallery.image_embeds[image] for image in chunk.images.tolist()])
        attention_mask = gallery.attention_mask[chunk.texts]
        length = int(attention_mask.sum(dim=1).max())
        fused = self.model.fuse(
            gallery.input_ids[chunk.texts, :length],
            attention_mask[:, :length],
            embeds.to(gallery.input_ids.device),
            image_index=chunk.image_index,
            whole=0,
        ).first_token
        with torch.autocast(fused.device.type, enabled=False):  # in bf16 the logits of close pairs would tie
            logits = self.model.itm_logits(fused.to(self.model.itm_head.weight.dtype)).float()
        self._report(len(logits))
        if self.kind == "itm":
            return pair_scores(logits)
        images = gallery.image_features[chunk.images][chunk.image_index]
        return pair_scores(logits, (images * gallery.text_features[chunk.texts]).sum(dim=1))

    def _report(self, pairs: int) -> None:
        self.done += pairs
        now = time.monotonic()
        if now - self.last_report >= self.seconds_between_reports:
            self.last_report = now
            rank_zero_info(f"re-ranking: {self.done:,} of {self.total:,} pairs on this device")

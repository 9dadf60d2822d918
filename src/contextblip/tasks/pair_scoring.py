"""The ITM scores of image-text pairs, chunk by chunk."""

import time
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from contextblip.models.contextblip import ContextBLIP
from contextblip.reranking import PairChunk
from contextblip.tasks.retrieval_gallery import Gallery

RerankScore = Literal["itm", "itm_plus_itc"]
SECONDS_BETWEEN_REPORTS = 60.0


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
        ).multimodal_embeds
        with torch.autocast(fused.device.type, enabled=False):  # in bf16 the logits of close pairs would tie
            logits = self.model.itm_logits(fused.to(self.model.itm_head.weight.dtype)).float()
        self._report(len(logits))
        if self.kind == "itm":
            return logits[:, 1] - logits[:, 0]
        images = gallery.image_features[chunk.images][chunk.image_index]
        return logits[:, 1] + (images * gallery.text_features[chunk.texts]).sum(dim=1)

    def _report(self, pairs: int) -> None:
        self.done += pairs
        now = time.monotonic()
        if now - self.last_report >= self.seconds_between_reports:
            self.last_report = now
            rank_zero_info(f"re-ranking: {self.done:,} of {self.total:,} pairs on this device")

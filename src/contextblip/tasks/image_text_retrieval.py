"""Image-text retrieval as BLIP is tested: ITC shortlist, ITM re-ranking (Li et al., 2022, Sec. 5.1)."""

import warnings
from collections.abc import Sequence
from typing import NoReturn, cast

import torch
from torch import Tensor, nn

from contextblip.groups import Share
from contextblip.metrics import flat_shares
from contextblip.models.adapter import AdapterFusion
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import ContextBLIP, ITMToken
from contextblip.recall import RecallAtK
from contextblip.reranking import (
    Shortlist,
    directed_keys,
    look_up,
    pair_keys,
    reranked,
    score_pairs,
    shortlist,
)
from contextblip.tasks.base import ContextBLIPTask
from contextblip.tasks.checking import check
from contextblip.tasks.evaluation_only import EvaluationOnly
from contextblip.tasks.pair_scoring import PairScorer, RerankScore
from contextblip.tasks.retrieval_gallery import Gallery, GalleryRows, Processes
from contextblip.types import GalleryImageBatch, GalleryTextBatch
from contextblip.vision_cache import CachedVision


class ImageTextRetrieval(EvaluationOnly, ContextBLIPTask):
    """Finds texts by images and images by texts in one gallery; nothing trains.

    Images and texts are encoded once; their ITC similarities give each image ``rerank_top_k`` texts and each
    text as many images, which are ranked anew by the ITM head; what is not on a shortlist stays behind it.
    ITC features are those of BLIP alone, since the adapter stands behind them.

    Logs ``text_recall@1``, ``@5``, ``@10`` (an image finds one of its texts), ``image_recall@…`` (a text
    finds its image), ``recall_mean`` over the six, the same before re-ranking below ``itc/``, and the number
    of queries below ``n/``.

    Image states are kept on the CPU until then, shared out over the processes: 5,000 images of 197 x 768 take
    3.0 GB in fp32 and 8.9 GB at 384 px (577 x 768); half of that under bf16-mixed or 16-mixed, where a matrix
    product would cut them all the same. On the device are the features, tokens and shortlists of the gallery,
    0.6 GB at the size of COCO's 5k split, and a chunk's keys and values, 3.5 MB a pair at 384 px in fp32.

    Args:
        backbone: Folder, file or hub id of BLIP's weights, ``random:base`` or ``random:miniature``.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
        init_from: Checkpoint of pre-training; ``None`` evaluates the backbone alone.
        adapter_layers: ViT layers the adapter reads, counted from 1; empty means plain BLIP.
        downsampling_rate: The paper's δ: width of the ViT over width of a down-projection.
        adapter_fusion: Whether the adapter's scales are concatenated (paper's counts) or added.
        adapter_zero_init: Whether the adapter's update starts at zero, by a gate that is learned.
        itm_token: First token of an image-grounded text: [ENC] as BLIP was trained, or [CLS].
        rerank_top_k: Candidates of each query that are ranked anew, 256 in BLIP for COCO; 0: none, ITC alone
            ranks; more than the gallery has: all pairs.
        rerank_chunk_size: Pairs fused at once.
        rerank_score: ``itm+itc`` (``itm_plus_itc`` too) adds the similarity to the logit of a match, as
            BLIP's published test does, whose numbers are the ones to compare with; ``itm`` is the margin of
            a match over none.
    """

    ranks_by = "itm"
    stages = ("validate", "test")
    refusal = "ImageTextRetrieval ranks a whole gallery: use validate or test only"
    # Gives the ViT's states in place of the model where the run has a store of them.
    vision_cache: CachedVision | None = None

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
        rerank_top_k: int = 256,
        rerank_chunk_size: int = 256,
        rerank_score: RerankScore = "itm+itc",
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
        check(rerank_top_k >= 0, "rerank_top_k", rerank_top_k, "0 or more")
        check(rerank_chunk_size > 0, "rerank_chunk_size", rerank_chunk_size, "a positive number of pairs")
        self.save_hyperparameters()
        self.rerank_top_k = rerank_top_k
        self.rerank_chunk_size = rerank_chunk_size
        self.rerank_score: RerankScore = rerank_score
        self._rows = GalleryRows()

    def build_model(self, config: BackboneConfig) -> ContextBLIP:
        """Build BLIP with adapter.

        Args:
            config: The backbone's sizes.

        Returns:
            The model.
        """
        return ContextBLIP.build(config, **self.adapter_arguments)

    def configure_model(self) -> None:
        """Build the model and the counters."""
        super().configure_model()
        if not hasattr(self, "recalls"):
            names = ("text_recall", "image_recall", "itc/text_recall", "itc/image_recall")
            self.recalls = nn.ModuleList(RecallAtK(name) for name in names)

    def on_validation_epoch_start(self) -> None:
        """Begin with an empty gallery."""
        self._rows = GalleryRows()

    def on_test_epoch_start(self) -> None:
        """Begin with an empty gallery."""
        self._rows = GalleryRows()

    def validation_step(
        self,
        batch: GalleryImageBatch | GalleryTextBatch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002  # Lightning wants it where there are several loaders
    ) -> None:
        """Encode images or texts.

        Args:
            batch: Either kind.
            batch_idx: Unused.
            dataloader_idx: Unused.
        """
        self._encode(batch)

    def test_step(
        self,
        batch: GalleryImageBatch | GalleryTextBatch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Encode images or texts.

        Args:
            batch: Either kind.
            batch_idx: Unused.
            dataloader_idx: Unused.
        """
        self._encode(batch)

    def _encode(self, batch: GalleryImageBatch | GalleryTextBatch) -> None:
        if "images" in batch:
            self._encode_images(cast(GalleryImageBatch, batch))
        else:
            texts = self.model.encode_text(batch["input_ids"], batch["attention_mask"], whole=False)
            self._rows.add_texts(batch, texts.text_features)

    def _encode_images(self, batch: GalleryImageBatch) -> None:
        embeds, features = (self.vision_cache or self.model).encode_images(batch["images"])
        device = self.device.type
        mixed = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if mixed else embeds.dtype
        self._rows.add_images(batch, features, embeds if self.rerank_top_k else None, dtype)

    def on_validation_epoch_end(self) -> None:
        """Rank and log the recalls."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Rank and log the recalls."""
        self._finish("test")

    def _finish(self, stage: str) -> None:
        """Rank the gallery and log the recalls."""
        rows, self._rows = self._rows, GalleryRows()
        processes = Processes(self.global_rank, self.trainer.world_size, self._reduce)
        gallery = rows.join(processes, self.backbone_config.projection_width, self.device)
        shares: dict[str, Share] = {}
        recalls = cast(Sequence[RecallAtK], self.recalls)  # a ModuleList forgets what it holds
        for recall, ranks in zip(recalls, self._ranks(gallery, processes), strict=True):
            recall.update(ranks[processes.share])
            with warnings.catch_warnings():
                # every process takes part in the sum, also one whose share was empty
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
                shares |= recall.compute()
            recall.reset()
        logged = flat_shares(shares, stage)
        for prefix in ("", "itc/"):
            values = [
                share.value for name, share in shares.items() if name.startswith("itc/") == bool(prefix)
            ]
            logged[f"{stage}/{prefix}recall_mean"] = sum(values) / len(values)
        # equal in all processes: a mean over them could round
        self.log_dict(logged, sync_dist=True, reduce_fx="max")

    def _reduce(self, tensor: Tensor, operation: str) -> Tensor:
        reduced: Tensor = self.trainer.strategy.reduce(tensor, reduce_op=operation)
        return reduced

    def _ranks(self, gallery: Gallery, processes: Processes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rank each image's best text and each text's image, after and before re-ranking."""
        images, texts = gallery.image_features, gallery.text_features
        labels = torch.arange(len(images), device=images.device)
        by_image = self._shortlist((images, texts), (labels, gallery.image_index), processes)
        by_text = self._shortlist((texts, images), (gallery.image_index, labels), processes)
        if self.rerank_top_k == 0:
            return by_image.ranks, by_text.ranks, by_image.ranks, by_text.ranks
        keys = pair_keys(by_image.candidates, by_text.candidates, gallery.owned)
        with self.trainer.precision_plugin.forward_context():
            scorer = PairScorer(self.model, gallery, self.rerank_score, len(keys))
            scores = score_pairs(keys, len(texts), self.rerank_chunk_size, scorer)
        # each pair was scored by the one process that holds its image; elsewhere it is 0
        from_images, from_texts = (
            processes.reduce(look_up(keys, scores, wanted), "sum")
            for wanted in directed_keys(by_image.candidates, by_text.candidates)
        )
        return reranked(by_image, from_images), reranked(by_text, from_texts), by_image.ranks, by_text.ranks

    def _shortlist(
        self, features: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], processes: Processes
    ) -> Shortlist:
        """Find each query's candidates; the processes share the queries."""
        queries = len(features[0])
        rows = torch.arange(queries, device=self.device)[processes.share]
        part = shortlist(features[0][rows], features[1], labels[0][rows], labels[1], self.rerank_top_k)
        relevant = processes.join(rows, part.relevant.long(), queries).bool()
        return Shortlist(
            processes.join(rows, part.candidates, queries),
            relevant,
            processes.join(rows, part.ranks, queries),
        )

    def predict_step(self) -> NoReturn:
        """Refuse to predict: a gallery without labels has no recall.

        Raises:
            ConfigurationError: Always.
        """
        self.refuse()

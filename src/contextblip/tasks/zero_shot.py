"""Zero-shot retrieval with the ITM head (paper, Sec. 4.2 and Figure 2d)."""

from collections.abc import Sequence

from contextblip.models.adapter import AdapterFusion
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import ContextBLIP, ITMToken
from contextblip.tasks.evaluation_only import EvaluationOnly
from contextblip.tasks.retrieval import CandidateScores, RetrievalTask
from contextblip.types import RetrievalBatch


class ZeroShot(EvaluationOnly, RetrievalTask):
    """Ranks candidates by the ITM head's margin; nothing trains. See `RetrievalTask` for what it logs.

    Args:
        backbone: Folder, file or hub id of BLIP's weights, ``random:base`` or ``random:miniature``.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
        init_from: Checkpoint of pre-training; ``None`` evaluates the backbone alone.
        adapter_layers: ViT layers the adapter reads, counted from 1; empty means plain BLIP.
        downsampling_rate: The paper's δ: width of the ViT over width of a down-projection.
        adapter_fusion: Whether the adapter's scales are concatenated (paper's counts) or added.
        adapter_zero_init: Whether the adapter's update starts at zero, by a gate that is learned.
        itm_token: First token of an image-grounded text: [ENC] as BLIP was trained, or [CLS].
    """

    ranks_by = "itm"
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

    def build_model(self, config: BackboneConfig) -> ContextBLIP:
        """Build BLIP with adapter.

        Args:
            config: The backbone's sizes.

        Returns:
            The model.
        """
        return ContextBLIP.build(config, **self.adapter_arguments)

    def score(self, batch: RetrievalBatch) -> CandidateScores:
        """Score the candidates of each query by the ITM head.

        Args:
            batch: Queries over image sets.

        Returns:
            Logits and scores.
        """
        return self.itm_scores(*self.fuse_candidates(batch))

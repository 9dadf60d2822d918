"""Stage two of fine-tuning: the inter-context encoder over frozen features (paper, Sec. 3.4)."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from contextblip.models.adapter import AdapterFusion
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import ContextBLIP, ITMToken
from contextblip.optim import OptimizerName, build_optimizer, exponential_schedule, parameter_group
from contextblip.tasks.candidate_scoring import Candidates, CandidateScores, Score, Texts
from contextblip.tasks.checking import check, check_optimizer
from contextblip.tasks.feature_memory import FeatureMemory
from contextblip.tasks.retrieval import RetrievalTask
from contextblip.types import RetrievalBatch

IMAGES_AT_ONCE = 5  # their keys and values take 67 MB at the paper's size in fp32


class InterContext(RetrievalTask):
    """Trains a small transformer over the candidates; all else is frozen and in evaluation mode.

    What the frozen parts give is computed once a query and remembered (`FeatureMemory`), unless images of the
    training are augmented.

    See `RetrievalTask` for what it logs; in training ``train/loss`` and ``train/accuracy``.

    Args:
        backbone: Folder, file or hub id of BLIP's weights, ``random:base`` or ``random:miniature``.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
        init_from: Checkpoint of stage one, or of stage two for evaluation elsewhere (MMVP-VLM).
        adapter_layers: ViT layers the adapter reads, counted from 1; empty means plain BLIP.
        downsampling_rate: The paper's δ: width of the ViT over width of a down-projection.
        adapter_fusion: Whether the adapter's scales are concatenated (paper's counts) or added.
        adapter_zero_init: Whether the adapter's update starts at zero, by a gate that is learned.
        itm_token: First token of an image-grounded text: [ENC] as BLIP was trained, or [CLS].
        inter_context_layers: Layers of the encoder over the candidates (2 in the paper).
        inter_context_heads: Its attention heads (8 in the published code).
        max_candidates: Rows of its position table: the largest video set.
        position_std: Standard deviation of that table at the start (1 in the published code).
        inter_context_zero_init: Whether its output starts at zero, so that training begins with stage one's
            scores; the paper's begins with random ones.
        score: What evaluation ranks by: the trained ``candidate`` logits, or the ``itm`` head's margin.
        dropout: Dropout of the encoder over the candidates.
        lr: Learning rate.
        betas: Decay rates of the optimiser's moments.
        weight_decay: Weight decay.
        optimizer: ``adam`` (decay as an L2 term) or ``adamw`` (decoupled).
        gamma: Factor on the learning rate after each epoch.
    """

    trained_parts = ("inter_context",)
    new_parts = ("inter_context",)

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
        inter_context_layers: int = 2,
        inter_context_heads: int = 8,
        max_candidates: int = 10,
        position_std: float = 0.02,
        inter_context_zero_init: bool = False,
        score: Score = "candidate",
        dropout: float = 0.1,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-2,
        optimizer: OptimizerName = "adam",
        gamma: float = 0.95,
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
        check(inter_context_layers >= 1, "inter_context_layers", inter_context_layers, "1 or more")
        check(max_candidates >= 1, "max_candidates", max_candidates, "1 or more")
        check(position_std >= 0, "position_std", position_std, "0 or more")
        check(score in ("candidate", "itm"), "score", score, "candidate or itm")
        check(0 <= dropout < 1, "dropout", dropout, "a number from 0 to below 1")
        check(lr > 0, "lr", lr, "a number above 0")
        check(0 < gamma <= 1, "gamma", gamma, "a number above 0 and up to 1")
        check_optimizer(betas, weight_decay)
        self.inter_context_layers = inter_context_layers
        self.inter_context_heads = inter_context_heads
        self.max_candidates = max_candidates
        self.position_std = position_std
        self.inter_context_zero_init = inter_context_zero_init
        self.ranks_by = score
        self.dropout = dropout
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.optimizer: OptimizerName = optimizer
        self.gamma = gamma
        self._memory = FeatureMemory()

    def build_model(self, config: BackboneConfig) -> ContextBLIP:
        """Build BLIP with adapter, score head and inter-context encoder.

        Args:
            config: The backbone's sizes.

        Returns:
            The model.
        """
        model = ContextBLIP.build(
            config,
            score_head=True,
            inter_context=True,
            inter_context_layers=self.inter_context_layers,
            inter_context_heads=self.inter_context_heads,
            max_candidates=self.max_candidates,
            position_std=self.position_std,
            dropout=self.dropout,
            **self.adapter_arguments,
        )
        if self.inter_context_zero_init and model.inter_context is not None:
            model.inter_context.start_at_zero()
        return model

    def score(self, batch: RetrievalBatch) -> CandidateScores:
        """Score the candidates of each query for evaluation.

        Args:
            batch: Queries over image sets.

        Returns:
            Logits and scores.
        """
        if self.ranks_by == "itm":
            return self.itm_scores(*self.fuse_candidates(batch))
        return self.contextual_scores(batch)

    def contextual_scores(self, batch: RetrievalBatch) -> CandidateScores:
        """Score with the candidates seeing one another; no gradient reaches the frozen parts.

        Args:
            batch: Queries over image sets.

        Returns:
            Logits and scores.
        """
        with torch.no_grad():
            if self._remembers():
                candidate_mask = batch["candidate_mask"][batch["set_index"]]
                compute = partial(self.features_of, batch)
                features = self._memory.recall(batch["queries"], candidate_mask, compute)
            else:
                features = self.candidate_features(batch)
        return self.head_scores(features, batch, inter_context=True)

    def _remembers(self) -> bool:
        """Whether a query keeps its features from epoch to epoch: nothing augments its images."""
        if self._trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return False
        return not self.training or not getattr(getattr(self.trainer, "datamodule", None), "augment", True)

    def features_of(self, batch: RetrievalBatch, rows: Sequence[int]) -> list[Tensor]:
        """Give the features of some queries; on a CPU to the last bit the same in whatever batch they come.

        Matrix products round differently with their sizes, so that there each query is fused alone, with keys
        and values that are computed once for all queries of a set; of a few images at once, since those of a
        whole set are large. A GPU wants large products and takes the batch as it is.

        Args:
            batch: Queries over image sets.
            rows: Which of the queries.

        Returns:
            Unit-norm fused features of each one's candidates, ``(count, D)``, in the order of the rows.
        """
        if self.device.type != "cpu":
            features, mask = self.candidate_features(batch), batch["candidate_mask"][batch["set_index"]]
            return [features[row][mask[row]] for row in rows]
        found: dict[int, list[Tensor]] = {row: [] for row in rows}
        sets = batch["set_index"].tolist()
        for number, of_set in groupby(sorted(rows, key=sets.__getitem__), key=sets.__getitem__):
            queries = list(of_set)
            images = batch["images"][number][batch["candidate_mask"][number]]
            for some in torch.split(images, IMAGES_AT_ONCE):
                candidates = self._project(some)
                for row in queries:
                    found[row].append(self._fuse_alone(candidates, batch, row))
        return [torch.cat(found[row]) for row in rows]

    def _project(self, images: Tensor) -> Candidates:
        """Encode some images of a set and project their keys and values."""
        encoded = (self.vision_cache or self.model).encode_images(images)
        projected = self.model.text_encoder.project_images(encoded.image_embeds)
        return Candidates.number(encoded, images.new_ones(1, len(images), dtype=torch.bool), projected)

    def _fuse_alone(self, candidates: Candidates, batch: RetrievalBatch, row: int) -> Tensor:
        length = int(batch["attention_mask"][row].sum())
        ids, mask = (batch[key][row : row + 1, :length] for key in ("input_ids", "attention_mask"))
        fused, _ = self.fuse_texts(candidates, Texts(ids, mask, mask.new_zeros(1)))
        return self.model.candidate_features(fused)

    def setup(self, stage: str) -> None:
        """Prepare the run and forget features, since the frozen parts may be others than in one before.

        Args:
            stage: Name of the Trainer's entry point.
        """
        super().setup(stage)
        self._memory = FeatureMemory()

    def training_step(self, batch: RetrievalBatch) -> Tensor:
        """Return the cross entropy over the candidates, the mean over queries.

        Args:
            batch: Labelled queries over image sets.

        Returns:
            Scalar.
        """
        return self.candidate_loss(batch, self.contextual_scores(batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser over the new encoder.

        Returns:
            Optimiser and schedule, stepped after each epoch.
        """
        groups = parameter_group([self.model], self.lr, self.weight_decay)
        optimizer = build_optimizer(self.optimizer, groups, self.betas)
        return {"optimizer": optimizer, "lr_scheduler": exponential_schedule(optimizer, self.gamma)}

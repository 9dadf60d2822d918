"""Stage one of fine-tuning: everything trains under a new score head (paper, Sec. 3.4 and Table 12)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from contextblip.errors import ConfigurationError
from contextblip.models.adapter import AdapterFusion
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import ContextBLIP, ITMToken
from contextblip.optim import OptimizerName, build_optimizer, exponential_schedule, parameter_group
from contextblip.tasks.candidate_scoring import CandidateScores
from contextblip.tasks.checking import check, check_optimizer
from contextblip.tasks.retrieval import RetrievalTask
from contextblip.types import RetrievalBatch

ScoreHeadInit = Literal["random", "itm"]


class FineTuning(RetrievalTask):
    """Full fine-tuning with a new head on unit-norm fused features and cross entropy over the candidates.

    See `RetrievalTask` for what it logs; in training ``train/loss`` and ``train/accuracy``.

    Args:
        backbone: Folder, file or hub id of BLIP's weights, ``random:base`` or ``random:miniature``.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
        init_from: Checkpoint of pre-training; ``None`` starts from the backbone alone.
        adapter_layers: ViT layers the adapter reads, counted from 1; empty means plain BLIP.
        downsampling_rate: The paper's δ: width of the ViT over width of a down-projection.
        adapter_fusion: Whether the adapter's scales are concatenated (paper's counts) or added.
        adapter_zero_init: Whether the adapter's update starts at zero, by a gate that is learned.
        itm_token: First token of an image-grounded text: [ENC] as BLIP was trained, or [CLS].
        score_head_init: Where the new head starts: ``random`` (paper), or as the trained ``itm`` head, so
            that the first step ranks as zero-shot does, for budgets too short to learn it again.
        dropout: Dropout of the text encoder.
        lr_backbone: Learning rate of BLIP and adapter.
        lr_head: Learning rate of the new head.
        betas: Decay rates of the optimiser's moments.
        weight_decay: Weight decay.
        optimizer: ``adam`` (paper; decay as an L2 term) or ``adamw`` (decoupled).
        gamma: Factor on both learning rates after each epoch.
    """

    # itm_head and the projections take no part in this loss, so they get no gradient.
    trained_parts = ("vision_encoder", "text_encoder", "adapter", "score_head")
    new_parts = ("score_head",)

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
        score_head_init: ScoreHeadInit = "random",
        dropout: float = 0.1,
        lr_backbone: float = 2e-6,
        lr_head: float = 1e-4,
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
        kinds = get_args(ScoreHeadInit)
        check(score_head_init in kinds, "score_head_init", score_head_init, " or ".join(kinds))
        check(0 <= dropout < 1, "dropout", dropout, "a number from 0 to below 1")
        check(lr_backbone >= 0, "lr_backbone", lr_backbone, "0 or more")
        check(lr_head > 0, "lr_head", lr_head, "a number above 0")
        check(0 < gamma <= 1, "gamma", gamma, "a number above 0 and up to 1")
        check_optimizer(betas, weight_decay)
        self.score_head_init: ScoreHeadInit = score_head_init
        self.dropout = dropout
        self.lr_backbone = lr_backbone
        self.lr_head = lr_head
        self.betas = betas
        self.weight_decay = weight_decay
        self.optimizer: OptimizerName = optimizer
        self.gamma = gamma

    def build_model(self, config: BackboneConfig) -> ContextBLIP:
        """Build BLIP with adapter and score head.

        Args:
            config: The backbone's sizes.

        Returns:
            The model.
        """
        return ContextBLIP.build(config, score_head=True, dropout=self.dropout, **self.adapter_arguments)

    def configure_model(self) -> None:
        """Load what earlier stages trained and start the head, unless one of them brought it."""
        if hasattr(self, "model"):
            return
        super().configure_model()
        if self.score_head_init == "itm" and "score_head" in self._untrained:
            start_from_itm(self.model)
            self._untrained -= {"score_head"}

    def score(self, batch: RetrievalBatch) -> CandidateScores:
        """Score the candidates of each query by the head.

        Args:
            batch: Queries over image sets.

        Returns:
            Logits and scores.
        """
        return self.head_scores(self.candidate_features(batch), batch, inter_context=False)

    def training_step(self, batch: RetrievalBatch) -> Tensor:
        """Return the cross entropy over the candidates, the mean over queries.

        Args:
            batch: Labelled queries over image sets.

        Returns:
            Scalar.
        """
        return self.candidate_loss(batch, self.score(batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser, one learning rate for the head and one for the rest.

        Returns:
            Optimiser and schedule, stepped after each epoch.
        """
        parts = dict(self.model.named_children())
        head = parameter_group([parts.pop("score_head")], self.lr_head, self.weight_decay)
        rest = parameter_group(parts.values(), self.lr_backbone, self.weight_decay)
        optimizer = build_optimizer(self.optimizer, [*rest, *head], self.betas)
        return {"optimizer": optimizer, "lr_scheduler": exponential_schedule(optimizer, self.gamma)}


@torch.no_grad()
def start_from_itm(model: ContextBLIP) -> None:
    """Let the score head rank as the ITM head's margin does.

    The margin is linear in the fused feature, the score head reads it at unit norm. Behind the last LayerNorm
    (gain g, bias b) all features have about one norm, ``sqrt(|g|^2 + |b|^2)``, which goes into the weight.

    Args:
        model: Its ITM head is trained; its score head is overwritten.

    Raises:
        ConfigurationError: The model has no score head.

    Source: ours; paper Sec. 3.4 trains the head from random weights.
    """
    head, itm, text_encoder = model.score_head, model.itm_head, model.text_encoder
    if head is None:
        raise ConfigurationError("this model has no score head: score_head_init has nothing to start")
    norm = f"layers.{len(text_encoder.layers) - 1}.mlp.norm"
    squares = [text_encoder.get_parameter(f"{norm}.{name}").square().sum() for name in ("weight", "bias")]
    head.weight.copy_((itm.weight[1:] - itm.weight[:1]) * torch.stack(squares).sum().sqrt())
    head.bias.copy_(itm.bias[1:] - itm.bias[:1])

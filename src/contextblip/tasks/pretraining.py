"""Pre-training of the multi-scale adapter under image-text matching and TMIM (paper, Sec. 3.3)."""

from collections.abc import Sequence
from typing import Literal, cast

from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from contextblip.draws import SampleDraws, Uniform, run_seed
from contextblip.models.adapter import AdapterFusion
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import ContextBLIP, ITMToken
from contextblip.models.masking import MaskPolicy, MaskStrategy, TokenRow
from contextblip.models.mim_decoder import DecoderText
from contextblip.optim import ScheduleName, build_optimizer, parameter_group
from contextblip.tasks.base import ContextBLIPTask
from contextblip.tasks.checking import check, check_numbers, check_optimizer, check_schedule
from contextblip.tasks.mask_memory import MaskMemory, settled_mask
from contextblip.tasks.negatives_watch import NegativesWatch
from contextblip.tasks.peers import NegativesScope, Peers
from contextblip.tasks.pretraining_metrics import step_metrics
from contextblip.tasks.pretraining_step import PretrainingOutput, pretraining_forward
from contextblip.tasks.scheduling import over_the_run
from contextblip.types import CaptionBatch


class Pretraining(ContextBLIPTask):
    """Trains adapter and decoder on image-caption pairs; BLIP stays frozen (paper, Sec. 3.3, Table 11).

    Every step takes the mask from the current model's attention, so masks are refined as the adapter learns.
    Validation draws the same negatives, token rows and noise each time.

    Logs ``train/`` and ``val/``: ``loss``, ``loss_itm``, ``loss_tmim``; ``loss_mean_colour``, what TMIM's
    would be if masked patches were painted in the mean colour of their image's visible ones;
    ``accuracy_itm`` over all pairs; ``attention_entropy``, the entropy in nats of the driving token's
    attention over the patches, brought to sum 1; ``masked_attention``, the share of that attention on masked
    patches; and ``val/mask_changed``, the share of each validation caption's masked patches that were
    visible at the previous validation, with the mean over words as driving row, no noise and strategy
    ``top`` (absent the first time).

    Args:
        backbone: Folder, file or hub id of BLIP's weights, ``random:base`` or ``random:miniature``.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
        init_from: Earlier pre-training to start from; ``None`` starts from the backbone alone.
        adapter_layers: ViT layers the adapter reads, counted from 1.
        downsampling_rate: The paper's δ: width of the ViT over width of a down-projection.
        adapter_fusion: Whether the adapter's scales are concatenated (paper's counts) or added.
        adapter_zero_init: Whether the adapter's update starts at zero, by a gate that is learned.
        itm_token: First token of an image-grounded text: [ENC] as BLIP was trained, or [CLS].
        use_tmim: Whether TMIM is trained beside matching; off is the paper's ablation (Table 4).
        mask_ratio: The paper's π: share of the patches that is masked.
        mask_strategy: Masks what the text attends to most (``top``), least, at random, or a mixture.
        mask_token_row: Whose attention drives the mask: a random word, the mean over words, [ENC], or the
            published rule.
        mask_noise: Upper end of the uniform noise on the unit-norm attention.
        attention_layers: Text layers whose attention is averaged, counted from 1; ``None`` means all.
        attention_heads: Heads whose attention is averaged, counted from 1; ``None`` means all.
        refine_steps: Rankings of the patches in a step; above 1 masks are refined within it.
        decoder_layers: Layers of the decoder.
        decoder_heads: Attention heads of the decoder (12 in the paper, 8 in the published code).
        decoder_text: What the decoder attends to: fused text states (published), text-only states, or none.
        normalize_pixels: Whether the target is each patch with zero mean and unit variance.
        negatives: Whether a training step draws ITM's negatives from the pairs of its own process
            (``local``, published) or of all (``global``). Validation and test always draw them locally.
        negatives_temperature: Divides the similarities negatives are drawn by: a number, the backbone's
            learned one, or ``None`` for 1 (published).
        exclude_same_image: Whether other captions of an image are never its negatives.
        dropout: Dropout of the decoder; frozen parts have none.
        lr: Highest learning rate of AdamW.
        betas: Decay rates of AdamW's moments.
        weight_decay: Weight decay of AdamW.
        warmup_steps: Optimiser steps of linear warm-up.
        warmup_lr: Learning rate at the start of the warm-up.
        min_lr: Lowest learning rate of the decay.
        schedule: Cosine after the warm-up, or the published code's steps of 0.9 an epoch.
    """

    trained_parts = ("adapter", "mim_decoder")
    new_parts = ("mim_decoder",)

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
        use_tmim: bool = True,
        mask_ratio: float = 0.25,
        mask_strategy: MaskStrategy = "top",
        mask_token_row: TokenRow = "word",
        mask_noise: float = 0.02,
        attention_layers: Sequence[int] | None = None,
        attention_heads: Sequence[int] | None = None,
        refine_steps: int = 1,
        decoder_layers: int = 4,
        decoder_heads: int = 12,
        decoder_text: DecoderText = "fused",
        normalize_pixels: bool = False,
        negatives: NegativesScope = "local",
        negatives_temperature: float | Literal["backbone"] | None = None,
        exclude_same_image: bool = True,
        dropout: float = 0.1,
        lr: float = 3e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-4,
        warmup_steps: int = 3000,
        warmup_lr: float = 1e-6,
        min_lr: float = 1e-6,
        schedule: ScheduleName = "cosine",
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
        check(bool(adapter_layers), "adapter_layers", list(adapter_layers), "at least one layer to train")
        check(refine_steps >= 1, "refine_steps", refine_steps, "1 or more")
        check(decoder_layers >= 1, "decoder_layers", decoder_layers, "1 or more")
        check(0 <= dropout < 1, "dropout", dropout, "a number from 0 to below 1")
        positive = not isinstance(negatives_temperature, float | int) or negatives_temperature > 0
        check(positive, "negatives_temperature", negatives_temperature, "a number above 0")
        check_schedule(lr, warmup_steps, warmup_lr, min_lr)
        check_optimizer(betas, weight_decay)
        self.policy = MaskPolicy(
            mask_ratio, mask_strategy, mask_token_row, mask_noise, attention_layers, attention_heads
        )
        self.use_tmim = use_tmim
        self.refine_steps = refine_steps
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.decoder_text: DecoderText = decoder_text
        self.normalize_pixels = normalize_pixels
        self.negatives: NegativesScope = negatives
        self.negatives_temperature = negatives_temperature
        self.exclude_same_image = exclude_same_image
        self.dropout = dropout
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.warmup_lr = warmup_lr
        self.min_lr = min_lr
        self.schedule: ScheduleName = schedule

    def build_model(self, config: BackboneConfig) -> ContextBLIP:
        """Build BLIP with adapter and decoder.

        Args:
            config: The backbone's sizes.

        Returns:
            The model.

        Raises:
            ConfigurationError: A key does not fit these sizes.
        """
        self.policy.num_masked(config.num_patches)
        layers, heads = self.policy.attention_layers, self.policy.attention_heads
        check_numbers("attention_layers", layers, config.text_layers)
        check_numbers("attention_heads", heads, config.text_heads)
        return ContextBLIP.build(
            config,
            **self.adapter_arguments,
            mim_decoder=self.use_tmim,
            decoder_layers=self.decoder_layers,
            decoder_heads=self.decoder_heads,
            decoder_text=self.decoder_text,
            dropout=self.dropout,
        )

    def run_step(
        self, batch: CaptionBatch, peers: Peers | None = None, uniform: Uniform | None = None
    ) -> PretrainingOutput:
        """Run both co-supervision losses on a batch.

        Args:
            batch: Image-caption pairs.
            peers: The processes whose pairs may become negatives; ``None``: this one alone.
            uniform: Draws negatives, words and noise; ``None``: torch's generator.

        Returns:
            Every intermediate.
        """
        temperature = self.negatives_temperature
        return pretraining_forward(
            self.model,
            batch["images"],
            batch["input_ids"],
            batch["attention_mask"],
            policy=self.policy,
            image_id=batch["image_id"] if self.exclude_same_image else None,
            temperature=self.model.temperature if temperature == "backbone" else temperature or 1.0,
            peers=peers,
            refine_steps=self.refine_steps,
            normalize_pixels=self.normalize_pixels,
            uniform=uniform,
        )

    def on_fit_start(self) -> None:
        """Forget the masks and warnings of an earlier run."""
        super().on_fit_start()
        self._masks, self._watch = MaskMemory(), NegativesWatch()

    def training_step(self, batch: CaptionBatch) -> Tensor:
        """Return the sum of both losses.

        Args:
            batch: Image-caption pairs.

        Returns:
            Scalar.
        """
        draws = SampleDraws(batch["index"], run_seed(), self.global_step)
        output = self.run_step(batch, self._peers(), draws)
        self._log("train", output)
        if output.fell_back is not None:
            self._watch.note(self, output.fell_back)
        return output.loss

    def _peers(self) -> Peers | None:
        if self.negatives == "local" or self.trainer.world_size == 1:
            return None
        return Peers(self.global_rank, lambda own, sync: cast(Tensor, self.all_gather(own, sync_grads=sync)))

    def validation_step(self, batch: CaptionBatch) -> None:
        """Log the losses and how far the masks have moved.

        Args:
            batch: Image-caption pairs.
        """
        output = self._evaluate(batch, "val")
        if output.attention is not None and self._compares_masks:
            self._log_mask_changed(output.attention, batch)

    def test_step(self, batch: CaptionBatch) -> None:
        """Log the losses.

        Args:
            batch: Image-caption pairs.
        """
        self._evaluate(batch, "test")

    def _evaluate(self, batch: CaptionBatch, stage: str) -> PretrainingOutput:
        output = self.run_step(batch, uniform=SampleDraws(batch["index"], seed=0, step=0))
        self._log(stage, output)
        return output

    def _log(self, stage: str, output: PretrainingOutput) -> None:
        size, synchronise = len(output.image_embeds), stage != "train"
        named = {f"{stage}/{name}": value for name, value in step_metrics(output).items()}
        self.log(f"{stage}/loss", output.loss, batch_size=size, sync_dist=synchronise, prog_bar=True)
        self.log_dict(named, batch_size=size, sync_dist=synchronise)

    def _log_mask_changed(self, attention: Tensor, batch: CaptionBatch) -> None:
        """Compare with the masks of the previous validation."""
        mask = settled_mask(self.policy, attention, batch["attention_mask"])
        changed = self._masks.changed(batch["index"], mask)
        if len(changed):
            shares = {"val/mask_changed": changed.mean(), "val/masks_changed": (changed > 0).float().mean()}
            self.log_dict(shares, batch_size=len(changed), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Let this validation's masks be what the next one compares with."""
        if self._compares_masks:
            self._masks.next_epoch()

    @property
    def _compares_masks(self) -> bool:
        """Whether this validation is one of a training run."""
        return self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build AdamW and the schedule.

        Returns:
            Optimiser and schedule, stepped after each optimiser step.
        """
        groups = parameter_group([self.model], self.lr, self.weight_decay)
        optimizer = build_optimizer("adamw", groups, self.betas)
        return over_the_run(
            self.trainer,
            self.schedule,
            optimizer,
            lr=self.lr,
            warmup_steps=self.warmup_steps,
            warmup_lr=self.warmup_lr,
            min_lr=self.min_lr,
        )

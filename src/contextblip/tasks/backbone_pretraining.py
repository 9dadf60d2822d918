"""Training a small BLIP from scratch by contrast, matching and captioning (Li et al., 2022)."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from contextblip.checkpoints.files import read_tensors
from contextblip.draws import SampleDraws, Uniform, run_seed
from contextblip.errors import CheckpointError
from contextblip.losses import loss_itc, loss_itm, loss_lm
from contextblip.models.caption_decoder import CaptionDecoder
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import BACKBONE_PARTS, ContextBLIP
from contextblip.models.text_encoder import with_first_token
from contextblip.optim import build_optimizer, decayed_groups
from contextblip.tasks.base import ContextBLIPTask
from contextblip.tasks.checking import check, check_optimizer, check_schedule
from contextblip.tasks.length_buckets import length_buckets
from contextblip.tasks.matching import draw_negatives, matching_labels, matching_pairs
from contextblip.tasks.negatives_watch import NegativesWatch, fallbacks
from contextblip.tasks.scheduling import over_the_run
from contextblip.types import CaptionBatch

# BLIP keeps its learned temperature in this range.
TEMPERATURE_RANGE = (0.001, 0.5)
REMEDY = "continue_from takes a checkpoint of this task and of the same sizes"


class BackboneLosses(NamedTuple):
    """What one batch gives.

    Attributes:
        loss: Sum of the losses, scalar.
        loss_itc: Contrastive loss, scalar.
        loss_itm: Matching loss, scalar.
        loss_lm: Loss of the captions' next tokens, scalar.
        accuracy_itm: Share of the 3B pairs classified rightly, scalar.
        recall_1: Share of texts whose most similar image in the batch is their own, scalar.
    """

    loss: Tensor
    loss_itc: Tensor
    loss_itm: Tensor
    loss_lm: Tensor
    accuracy_itm: Tensor
    recall_1: Tensor


class BackbonePretraining(ContextBLIPTask):
    """Trains both encoders from scratch: ITC with a learned temperature, ITM with hard negatives, and LM.

    As in BLIP, negatives are drawn from the contrastive similarity divided by the temperature; here from the
    local batch, without momentum encoders or queues. The decoder of LM (`CaptionDecoder`) teaches the shared
    parts to read small things from the image; it is not part of the backbone. LM's loss is the mean over the
    tokens of all processes. After each validation and at the end the backbone is written to ``backbone/`` in
    the run folder, ready for ``--model.backbone``.

    Logs ``train/`` and ``val/``: ``loss``, ``loss_itc``, ``loss_itm``, ``loss_lm``, ``accuracy_itm``,
    ``recall_1`` (see `BackboneLosses`), and ``train/temperature``.

    Args:
        backbone: Where to start: ``random:miniature``, ``random:base`` or a backbone to train further.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
        continue_from: Checkpoint of an earlier run of this task: all its parts, the decoder too, are trained
            further, under a schedule of their own.
        dropout: Dropout of the text encoder.
        negatives_temperature: Divides the similarities from which ITM's negatives are drawn; ``None``
            takes the learned one (BLIP: the hardest), 1 is nearly uniform, which a start from nothing needs.
        lr: Highest learning rate of AdamW.
        betas: Decay rates of AdamW's moments.
        weight_decay: Weight decay of the matrices; biases, norms and the temperature have none.
        warmup_steps: Optimiser steps of linear warm-up.
        warmup_lr: Learning rate at the start of the warm-up.
        min_lr: Learning rate at the end of the cosine.
    """

    trained_parts = BACKBONE_PARTS
    keeps_random_backbone = False

    def __init__(
        self,
        backbone: str = "random:miniature",
        image_size: int | None = None,
        continue_from: str | None = None,
        dropout: float = 0.1,
        negatives_temperature: float | None = None,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.05,
        warmup_steps: int = 500,
        warmup_lr: float = 1e-6,
        min_lr: float = 1e-6,
    ) -> None:
        super().__init__(backbone, image_size)
        self.save_hyperparameters()
        check_schedule(lr, warmup_steps, warmup_lr, min_lr)
        check_optimizer(betas, weight_decay)
        positive = negatives_temperature is None or negatives_temperature > 0
        check(positive, "negatives_temperature", negatives_temperature, "a number above 0")
        self._watch = NegativesWatch()
        self.continue_from = continue_from
        self.dropout = dropout
        self.negatives_temperature = negatives_temperature
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.warmup_lr = warmup_lr
        self.min_lr = min_lr

    def build_model(self, config: BackboneConfig) -> ContextBLIP:
        """Build both encoders and their heads, nothing else.

        Args:
            config: The backbone's sizes.

        Returns:
            The model.
        """
        return ContextBLIP.build(config, adapter_layers=[], dropout=self.dropout)

    def configure_model(self) -> None:
        """Build the model and the captions' decoder, and make the temperature learnable."""
        super().configure_model()
        if hasattr(self, "temperature"):
            return
        config = self.model.config
        self.temperature = nn.Parameter(self.model.temperature.detach().clone())
        self.caption_decoder = CaptionDecoder(
            config.text_width, config.text_layers, config.text_heads, config.vocab_size, self.dropout
        )
        if self.continue_from is not None:
            self._take_over(self.continue_from)

    def _take_over(self, path: str) -> None:
        """Load every part of an earlier run."""
        content = read_tensors(Path(path).expanduser())[0]
        state = content.get("state_dict")
        if state is None:
            raise CheckpointError(
                f"{path}: no checkpoint of a run; continue_from takes the .ckpt of an earlier one"
            )
        try:
            outcome = nn.Module.load_state_dict(self, state, strict=False)
        except RuntimeError as error:
            raise CheckpointError(f"{path}: of another size than {self.backbone}; {REMEDY}") from error
        if names := [*outcome.missing_keys, *outcome.unexpected_keys]:
            raise CheckpointError(f"{path}: lacks or has unknown tensors: {', '.join(names[:3])}; {REMEDY}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out where the run continued from: the checkpoint holds every tensor itself.

        Args:
            checkpoint: What is about to be written.
        """
        super().on_save_checkpoint(checkpoint)
        checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {}).pop("continue_from", None)

    def losses(self, batch: CaptionBatch) -> BackboneLosses:
        """Compute the losses; images are encoded once.

        Args:
            batch: Image-caption pairs.

        Returns:
            Losses and accuracies.
        """
        model, ids, mask = self.model, batch["input_ids"], batch["attention_mask"]
        image_embeds, image_features = model.encode_images(batch["images"])
        text_features = model.encode_text(ids, mask, whole=False).text_features
        same_image = batch["image_id"][:, None] == batch["image_id"]
        with torch.autocast(self.device.type, enabled=False):  # bf16 over a small temperature is too coarse
            image_features, text_features = image_features.float(), text_features.float()
            contrastive = loss_itc(image_features, text_features, self.temperature, same_image)
            sim_t2i = (text_features @ image_features.T).detach()
        seed, step = (run_seed(), self.global_step) if self.training else (0, 0)
        draws = SampleDraws(batch["index"], seed, step)
        logits, labels = self._match(ids, mask, image_embeds, sim_t2i, same_image, draws)
        matching = loss_itm(logits, labels)
        captioning = self._caption(ids, mask, image_embeds)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        nearest = same_image.gather(1, sim_t2i.argmax(dim=1, keepdim=True)).float().mean()
        loss = contrastive + matching + captioning
        return BackboneLosses(loss, contrastive, matching, captioning, accuracy, nearest)

    def _caption(self, input_ids: Tensor, attention_mask: Tensor, image_embeds: Tensor) -> Tensor:
        """Return the loss of the captions' next tokens; [DEC] stands first."""
        input_ids = with_first_token(input_ids, self.model.config.dec_token_id)
        total, tokens = image_embeds.new_zeros((), dtype=torch.float32), self._tokens(attention_mask)
        for rows, length in length_buckets(attention_mask, 2):
            ids, mask = input_ids[rows, :length], attention_mask[rows, :length]
            logits = self.caption_decoder(self.model.text_encoder, ids, mask, image_embeds[rows])
            total = total + loss_lm(logits, ids, mask) * mask[:, 1:].sum() / tokens
        return total

    def _tokens(self, attention_mask: Tensor) -> Tensor:
        """Count the tokens to predict, in training their mean over the processes: these average gradients."""
        tokens = attention_mask[:, 1:].sum()
        if not self.training or self._trainer is None or self.trainer.world_size == 1:
            return tokens
        return torch.as_tensor(self.trainer.strategy.reduce(tokens.float(), reduce_op="mean"))

    def _match(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_embeds: Tensor,
        sim: Tensor,
        same_image: Tensor,
        draws: Uniform,
    ) -> tuple[Tensor, Tensor]:
        """Classify positives and hard negatives: logits ``(3B, 2)`` and labels ``(3B,)``."""
        temperature = self.negatives_temperature or self.temperature.detach()
        negatives = draw_negatives(sim, same_image, temperature, uniform=draws)
        self._watch.note(self, fallbacks(sim, same_image))
        texts, images = matching_pairs(len(input_ids), negatives, input_ids.device)
        first = self.model.fuse(
            input_ids, attention_mask, image_embeds, text_index=texts, image_index=images, whole=0
        ).first_token
        labels = matching_labels(len(input_ids), len(texts), input_ids.device)
        return self.model.itm_logits(first), labels

    def training_step(self, batch: CaptionBatch) -> Tensor:
        """Return the sum of the losses.

        Args:
            batch: Image-caption pairs.

        Returns:
            Scalar.
        """
        losses = self.losses(batch)
        self._log("train", losses, batch)
        self.log("train/temperature", self.temperature.detach(), batch_size=len(batch["images"]))
        return losses.loss

    def validation_step(self, batch: CaptionBatch) -> None:
        """Log the losses; the negatives are the same each time.

        Args:
            batch: Image-caption pairs.
        """
        self._log("val", self.losses(batch), batch)

    def test_step(self, batch: CaptionBatch) -> None:
        """Log the losses; the negatives are the same each time.

        Args:
            batch: Image-caption pairs.
        """
        self._log("test", self.losses(batch), batch)

    def _log(self, stage: str, losses: BackboneLosses, batch: CaptionBatch) -> None:
        values = {f"{stage}/{name}": value.detach() for name, value in losses._asdict().items()}
        self.log_dict(values, batch_size=len(batch["images"]), sync_dist=stage != "train", prog_bar=True)

    def on_train_batch_end(self, _outputs: object, _batch: object, _batch_idx: int) -> None:
        """Keep the temperature in BLIP's range and in the model, which saves it."""
        with torch.no_grad():
            self.temperature.clamp_(*TEMPERATURE_RANGE)
            self.model.temperature.copy_(self.temperature)

    def on_validation_end(self) -> None:
        """Write the backbone as it now is."""
        if not self.trainer.sanity_checking:
            self._export()

    def on_fit_end(self) -> None:
        """Write the backbone as it now is."""
        self._export()

    def _export(self) -> None:
        if self.trainer.fast_dev_run or self.trainer.state.fn != TrainerFn.FITTING:  # type: ignore[attr-defined]
            return
        self.save_backbone(self.run_folder / "backbone", self.model.state_dict())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build AdamW with warm-up and cosine.

        Returns:
            Optimiser and schedule, stepped after each optimiser step.
        """
        groups = decayed_groups(self, self.lr, self.weight_decay)
        optimizer = build_optimizer("adamw", groups, self.betas)
        return over_the_run(
            self.trainer,
            "cosine",
            optimizer,
            lr=self.lr,
            warmup_steps=self.warmup_steps,
            warmup_lr=self.warmup_lr,
            min_lr=self.min_lr,
        )

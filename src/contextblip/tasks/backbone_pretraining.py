"""Training a small BLIP from scratch by contrast and matching, for the miniature world (Li et al., 2022)."""

from typing import NamedTuple

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from contextblip.losses import loss_itc, loss_itm
from contextblip.models.config import BackboneConfig
from contextblip.models.contextblip import BACKBONE_PARTS, ContextBLIP
from contextblip.optim import build_optimizer, decayed_groups
from contextblip.tasks.base import ContextBLIPTask
from contextblip.tasks.checking import check, check_optimizer, check_schedule
from contextblip.tasks.matching import draw_negatives, matching_labels, negative_pairs
from contextblip.tasks.scheduling import over_the_run
from contextblip.types import CaptionBatch

# BLIP keeps its learned temperature in this range.
TEMPERATURE_RANGE = (0.001, 0.5)


class BackboneLosses(NamedTuple):
    """What one batch gives.

    Attributes:
        loss: Sum of both losses, scalar.
        loss_itc: Contrastive loss, scalar.
        loss_itm: Matching loss, scalar.
        accuracy_itm: Share of the 3B pairs classified rightly, scalar.
        recall_1: Share of texts whose most similar image in the batch is their own, scalar.
    """

    loss: Tensor
    loss_itc: Tensor
    loss_itm: Tensor
    accuracy_itm: Tensor
    recall_1: Tensor


class BackbonePretraining(ContextBLIPTask):
    """Trains both encoders from scratch: ITC with a learned temperature, and ITM with hard negatives.

    As in BLIP, negatives are drawn from the contrastive similarity divided by the temperature; here from the
    local batch, without momentum encoders or queues. After each validation and at the end the backbone is
    written to ``backbone/`` in the run folder, ready for ``--model.backbone``.

    Logs ``train/`` and ``val/``: ``loss``, ``loss_itc``, ``loss_itm``, ``accuracy_itm``, ``recall_1`` (see
    `BackboneLosses`), and ``train/temperature``.

    Args:
        backbone: Where to start: ``random:miniature``, ``random:base`` or a backbone to train further.
        image_size: Side of the input in pixels; ``None`` keeps the backbone's own.
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
        """Build the model and make its temperature learnable."""
        super().configure_model()
        if not hasattr(self, "temperature"):
            self.temperature = nn.Parameter(self.model.temperature.detach().clone())

    def losses(self, batch: CaptionBatch) -> BackboneLosses:
        """Compute both losses; images are encoded once and all 3B pairs are fused in one call.

        Args:
            batch: Image-caption pairs.

        Returns:
            Losses and accuracies.
        """
        model, ids, mask = self.model, batch["input_ids"], batch["attention_mask"]
        image_embeds, image_features = model.encode_images(batch["images"])
        text_features = model.encode_text(ids, mask).text_features
        same_image = batch["image_id"][:, None] == batch["image_id"]
        with torch.autocast(self.device.type, enabled=False):  # bf16 over a small temperature is too coarse
            image_features, text_features = image_features.float(), text_features.float()
            contrastive = loss_itc(image_features, text_features, self.temperature, same_image)
            sim_t2i = (text_features @ image_features.T).detach()
        logits, labels = self._match(ids, mask, image_embeds, sim_t2i, same_image)
        matching = loss_itm(logits, labels)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        nearest = same_image.gather(1, sim_t2i.argmax(dim=1, keepdim=True)).float().mean()
        return BackboneLosses(contrastive + matching, contrastive, matching, accuracy, nearest)

    def _match(
        self, input_ids: Tensor, attention_mask: Tensor, image_embeds: Tensor, sim: Tensor, same_image: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Classify positives and hard negatives: logits ``(3B, 2)`` and labels ``(3B,)``."""
        own = torch.arange(len(input_ids), device=input_ids.device)
        temperature = self.negatives_temperature or self.temperature.detach()
        negatives = draw_negatives(sim, same_image, temperature)
        if negatives is not None:
            pairs = negative_pairs(input_ids, attention_mask, negatives)
            input_ids = torch.cat([input_ids, pairs.input_ids])
            attention_mask = torch.cat([attention_mask, pairs.attention_mask])
            image_index = torch.cat([own, pairs.image_index])
        else:
            image_index = own
        fused = self.model.fuse(input_ids, attention_mask, image_embeds, image_index=image_index)
        labels = matching_labels(len(own), len(input_ids), input_ids.device)
        return self.model.itm_logits(fused.multimodal_embeds), labels

    def training_step(self, batch: CaptionBatch) -> Tensor:
        """Return the sum of both losses.

        Args:
            batch: Image-caption pairs.

        Returns:
            Scalar.
        """
        losses = self.losses(batch)
        self._log("train", losses, batch)
        self.log("train/temperature", self.temperature.detach(), batch_size=len(batch["images"]))
        return losses.loss

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        """Log both losses; the negatives are the same each time.

        Args:
            batch: Image-caption pairs.
            batch_idx: Position in the epoch; seeds the negatives.
        """
        self._evaluate(batch, batch_idx, "val")

    def test_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        """Log both losses; the negatives are the same each time.

        Args:
            batch: Image-caption pairs.
            batch_idx: Position in the epoch; seeds the negatives.
        """
        self._evaluate(batch, batch_idx, "test")

    def _evaluate(self, batch: CaptionBatch, batch_idx: int, stage: str) -> None:
        with isolate_rng():
            torch.manual_seed(batch_idx)
            self._log(stage, self.losses(batch), batch)

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

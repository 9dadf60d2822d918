"""Our side of each case: the tasks as they run in an experiment."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.inputs import SEED, caption_batch, draw_step, retrieval_batch, score_head
from benchmarks.sides import Outputs, Precision, Side
from contextblip.checkpoints import read_backbone_config
from contextblip.losses import loss_candidates
from contextblip.tasks import FineTuning, InterContext, Pretraining, ZeroShot
from contextblip.tasks.base import ContextBLIPTask
from contextblip.tasks.pretraining_step import pretraining_forward
from contextblip.types import RetrievalBatch

EPOCHS = 5
EXPECTED_WARNINGS = (".*does not have many workers", ".*have no `val_dataloader`", ".*treespec, LeafSpec")
TRAINER_PRECISION: Mapping[Precision, Any] = {"fp32": "32-true", "bf16": "bf16-mixed"}


def mixed(precision: Precision, device: str = "cpu") -> torch.autocast:
    """Return what Lightning wraps around a step: autocast for bf16-mixed, nothing for fp32."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def ready(task: ContextBLIPTask) -> None:
    """Load a task's backbone and draw its new parts, the same at every call."""
    for name in ("lightning.pytorch", "contextblip"):  # what they tell belongs to real runs
        logging.getLogger(name).setLevel(logging.ERROR)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        task.configure_model()


def zero_shot(folder: Path, precision: Precision) -> Side:
    """Score the queries of a set with `ZeroShot`, without adapter as in the peer.

    Args:
        folder: Backbone.
        precision: Of the model; heads are fp32 all the same.

    Returns:
        The side.
    """
    task = ZeroShot(str(folder), adapter_layers=())
    ready(task)
    task.eval()
    batch = retrieval_batch(task.backbone_config)

    def run() -> Outputs:
        with torch.inference_mode(), mixed(precision):
            return Outputs(task.score(batch).candidate_logits)

    return Side(run)


def stage_one(folder: Path, precision: Precision) -> Side:
    """Train everything with `FineTuning`, without adapter and dropout as in the peer.

    Args:
        folder: Backbone.
        precision: Of the model.

    Returns:
        The side.
    """
    task = FineTuning(str(folder), adapter_layers=(), dropout=0.0)
    ready(task)
    task.train()
    batch = retrieval_batch(task.backbone_config)
    head = score_head(task.backbone_config)
    for name, tensor in head.named_parameters():
        task.model.get_parameter(f"score_head.{name}").data.copy_(tensor)

    def run() -> Outputs:
        with mixed(precision):
            logits = task.score(batch).candidate_logits
            loss = loss_candidates(logits, batch["target_index"])
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = task.model.vision_encoder.patch_embed.weight.grad
        return Outputs(logits.detach(), loss.detach()[None], gradient)

    return Side(run, lambda: task.zero_grad(set_to_none=True))


def pretraining_task(folder: Path) -> Pretraining:
    """Load the task of pre-training at the paper's values, without dropout."""
    heads = read_backbone_config(str(folder))[0].vision_heads  # the paper's 12 at real size
    task = Pretraining(str(folder), decoder_heads=heads, dropout=0.0)
    ready(task)
    task.train()
    return task


def pretraining(folder: Path, precision: Precision) -> Side:
    """Train adapter and decoder on a few captions with `pretraining_forward`.

    Args:
        folder: Backbone.
        precision: Of the model.

    Returns:
        The side; its losses are their sum, matching's and TMIM's.
    """
    task = pretraining_task(folder)
    batch = caption_batch(task.backbone_config)
    draws = draw_step(task.backbone_config, batch, task.policy)

    def run() -> Outputs:
        with mixed(precision):
            output = pretraining_forward(
                task.model,
                batch["images"],
                batch["input_ids"],
                batch["attention_mask"],
                policy=task.policy,
                negatives=draws.negatives,
                token_row=draws.token_row,
                noise=draws.noise,
            )
        output.loss.backward()  # type: ignore[no-untyped-call]
        losses = [
            loss.detach() for loss in (output.loss, output.loss_itm, output.loss_tmim) if loss is not None
        ]
        return Outputs(
            losses=torch.stack(losses), gradient=task.model.get_parameter("adapter.up.weight").grad
        )

    return Side(run, lambda: task.zero_grad(set_to_none=True))


class Sets(LightningDataModule):
    """One batch an epoch; images are not augmented, so stage two may remember features.

    Args:
        batch: Queries over image sets.
    """

    augment = False

    def __init__(self, batch: RetrievalBatch) -> None:
        super().__init__()
        self.batch = batch

    def train_dataloader(self) -> "DataLoader[Any]":
        """Serve the batch."""
        return DataLoader([self.batch], batch_size=None)  # type: ignore[arg-type]  # a list is enough


class Losses(Callback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Keep a step's loss.

        Args:
            trainer: Not used.
            pl_module: Not used.
            outputs: What the step returned.
            batch: Not used.
            batch_idx: Not used.
        """
        del trainer, pl_module, batch, batch_idx
        if isinstance(outputs, Mapping):
            self.losses.append(outputs["loss"].detach())


def stage_two_task(folder: Path) -> InterContext:
    """Load the task of stage two at the paper's values, without dropout."""
    task = InterContext(str(folder), dropout=0.0)
    ready(task)
    return task


def stage_two(folder: Path, precision: Precision) -> Side:
    """Train `InterContext` for some epochs with Lightning's Trainer, which its memory of features needs.

    Args:
        folder: Backbone.
        precision: The Trainer's.

    Returns:
        The side; its losses are those of the epochs.
    """
    task = stage_two_task(folder)
    sets = Sets(retrieval_batch(task.backbone_config))
    start = trained_state(task)

    def run() -> Outputs:
        losses = Losses()
        with warnings.catch_warnings():
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            Trainer(
                accelerator="cpu",
                precision=TRAINER_PRECISION[precision],
                max_epochs=EPOCHS,
                callbacks=[losses],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            ).fit(task, datamodule=sets)
        # A process trains once: this optimiser would stand beside the next one.
        task.trainer = sets.trainer = None
        return Outputs(losses=torch.stack(losses.losses))

    return Side(run, lambda: restore(task, start))


def trained_state(task: ContextBLIPTask) -> dict[str, Tensor]:
    """Copy the weights that train."""
    return {name: p.detach().clone() for name, p in task.model.named_parameters() if p.requires_grad}


@torch.no_grad()
def restore(task: ContextBLIPTask, state: Mapping[str, Tensor]) -> None:
    """Put copied weights back."""
    for name, tensor in state.items():
        task.model.get_parameter(name).copy_(tensor)

"""The masks that a pre-training chooses where nothing is left to chance: what its callbacks look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from contextblip.draws import SampleDraws
from contextblip.errors import ConfigurationError
from contextblip.models.masking import PatchMask, patch_attention
from contextblip.models.vision_encoder import patchify
from contextblip.tasks import Pretraining
from contextblip.tasks.pretraining_step import Guidance, VisibleEncoder, choose_mask
from contextblip.types import CaptionBatch
from data_modules import CaptionDataModule
from data_modules.caption_data.rows import CaptionCollate, CaptionSample
from data_modules.text import clean_caption


class GuidedMasks(NamedTuple):
    """Masks of a batch and what they come from.

    Attributes:
        row_attention: The driving row's attention to the patches, after refinement, ``(B, P)`` float32.
        mask: The final mask.
        reconstruction: The decoder's word on the masked patches, in ``mask.ids_mask`` order,
            ``(B, M, 3p²)``; ``None`` where it was not asked for or there is no decoder.
    """

    row_attention: Tensor
    mask: PatchMask
    reconstruction: Tensor | None


def check_pretraining(
    trainer: Trainer, pl_module: LightningModule, callback: str
) -> tuple[Pretraining, CaptionDataModule]:
    """Check that a run has masks to look at.

    Args:
        trainer: Has the data module.
        pl_module: The task.
        callback: Name of who asks, for the message.

    Returns:
        The task and the data module, as what they are.

    Raises:
        ConfigurationError: It is no pre-training on captions.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it elsewhere
    task, name = type(pl_module).__name__, f"callbacks.{callback}"
    if not isinstance(pl_module, Pretraining):
        raise ConfigurationError(
            f"{name} looks at masks of contextblip.tasks.Pretraining, but the task is {task}; leave it out "
            "of trainer.callbacks"
        )
    if not isinstance(data, CaptionDataModule):
        raise ConfigurationError(
            f"{name} takes its texts from data_modules.CaptionDataModule, but the data module is "
            f"{type(data).__name__}; leave it out of trainer.callbacks"
        )
    return pl_module, data


def begins_training(trainer: Trainer) -> bool:
    """Tell whether no step has been taken yet, as is never so in a run that is resumed."""
    return trainer.global_step == 0


def validates_training(trainer: Trainer) -> bool:
    """Tell whether the validation that runs is one of a training, and no mere check before it."""
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


@contextmanager
def undisturbed(trainer: Trainer, task: Pretraining) -> Iterator[None]:
    """Let a model be looked at in evaluation mode without a trace in what follows.

    What is drawn inside is the same every time; the generators outside do not notice.

    Args:
        trainer: Knows the precision.
        task: Whose mode is put back afterwards.

    Yields:
        Nothing.
    """
    was_training = task.training
    task.eval()
    try:
        with isolate_rng(), torch.no_grad(), trainer.precision_plugin.forward_context():
            torch.manual_seed(0)
            yield
    finally:
        task.train(was_training)


def as_batch(trainer: Trainer, data: CaptionDataModule, samples: list[CaptionSample]) -> CaptionBatch:
    """Make a batch as validation gets it: the data module's tokens and normalisation, on the device.

    Args:
        trainer: Knows the device.
        data: Its ``setup`` has run.
        samples: B pairs of an image and a text.

    Returns:
        The batch.
    """
    batch = CaptionCollate(data.text_processor(clean_caption))(samples)
    return cast(CaptionBatch, trainer.strategy.batch_to_device(batch))


def guided_masks(task: Pretraining, batch: CaptionBatch, *, reconstruct: bool = False) -> GuidedMasks:
    """Choose the masks of a batch as ``val/mask_changed`` does, but by the task's own strategy.

    The mean over words is the driving row and there is no noise; layers and heads of attention, strategy,
    ratio and rankings are the task's. Without TMIM these are the masks that it would choose (paper, Sec. 3.3,
    Step 2).

    Args:
        task: Configured.
        batch: Texts and their images.
        reconstruct: Whether the decoder is asked too.

    Returns:
        Masks, attention and reconstruction.
    """
    model, texts = task.model, (batch["input_ids"], batch["attention_mask"])
    policy = replace(task.policy, token_row="mean", noise=0.0)
    fused, _, attention = model.fuse(
        *texts,
        model.encode_images(batch["images"])[0],
        return_attention=True,
        attention_layers=policy.attention_layers,
        attention_heads=policy.attention_heads,
    )
    uniform = SampleDraws(batch["index"], seed=0, step=0)
    row_weights = policy.row_weights(batch["attention_mask"], uniform)
    with torch.autocast(fused.device.type, enabled=False):  # in half precision many patches would tie
        row_attention = patch_attention(cast(Tensor, attention).float(), row_weights)
    encoder = VisibleEncoder(model, patchify(batch["images"], model.config.patch_size), None)
    guidance = Guidance(*texts, row_weights, torch.zeros_like(row_attention), uniform)
    row_attention, mask = choose_mask(encoder, policy, row_attention, guidance, task.refine_steps)
    reconstruction = None
    if reconstruct and model.mim_decoder is not None:
        context = model.encode_text(*texts)[0] if model.mim_decoder.text == "text" else fused
        reconstruction = model.decode(encoder(mask.ids_keep), mask.ids_keep, mask.ids_mask, context, texts[1])
    return GuidedMasks(row_attention, mask, reconstruction)

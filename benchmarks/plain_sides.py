"""Pre-training and stage two as published: texts padded to one length, every query computed anew, fp32."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.inputs import LONGEST, Draws, caption_batch, draw_step, retrieval_batch
from benchmarks.ours import EPOCHS, pretraining_task, restore, stage_two_task, trained_state
from benchmarks.plain import PlainModel, PlainTexts
from benchmarks.sides import Outputs, Side
from contextblip.losses import loss_candidates, loss_itm, loss_tmim
from contextblip.models.masking import MaskPolicy, patch_attention
from contextblip.models.vision_encoder import patchify
from contextblip.optim import build_optimizer, parameter_group
from contextblip.tasks import InterContext
from contextblip.types import CaptionBatch, RetrievalBatch


def padded(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pad texts to the published length; [PAD] is token 0."""
    missing = (0, LONGEST - input_ids.shape[1])
    return F.pad(input_ids, missing), F.pad(attention_mask, missing)


def pretraining(folder: Path) -> Side:
    """Train adapter and decoder on the captions of `benchmarks.ours.pretraining`, with the same draws.

    Args:
        folder: Backbone.

    Returns:
        The side; its losses are their sum, matching's and TMIM's.
    """
    task = pretraining_task(folder)
    batch, plain = caption_batch(task.backbone_config), PlainModel(task.model)
    draws = draw_step(task.backbone_config, batch, task.policy)

    def run() -> Outputs:
        matching, reconstruction = pretraining_losses(plain, batch, draws, task.policy)
        loss = matching + reconstruction
        loss.backward()  # type: ignore[no-untyped-call]
        losses = torch.stack([loss, matching, reconstruction]).detach()
        return Outputs(losses=losses, gradient=task.model.get_parameter("adapter.up.weight").grad)

    return Side(run, lambda: task.zero_grad(set_to_none=True))


def pretraining_losses(
    plain: PlainModel, batch: CaptionBatch, draws: Draws, policy: MaskPolicy
) -> tuple[Tensor, Tensor]:
    """Compute both losses of a step (paper, Sec. 3.3).

    Args:
        plain: Model with adapter and decoder.
        batch: Image-caption pairs.
        draws: Negatives, token rows, noise.
        policy: How attention becomes a mask.

    Returns:
        Matching's and TMIM's, scalars.
    """
    input_ids, attention_mask = padded(batch["input_ids"], batch["attention_mask"])
    images = plain.encode_images(batch["images"])
    with torch.no_grad():  # what negatives are drawn by; the draws stand for what comes of it
        _ = plain.encode_text(input_ids, attention_mask) @ images.features.T
    positive = plain.fuse(input_ids, attention_mask, images.embeds)
    negative = _negative(plain, input_ids, attention_mask, images.embeds, draws)
    first = torch.cat([positive.hidden[:, 0], negative.hidden[:, 0]])
    labels = (torch.arange(len(first)) < len(input_ids)).long()
    matching = loss_itm(plain.model.itm_head(first), labels)
    return matching, _tmim(plain, batch["images"], attention_mask, positive, draws, policy)


def _negative(
    plain: PlainModel, input_ids: Tensor, attention_mask: Tensor, image_embeds: Tensor, draws: Draws
) -> PlainTexts:
    """Fuse each text with its negative image and each image with its negative text, a copy for each pair."""
    images, texts = draws.negatives
    return plain.fuse(
        torch.cat([input_ids, input_ids[texts]]),
        torch.cat([attention_mask, attention_mask[texts]]),
        torch.cat([image_embeds[images], image_embeds]),
    )


def _tmim(
    plain: PlainModel,
    images: Tensor,
    attention_mask: Tensor,
    positive: PlainTexts,
    draws: Draws,
    policy: MaskPolicy,
) -> Tensor:
    """Mask what the token attends to, encode the rest anew and reconstruct."""
    if positive.attention is None:
        raise ValueError("texts without images have no cross-attention")
    rows = F.one_hot(draws.token_row, attention_mask.shape[1]).float()
    mask = policy.select(patch_attention(positive.attention, rows), draws.noise)
    patches = patchify(images, plain.config.patch_size)
    visible, hidden = (
        patches.gather(1, ids[..., None].expand(-1, -1, patches.shape[-1]))
        for ids in (mask.ids_keep, mask.ids_mask)
    )
    embeds = plain.encode_patches(visible, mask.ids_keep).embeds
    reconstruction = plain.decode(embeds, mask.ids_keep, mask.ids_mask, positive.hidden, attention_mask)
    return loss_tmim(reconstruction, hidden)


def stage_two(folder: Path) -> Side:
    """Train the inter-context encoder for the epochs of `benchmarks.ours.stage_two`, one query after another.

    Every query of every epoch has its ten images encoded and fused anew. The optimiser steps once a set, with
    the mean gradient of its queries, as on the other side, so that both end alike.

    Args:
        folder: Backbone.

    Returns:
        The side; its losses are those of the epochs.
    """
    task = stage_two_task(folder)
    task.train()
    batch, plain = retrieval_batch(task.backbone_config), PlainModel(task.model)
    start = trained_state(task)

    def run() -> Outputs:
        groups = parameter_group([task.model], task.lr, task.weight_decay)
        optimizer = build_optimizer(task.optimizer, groups, task.betas)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, task.gamma)
        losses = []
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            losses.append(sum(_query_step(task, plain, batch, row) for row in range(len(batch["queries"]))))
            optimizer.step()
            schedule.step()
        return Outputs(losses=torch.tensor(losses))

    return Side(run, lambda: restore(task, start))


def _query_step(task: InterContext, plain: PlainModel, batch: RetrievalBatch, row: int) -> float:
    """Add a query's gradient; returns its share of the set's loss."""
    images = batch["images"][batch["set_index"][row]]
    input_ids, attention_mask = padded(
        batch["input_ids"][row : row + 1], batch["attention_mask"][row : row + 1]
    )
    with torch.no_grad():
        repeated = (input_ids.repeat(len(images), 1), attention_mask.repeat(len(images), 1))
        fused = plain.fuse(*repeated, plain.encode_images(images).embeds)
        features = F.normalize(fused.hidden[:, 0], dim=-1)[None]
    logits = task.model.score_candidates(
        features,
        batch["is_video"][row : row + 1],
        torch.ones(1, len(images), dtype=torch.bool),
        inter_context=True,
    )
    loss = loss_candidates(logits, batch["target_index"][row : row + 1]) / len(batch["queries"])
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()

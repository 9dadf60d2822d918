"""The peer of zero-shot and stage one: transformers' `BlipForImageTextRetrieval` in its usual loop, fp32.

A query's ten candidates are one batch with its text repeated ten times, so images are encoded anew for every
query; transformers knows no other way through this class.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from benchmarks.inputs import retrieval_batch, score_head
from benchmarks.sides import Outputs, Side
from contextblip.checkpoints import read_backbone_config
from contextblip.models import BackboneConfig
from contextblip.types import RetrievalBatch

Stock = Any  # transformers is not typed here


def load(folder: Path) -> tuple[Stock, BackboneConfig]:
    """Read a backbone with transformers.

    Args:
        folder: From `benchmarks.inputs.write_backbone`.

    Returns:
        Their model in evaluation mode, which has no dropout, and its sizes.
    """
    transformers.utils.logging.disable_progress_bar()
    model = transformers.BlipForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), read_backbone_config(str(folder))[0]


def zero_shot(folder: Path) -> Side:
    """Score the queries of a set by the ITM head.

    Args:
        folder: Backbone.

    Returns:
        The side.
    """
    model, config = load(folder)
    batch = retrieval_batch(config)

    def run() -> Outputs:
        with torch.inference_mode():
            logits = [_fuse(model, config, batch, row).itm_score for row in range(len(batch["queries"]))]
        return Outputs(torch.stack([pairs[:, 1] - pairs[:, 0] for pairs in logits]))

    return Side(run)


def stage_one(folder: Path) -> Side:
    """Train all of it under a head on the unit-norm first fused token, query by query.

    Gradients of the queries add up, as they do where several make one step; no two graphs live at once.

    Args:
        folder: Backbone.

    Returns:
        The side.
    """
    model, config = load(folder)
    batch, head = retrieval_batch(config), score_head(config)

    def run() -> Outputs:
        logits, losses = [], []
        for row, target in enumerate(batch["target_index"]):
            fused = _fuse(model, config, batch, row).question_embeds
            scores = head(F.normalize(fused[:, 0], dim=-1)).squeeze(-1)
            loss = F.cross_entropy(scores, target) / len(batch["queries"])
            loss.backward()  # type: ignore[no-untyped-call]
            logits.append(scores.detach())
            losses.append(loss.detach())
        gradient = model.vision_model.embeddings.patch_embedding.weight.grad
        return Outputs(torch.stack(logits), torch.stack(losses).sum()[None], gradient)

    def prepare() -> None:
        model.zero_grad(set_to_none=True)
        head.zero_grad(set_to_none=True)

    return Side(run, prepare)


def _fuse(model: Stock, config: BackboneConfig, batch: RetrievalBatch, row: int) -> Stock:
    """Run a query with the candidates of its set, who are all real."""
    images = batch["images"][batch["set_index"][row]]
    return model(
        _grounded(batch["input_ids"][row], config).expand(len(images), -1),
        images,
        use_itm_head=True,
        attention_mask=batch["attention_mask"][row].expand(len(images), -1),
    )


def _grounded(input_ids: Tensor, config: BackboneConfig) -> Tensor:
    """Put [ENC] in place of [CLS], which their class leaves to its caller, ``(L,)``."""
    return torch.cat([input_ids.new_tensor([config.enc_token_id]), input_ids[1:]])

"""What the benchmarks of whole steps run on: random backbones, image sets, captions, a step's draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextblip.checkpoints.huggingface import save_huggingface
from contextblip.models import PRESETS, BackboneConfig, ContextBLIP
from contextblip.models.masking import MaskPolicy, word_positions
from contextblip.planning.batches import blank_query
from contextblip.types import CaptionBatch, RetrievalBatch

SIZES = ("base", "miniature")
SEED = 0
CANDIDATES = 10
LONGEST = 30
"""Tokens that the published code pads or cuts every text to, [CLS] and [SEP] included."""
CAPTION_TOKENS = (11, 13, 14, 17)
"""Tokens of COCO's captions at the middles of four equal shares, from short to long."""
QUERY_TOKENS = (17, 24, 30)
"""Tokens of IMAGECODE's descriptions at the middles of three equal shares, cut at `LONGEST`."""
_CLS, _SEP, _FIRST_WORD = 1, 2, 3
_COLOURS = 4  # colours along a side of a drawn image


class Draws(NamedTuple):
    """What a step of pre-training draws, given to both sides.

    Attributes:
        negatives: Negative image of each text and negative text of each image, each ``(B,)`` int64.
        token_row: Word that drives the mask, ``(B,)`` int64.
        noise: Added to its attention, ``(B, P)``.
    """

    negatives: tuple[Tensor, Tensor]
    token_row: Tensor
    noise: Tensor


def write_backbone(size: str, folder: Path) -> Path:
    """Write a random backbone as transformers has it, which both sides can read.

    Matrices are drawn with a standard deviation of ``1 / sqrt(inputs)``: at BERT's 0.02 the scores of the
    candidates would hardly differ, and the sides would agree whatever they computed.

    Args:
        size: One of `SIZES`.
        folder: Where to; must not exist.

    Returns:
        The folder.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = ContextBLIP.build(PRESETS[size], adapter_layers=())
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
    return save_huggingface(folder, PRESETS[size], model.state_dict(), None)


def score_head(config: BackboneConfig) -> nn.Linear:
    """Draw a head of stage one, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + 1)
        head = nn.Linear(config.text_width, 1)
        nn.init.normal_(head.weight)  # its input has norm 1
    return head


def draw_images(config: BackboneConfig, count: int, generator: torch.Generator) -> Tensor:
    """Draw images of a few colours each, with grain, so that no two are alike in the mean of their patches.

    Args:
        config: Sizes.
        count: How many.
        generator: Of the numbers.

    Returns:
        Normalised pixels, ``(count, 3, H, W)``.
    """
    side = config.image_size
    colours = torch.randn(count, 3, _COLOURS, _COLOURS, generator=generator)
    smooth = F.interpolate(colours, (side, side), mode="bilinear", align_corners=False)
    return smooth + 0.2 * torch.randn(smooth.shape, generator=generator)


def draw_texts(
    config: BackboneConfig, tokens: Sequence[int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw texts of random words.

    Args:
        config: Sizes.
        tokens: Length of each, [CLS] and [SEP] included.
        generator: Of the numbers.

    Returns:
        Token ids and attention mask, padded to the longest, ``(B, L)`` int64 each.
    """
    lengths, positions = torch.tensor(tokens)[:, None], torch.arange(max(tokens))
    shape = (len(tokens), max(tokens))
    input_ids = torch.randint(_FIRST_WORD, config.dec_token_id, shape, generator=generator)
    input_ids[:, 0] = _CLS
    input_ids[positions == lengths - 1] = _SEP
    attention_mask = (positions < lengths).long()
    return input_ids * attention_mask, attention_mask


def retrieval_batch(
    config: BackboneConfig, tokens: Sequence[int] = QUERY_TOKENS, images: int = CANDIDATES
) -> RetrievalBatch:
    """Draw image sets of ten, the last one smaller where the images do not suffice.

    Args:
        config: Sizes.
        tokens: Length of each query of a set; every set has as many.
        images: Images of all sets.

    Returns:
        Static sets and their queries, set by set.
    """
    generator = torch.Generator().manual_seed(SEED + 2)
    sets, side = -(-images // CANDIDATES), config.image_size
    candidate_mask = (torch.arange(sets * CANDIDATES) < images).view(sets, CANDIDATES)
    pixels = torch.zeros(sets, CANDIDATES, 3, side, side)
    pixels[candidate_mask] = draw_images(config, images, generator)
    input_ids, attention_mask = draw_texts(config, [*tokens] * sets, generator)
    set_index = torch.arange(sets).repeat_interleave(len(tokens))
    number = torch.arange(len(set_index))
    return {
        "images": pixels,
        "candidate_mask": candidate_mask,
        "set_index": set_index,
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "target_index": (3 * number + 1) % candidate_mask[set_index].sum(dim=1),
        "is_video": torch.zeros(len(set_index), dtype=torch.bool),
        "queries": [
            blank_query(f"set-{row}", place % len(tokens)) for place, row in enumerate(set_index.tolist())
        ],
        "protocol": "retrieval",
        "parts": None,
    }


def caption_batch(config: BackboneConfig, tokens: Sequence[int] = CAPTION_TOKENS) -> CaptionBatch:
    """Draw image-caption pairs, one caption an image.

    Args:
        config: Sizes.
        tokens: Length of each caption.

    Returns:
        The pairs.
    """
    generator = torch.Generator().manual_seed(SEED + 3)
    input_ids, attention_mask = draw_texts(config, tokens, generator)
    rows = torch.arange(len(tokens))
    return {
        "images": draw_images(config, len(tokens), generator),
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "image_id": rows,
        "index": rows,
    }


def draw_step(config: BackboneConfig, batch: CaptionBatch, policy: MaskPolicy) -> Draws:
    """Draw what a step of pre-training would: the neighbour as negative, a real word of each caption, noise.

    Args:
        config: Sizes.
        batch: Image-caption pairs.
        policy: Its noise.

    Returns:
        The draws.
    """
    generator = torch.Generator().manual_seed(SEED + 4)
    rows = torch.arange(len(batch["input_ids"]))
    words = word_positions(batch["attention_mask"]).float()
    noise = policy.noise * torch.rand(len(rows), config.num_patches, generator=generator)
    token_row = torch.multinomial(words, 1, generator=generator).squeeze(1)
    return Draws((rows.roll(1), rows.roll(-1)), token_row, noise)

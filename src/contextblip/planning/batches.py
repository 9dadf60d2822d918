"""Made-up batches of the shapes that training sees, so that planning needs no data set."""

from __future__ import annotations

import torch
from torch import Tensor

from contextblip.models.config import BackboneConfig
from contextblip.types import CaptionBatch, Query, RetrievalBatch

CANDIDATES = 10
"""Images of a set of IMAGECODE."""


def caption_batch(config: BackboneConfig, size: int, length: int, device: torch.device) -> CaptionBatch:
    """Make image-caption pairs, every image with one caption.

    Args:
        config: Sizes of the backbone.
        size: Pairs B.
        length: Tokens L of every caption.
        device: Where the tensors are, so that no copy is timed.

    Returns:
        The batch.
    """
    input_ids, attention_mask = _texts(config, size, length, device)
    number = torch.arange(size, device=device)
    return {
        "images": torch.randn(size, 3, config.image_size, config.image_size, device=device),
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "image_id": number,
        "index": number,
    }


def retrieval_batch(config: BackboneConfig, size: int, length: int, device: torch.device) -> RetrievalBatch:
    """Make queries that each have a set of ten images to themselves.

    Args:
        config: Sizes of the backbone.
        size: Queries B.
        length: Tokens L of every description.
        device: Where the tensors are, so that no copy is timed.

    Returns:
        The batch.
    """
    input_ids, attention_mask = _texts(config, size, length, device)
    number, side = torch.arange(size, device=device), config.image_size
    return {
        "images": torch.randn(size, CANDIDATES, 3, side, side, device=device),
        "candidate_mask": torch.ones(size, CANDIDATES, dtype=torch.bool, device=device),
        "set_index": number,
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "target_index": number % CANDIDATES,
        "is_video": torch.ones(size, dtype=torch.bool, device=device),
        "queries": [blank_query(f"set-{row}", 0) for row in range(size)],
        "protocol": "retrieval",
        "parts": None,
    }


def _texts(config: BackboneConfig, size: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw words, neither padding nor BLIP's own tokens, ``(B, L)``, and a mask without padding."""
    input_ids = torch.randint(config.pad_token_id + 1, config.dec_token_id, (size, length), device=device)
    return input_ids, torch.ones_like(input_ids)


def blank_query(set_name: str, query_index: int) -> Query:
    """Make a query of which nothing but its place is known."""
    return {
        "set_name": set_name,
        "query_index": query_index,
        "text": "",
        "phenomena": [],
        "n_propositions": None,
        "challenging": False,
        "frames": [],
        "samples": [],
        "parts": [],
    }

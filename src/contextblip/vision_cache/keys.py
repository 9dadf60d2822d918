"""What stored states are known by: the ViT that computed them, how it computed, and what it saw."""

import hashlib

import torch
from torch import Tensor

from contextblip.checkpoints import fingerprint
from contextblip.models.contextblip import ContextBLIP

_DIGEST_BYTES = 16


def image_keys(images: Tensor) -> list[str]:
    """Hash each image as the network sees it.

    The normalised input covers the content of the file and the transform in one go: neither a changed file
    nor a changed transform can be answered with states of the old one. An image of 224 px takes about 1 ms.

    Args:
        images: Normalised pixels, ``(N, 3, H, W)``.

    Returns:
        32 hexadecimal digits an image; equal pixels of one dtype have equal ones.
    """
    rows = images.detach().cpu().contiguous()
    # numpy has no bfloat16: the bytes are the same
    pixels = rows.view(torch.uint8).numpy()
    kind = f"{rows.dtype}{tuple(rows.shape[1:])}".encode()
    keys = []
    for row in pixels:
        digest = hashlib.blake2b(kind, digest_size=_DIGEST_BYTES)
        digest.update(row)
        keys.append(digest.hexdigest())
    return keys


def folder_name(model: ContextBLIP, precision: str) -> str:
    """Name the folder for the states of one ViT, computed in one precision.

    The weights are hashed as they are loaded, whatever file they came from; the number of heads stands beside
    them, since it changes the states but no tensor. How deep the adapter reads is no part of it.

    Args:
        model: With its weights.
        precision: Name of the Trainer's precision, such as ``bf16-mixed``.

    Returns:
        Such as ``0f3a...-12heads-224px-32-true``.
    """
    prefix = "vision_encoder."
    weights = {f"{prefix}{name}": tensor for name, tensor in model.vision_encoder.state_dict().items()}
    digits = fingerprint(weights).partition(":")[2][: 2 * _DIGEST_BYTES]
    return f"{digits}-{model.config.vision_heads}heads-{model.config.image_size}px-{precision}"

"""A fingerprint of a backbone's weights that is the same in every file format."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from contextblip.checkpoints.names import is_backbone_name


def fingerprint(state_dict: Mapping[str, Tensor]) -> str:
    """Hash the backbone parts of a state dict.

    Args:
        state_dict: Tensors in our names; adapted parts and ``temperature`` do not count.

    Returns:
        ``sha256:`` and 64 hexadecimal digits over sorted names, shapes and fp32 values.
    """
    digest = hashlib.sha256()
    for name in sorted(filter(is_backbone_name, state_dict)):
        tensor = state_dict[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return f"sha256:{digest.hexdigest()}"

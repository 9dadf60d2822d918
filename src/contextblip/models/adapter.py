"""Multi-scale adapter: down-projections inside the ViT, one up-projection outside (paper, Sec. 3.2)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextblip.errors import ConfigurationError
from contextblip.models.linear import Linear

AdapterFusion = Literal["concat", "add"]


class MultiScaleAdapter(nn.Module):
    """Reads chosen ViT layers and adds one non-negative update to the ViT's output (Eqs. 1 and 2).

    ``out = x + ReLU(U [ReLU(W_l h_l) for each chosen layer l])``, without biases, where ``h_l`` is the output
    of block ``l`` through the ViT's final LayerNorm. No gradient runs through the ViT.

    Args:
        width: Width D of the ViT.
        layers: Chosen ViT layers, counted from 1.
        downsampling_rate: The paper's δ: each down-projection has ``D / δ`` outputs.
        fusion: Whether the scales are concatenated (the paper's parameter counts) or added.
        zero_init: Whether the update starts at zero. A zero weight under the last ReLU would have no
            gradient, so a scalar gate, 0 at first, multiplies the update instead.

    Raises:
        ConfigurationError: ``downsampling_rate`` does not divide the width, or ``fusion`` is unknown.
    """

    def __init__(
        self,
        width: int,
        layers: Sequence[int],
        downsampling_rate: int = 2,
        fusion: AdapterFusion = "concat",
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        if downsampling_rate < 1 or width % downsampling_rate:
            raise ConfigurationError(
                f"downsampling_rate is {downsampling_rate}, but must divide the ViT's width {width}"
            )
        if fusion not in ("concat", "add"):
            raise ConfigurationError(f"adapter_fusion is {fusion!r}, but must be 'concat' or 'add'")
        self.layers = tuple(layers)
        self.fusion = fusion
        narrow = width // downsampling_rate
        joint = narrow * len(self.layers) if fusion == "concat" else narrow
        self.down = nn.ModuleList(Linear(width, narrow, bias=False) for _ in self.layers)
        self.up = Linear(joint, width, bias=False)
        self.gate = nn.Parameter(torch.zeros(())) if zero_init else None

    def forward(self, last: Tensor, intermediates: Sequence[Tensor]) -> Tensor:
        """Add the update to the ViT's output.

        Args:
            last: The ViT's output, ``(B, 1 + V, D)``.
            intermediates: States of the chosen layers, in their order, each ``(B, 1 + V, D)``.

        Returns:
            Adapted states, ``(B, 1 + V, D)``.
        """
        scales = [F.relu(down(states)) for down, states in zip(self.down, intermediates, strict=True)]
        joint = torch.cat(scales, dim=-1) if self.fusion == "concat" else torch.stack(scales).sum(0)
        update = F.relu(self.up(joint))
        return last + (update if self.gate is None else self.gate * update)


def check_adapter_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Return the layers as a tuple.

    Raises:
        ConfigurationError: A layer does not exist, stands twice, or the order does not rise.
    """
    if any(not 1 <= layer <= depth for layer in layers) or list(layers) != sorted(set(layers)):
        raise ConfigurationError(
            f"adapter_layers is {list(layers)}, but must rise and hold ViT layers from 1 to {depth}"
        )
    return tuple(layers)

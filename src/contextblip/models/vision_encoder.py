"""BLIP's image encoder: a pre-LN ViT that can run on the visible patches alone (paper, Sec. 3.3)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from contextblip.errors import ConfigurationError
from contextblip.models.attention import attend, check_heads, split_heads
from contextblip.models.config import BackboneConfig
from contextblip.models.layers import BERT_WIDTH, INIT_STD, gelu
from contextblip.models.linear import Linear, linear

VIT_EPS = 1e-6


class VisionOutput(NamedTuple):
    """States of the image encoder.

    Attributes:
        last: Output of the last block through the final LayerNorm, ``(B, 1 + V, D)``.
        intermediates: Outputs of the chosen blocks through the *final* LayerNorm, each ``(B, 1 + V, D)``.
    """

    last: Tensor
    intermediates: tuple[Tensor, ...]


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into flattened patches.

    Args:
        images: ``(B, 3, H, W)``, H and W multiples of ``patch_size``.
        patch_size: Side of a patch, in pixels.

    Returns:
        Patches in row-major order, pixels inside ordered (y, x, channel), ``(B, P, 3 * patch_size**2)``.
    """
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    grid = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    # b c r y q x -> b r q y x c
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, patch_size**2 * channels)


def sine_cosine_positions(grid_size: int, width: int) -> Tensor:
    """Return fixed positions of a square grid: sines and cosines of the column, then of the row.

    Args:
        grid_size: Patches along a side.
        width: Width D, a multiple of 4.

    Returns:
        ``(grid_size ** 2, D)``, row by row.

    Raises:
        ConfigurationError: The width is no multiple of 4.
    """
    if width % 4:
        raise ConfigurationError(f"vision_width {width} is no multiple of 4, as sine-cosine positions need")
    frequencies = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    row, column = torch.meshgrid(torch.arange(grid_size), torch.arange(grid_size), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (column, row)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)


class PatchEmbedding(nn.Module):
    """Linear embedding of flattened patches, stored as the convolution that checkpoints hold.

    Args:
        patch_size: Side of a patch, in pixels.
        width: Width D of the tokens.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 3, patch_size, patch_size))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, patches: Tensor) -> Tensor:
        """Map patches in (y, x, channel) order, ``(B, V, 3p²)``, to tokens ``(B, V, D)``."""
        return linear(patches, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)


class SelfAttention(nn.Module):
    """ViT self-attention with a joint projection to queries, keys and values.

    Args:
        width: Width D.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, 1 + V, D)`` to ``(B, 1 + V, D)``."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(hidden).chunk(3, dim=-1))
        attended = attend(query, key, value)
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class Mlp(nn.Module):
    """Two linear layers with an erf GELU between them.

    Args:
        width: Width D of input and output.
        mlp_width: Hidden width.
    """

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, mlp_width)
        self.fc2 = Linear(mlp_width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, 1 + V, D)`` to ``(B, 1 + V, D)``."""
        mapped: Tensor = self.fc2(gelu(self.fc1(hidden)))
        return mapped


class Block(nn.Module):
    """Pre-LN ViT block (Dosovitskiy et al., 2020).

    Args:
        width: Width D.
        heads: Attention heads.
        mlp_width: Hidden width of the MLP.
    """

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=VIT_EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=VIT_EPS)
        self.mlp = Mlp(width, mlp_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, 1 + V, D)`` to ``(B, 1 + V, D)``."""
        hidden = hidden + self.attn(self.norm1(hidden))
        updated: Tensor = hidden + self.mlp(self.norm2(hidden))
        return updated


class VisionEncoder(nn.Module):
    """ViT with a [CLS] token whose blocks' outputs can be read through the final LayerNorm.

    Args:
        image_size: Side of the square input, in pixels.
        patch_size: Side of a patch, in pixels.
        width: Width D.
        layers: Number of blocks.
        heads: Attention heads.
        mlp_width: Hidden width of the MLPs.

    With ``gradient_checkpointing`` set, the input of each block alone is kept for the backward pass, which
    computes the rest again.
    """

    def __init__(
        self, image_size: int, patch_size: int, width: int, layers: int, heads: int, mlp_width: int
    ) -> None:
        super().__init__()
        check_heads(width, heads, "vision_heads")
        self.patch_size = patch_size
        self.num_patches = (image_size // patch_size) ** 2
        self.gradient_checkpointing = False
        self.patch_embed = PatchEmbedding(patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.num_patches, width))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=VIT_EPS)
        self._init_weights()

    @classmethod
    def of(cls, config: BackboneConfig) -> "VisionEncoder":
        """Build the image encoder of a backbone's sizes."""
        return cls(
            config.image_size,
            config.patch_size,
            config.vision_width,
            config.vision_layers,
            config.vision_heads,
            config.vision_mlp_width,
        )

    def _init_weights(self) -> None:
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        width = self.pos_embed.shape[-1]
        # As MAE does (He et al., 2022): random positions of std 0.02 are hardly seen beside the patches, and
        # a small ViT from scratch takes thousands of steps to tell left from right.
        with torch.no_grad():
            self.pos_embed[:, 1:] = sine_cosine_positions(math.isqrt(self.num_patches), width)
        if width < BERT_WIDTH:
            nn.init.xavier_uniform_(self.patch_embed.weight.view(width, -1))
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD * (BERT_WIDTH / width) ** 0.5)
                nn.init.zeros_(module.bias)

    def embed(self, patches: Tensor, ids_keep: Tensor | None = None) -> Tensor:
        """Embed patches and add each one's own position.

        Args:
            patches: Pixels in (y, x, channel) order, ``(B, V, 3p²)``.
            ids_keep: Position of each patch in the image, ``(B, V)`` int64; ``None``: all, in order.

        Returns:
            Tokens with [CLS] first, ``(B, 1 + V, D)``.
        """
        positions = self.pos_embed[:, 1:]
        if ids_keep is not None:
            positions = positions[0][ids_keep]
        tokens = self.patch_embed(patches) + positions
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return torch.cat([cls, tokens], dim=1)

    def forward(
        self, patches: Tensor, ids_keep: Tensor | None = None, layers: Sequence[int] = ()
    ) -> VisionOutput:
        """Encode patches: all of an image, or the visible ones only.

        Args:
            patches: Pixels in (y, x, channel) order, see `patchify`, ``(B, V, 3p²)``.
            ids_keep: Position of each patch in the image, ``(B, V)`` int64; ``None``: all, in order.
            layers: Blocks whose outputs are wanted, counted from 1.

        Returns:
            Last and chosen states.
        """
        hidden = self.embed(patches, ids_keep)
        outputs: dict[int, Tensor] = {}
        saves = self.gradient_checkpointing and hidden.requires_grad and torch.is_grad_enabled()
        for number, block in enumerate(self.blocks, start=1):
            hidden = checkpoint(block, hidden, use_reentrant=False) if saves else block(hidden)
            if number in layers:
                outputs[number] = self.norm(hidden)
        last = outputs.get(len(self.blocks))
        if last is None:
            last = self.norm(hidden)
        return VisionOutput(last, tuple(outputs[number] for number in layers))

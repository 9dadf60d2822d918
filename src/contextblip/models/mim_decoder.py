"""Decoder of text-guided masked image modelling: fills in masked patches (paper, Sec. 3.3, Step 2)."""

import math
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextblip.errors import ConfigurationError
from contextblip.models.attention import check_heads, padding_mask
from contextblip.models.layers import INIT_STD, TransformerLayer, init_bert_weights
from contextblip.models.linear import Linear
from contextblip.models.vision_encoder import sine_cosine_positions

DecoderText = Literal["fused", "text", "none"]


class TextAdapter(nn.Module):
    """Residual bottleneck on the text states before the decoder reads them: ``t + ReLU(W2 ReLU(W1 t))``.

    Args:
        width: Width D of the text states; the bottleneck has D / 2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = Linear(width, width // 2, bias=False)
        self.up = Linear(width // 2, width, bias=False)

    def forward(self, text_embeds: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        return text_embeds + F.relu(self.up(F.relu(self.down(text_embeds))))


class MIMDecoder(nn.Module):
    """Post-LN transformer over all patches, masked ones as mask tokens, with cross-attention to the text.

    Args:
        width: Width D of the image states.
        text_width: Width of the text states.
        num_patches: Patches P of an image.
        patch_values: Numbers in a patch.
        layers: Number of layers (4 in the paper).
        heads: Attention heads (12 in the paper, 8 in the published code).
        mlp_width: Hidden width of the feed-forward parts.
        text: What the decoder attends to: ``fused`` text states (published; they have seen the masked
            patches), ``text``-only states (cannot leak), or ``none``.
        dropout: BERT's dropout probability.

    Raises:
        ConfigurationError: ``heads`` does not divide the width, or ``text`` is unknown.
    """

    def __init__(
        self,
        width: int,
        text_width: int,
        num_patches: int,
        patch_values: int,
        layers: int = 4,
        heads: int = 12,
        mlp_width: int | None = None,
        text: DecoderText = "fused",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_heads(width, heads, "decoder_heads")
        if text not in ("fused", "text", "none"):
            raise ConfigurationError(f"decoder_text is {text!r}, but must be 'fused', 'text' or 'none'")
        self.text = text
        self.heads = heads
        context_width = None if text == "none" else text_width
        self.mask_token = nn.Parameter(torch.empty(width))
        # One row more than patches: the published model has it (unused), its parameter count includes it
        self.position_embeddings = nn.Embedding(num_patches + 1, width)
        self.text_adapter = None if text == "none" else TextAdapter(text_width)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, mlp_width or 4 * width, context_width, dropout)
            for _ in range(layers)
        )
        self.head = Linear(width, patch_values)
        nn.init.normal_(self.mask_token, std=INIT_STD)
        # As in MAE's decoder (He et al., 2022): beside visible states of norm sqrt(D) random positions of std
        # 0.02 are not seen, and all masked patches begin alike.
        with torch.no_grad():
            self.position_embeddings.weight.zero_()
            self.position_embeddings.weight[:num_patches] = sine_cosine_positions(
                math.isqrt(num_patches), width
            )
        self.layers.apply(partial(init_bert_weights, width=width))

    def assemble(self, visible_embeds: Tensor, ids_keep: Tensor, ids_mask: Tensor) -> Tensor:
        """Put visible states and mask tokens in spatial order.

        Args:
            visible_embeds: [CLS] and visible patches in ``ids_keep`` order, ``(B, 1 + V, D)``.
            ids_keep: Positions of the visible patches, ``(B, V)`` int64.
            ids_mask: Positions of the masked patches, ``(B, M)`` int64.

        Returns:
            ``(B, 1 + P, D)``; visible patches get no decoder position (published).
        """
        masked = self.mask_token + self.position_embeddings(ids_mask)
        tokens = torch.cat([visible_embeds[:, 1:], masked.to(visible_embeds.dtype)], dim=1)
        ids_restore = torch.cat([ids_keep, ids_mask], dim=1).argsort(dim=1)
        spatial = take_patches(tokens, ids_restore)
        return torch.cat([visible_embeds[:, :1], spatial], dim=1)

    def text_states(self, text_embeds: Tensor) -> Tensor | None:
        """Return what the cross-attention reads, ``(B, L, D)``, or ``None`` without text."""
        if self.text_adapter is None:
            return None
        adapted: Tensor = self.text_adapter(text_embeds)
        return adapted

    def forward(
        self,
        visible_embeds: Tensor,
        ids_keep: Tensor,
        ids_mask: Tensor,
        text_embeds: Tensor,
        attention_mask: Tensor,
    ) -> Tensor:
        """Reconstruct the masked patches.

        Args:
            visible_embeds: [CLS] and visible patches, ``(B, 1 + V, D)``.
            ids_keep: Positions of the visible patches, ``(B, V)`` int64.
            ids_mask: Positions of the masked patches, ``(B, M)`` int64.
            text_embeds: Text states, ``(B, L, D)``; unused with ``text="none"``.
            attention_mask: 1 at tokens, 0 at padding, ``(B, L)``.

        Returns:
            Pixels in (y, x, channel) order, in ``ids_mask`` order, ``(B, M, 3p²)``.
        """
        hidden = self.assemble(visible_embeds, ids_keep, ids_mask)
        context, context_mask = self.text_states(text_embeds), padding_mask(attention_mask)
        for layer in self.layers[:-1]:
            hidden, _ = layer(hidden, None, context, context_mask)
        masked = take_patches(hidden[:, 1:], ids_mask)  # only these are read behind the last layer
        states, _ = self.layers[-1](hidden, None, context, context_mask, read=masked)
        reconstruction: Tensor = self.head(states)
        return reconstruction


def take_patches(patches: Tensor, ids: Tensor) -> Tensor:
    """Gather patches ``(B, P, C)`` at positions ``(B, M)``: ``(B, M, C)``."""
    return patches.gather(1, ids[..., None].expand(-1, -1, patches.shape[-1]))

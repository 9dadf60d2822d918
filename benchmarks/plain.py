"""The model with every optimisation off, as it is usually written: the peer of pre-training and stage two.

Attention is ``softmax(QK^T)V`` and its maps are kept; keys and values are projected anew for every pair of
text and image; every layer computes all tokens. Only what holds weights is taken from `contextblip.models`.
"""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from contextblip.models import ContextBLIP
from contextblip.models.attention import Attention, split_heads
from contextblip.models.layers import TransformerLayer
from contextblip.models.linear import Linear
from contextblip.models.vision_encoder import Block, patchify


class PlainImages(NamedTuple):
    """What images become.

    Attributes:
        embeds: After the adapter, ``(N, 1 + V, D)``.
        features: Unit norm, before the adapter, ``(N, E)``.
    """

    embeds: Tensor
    features: Tensor


class PlainTexts(NamedTuple):
    """What texts become.

    Attributes:
        hidden: ``(N, L, D)``.
        attention: Mean cross-attention over layers and heads, detached, ``(N, L, 1 + V)``; ``None`` without
            images.
    """

    hidden: Tensor
    attention: Tensor | None


def attention(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Compute attention with its maps.

    Args:
        query: ``(N, L, D)``.
        key: ``(N, S, D)``.
        value: ``(N, S, D)``.
        heads: Number of heads.
        mask: 1 at keys that may be attended to, ``(N, S)``; ``None``: all.

    Returns:
        Attended states ``(N, L, D)`` and maps ``(N, heads, L, S)``.
    """
    query, key, value = (split_heads(states, heads) for states in (query, key, value))
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if mask is not None:
        logits = logits.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
    maps = logits.softmax(dim=-1)
    return (maps @ value).transpose(1, 2).flatten(2), maps


def bert_attention(
    part: Attention, hidden: Tensor, context: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run an attention of BERT, ``(N, L, D)`` to ``(N, L, D)``, and return its maps too."""
    key, value = part.key(context), part.value(context)
    attended, maps = attention(part.query(hidden), key, value, part.heads, mask)
    return part.norm(hidden + part.output(attended)), maps


def bert_layer(
    layer: TransformerLayer,
    hidden: Tensor,
    mask: Tensor | None,
    context: Tensor | None,
    context_mask: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Run a layer of BERT with all its tokens; ``context`` holds one row for each sequence."""
    maps = None
    hidden, _ = bert_attention(layer.self_attention, hidden, hidden, mask)
    if context is not None and layer.cross_attention is not None:
        hidden, maps = bert_attention(layer.cross_attention, hidden, context, context_mask)
    return layer.mlp(hidden), maps


def vit_block(block: Block, hidden: Tensor) -> Tensor:
    """Run a block of the ViT, ``(N, 1 + V, D)`` to ``(N, 1 + V, D)``."""
    query, key, value = block.attn.qkv(block.norm1(hidden)).chunk(3, dim=-1)
    attended, _ = attention(query, key, value, block.attn.heads, None)
    hidden = hidden + block.attn.proj(attended)
    updated: Tensor = hidden + block.mlp(block.norm2(hidden))
    return updated


class PlainModel:
    """Runs a model's weights the plain way.

    Args:
        model: Whose weights; dropout is not run.
    """

    def __init__(self, model: ContextBLIP) -> None:
        self.model = model
        self.config = model.config
        for module in model.modules():
            if isinstance(module, Linear):
                module.plain = True

    def encode_images(self, images: Tensor) -> PlainImages:
        """Encode whole images, ``(N, 3, H, W)``."""
        return self.encode_patches(patchify(images, self.config.patch_size))

    def encode_patches(self, patches: Tensor, ids_keep: Tensor | None = None) -> PlainImages:
        """Encode patches at their positions.

        Args:
            patches: ``(N, V, 3p²)``.
            ids_keep: Their positions, ``(N, V)``; ``None``: all, in order.

        Returns:
            What they become.
        """
        vit, adapter = self.model.vision_encoder, self.model.adapter
        hidden, outputs = vit.embed(patches, ids_keep), {}
        for number, block in enumerate(vit.blocks, start=1):
            hidden = vit_block(cast(Block, block), hidden)
            if adapter is not None and number in adapter.layers:
                outputs[number] = vit.norm(hidden)
        last = vit.norm(hidden)
        features = F.normalize(self.model.vision_proj(last[:, 0]), dim=-1)
        return PlainImages(last if adapter is None else adapter(last, [*outputs.values()]), features)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode texts alone; returns their unit-norm features, ``(N, L)`` to ``(N, E)``."""
        hidden = self._text(input_ids, attention_mask, None).hidden
        return F.normalize(self.model.text_proj(hidden[:, 0]), dim=-1)

    def fuse(self, input_ids: Tensor, attention_mask: Tensor, image_embeds: Tensor) -> PlainTexts:
        """Ground texts in images, pair by pair.

        Args:
            input_ids: ``(N, L)``; the first token becomes [ENC].
            attention_mask: ``(N, L)``.
            image_embeds: Of each text's image, ``(N, 1 + V, D)``.

        Returns:
            Fused states and the map.
        """
        input_ids = input_ids.clone()
        input_ids[:, 0] = self.config.enc_token_id
        return self._text(input_ids, attention_mask, image_embeds)

    def _text(self, input_ids: Tensor, attention_mask: Tensor, image_embeds: Tensor | None) -> PlainTexts:
        """Run the text encoder, with all maps kept until its end."""
        hidden, maps = self.model.text_encoder.embed(input_ids), []
        for layer in self.model.text_encoder.layers:
            layer = cast(TransformerLayer, layer)
            hidden, of_layer = bert_layer(layer, hidden, attention_mask, image_embeds, None)
            if of_layer is not None:
                maps.append(of_layer)
        mean = torch.stack([each.detach().mean(dim=1) for each in maps]).mean(dim=0) if maps else None
        return PlainTexts(hidden, mean)

    def decode(
        self, visible: Tensor, ids_keep: Tensor, ids_mask: Tensor, text_embeds: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Reconstruct masked patches, see `contextblip.models.mim_decoder.MIMDecoder.forward`."""
        decoder = self.model.mim_decoder
        if decoder is None:
            raise ValueError("the model has no decoder")
        hidden, context = decoder.assemble(visible, ids_keep, ids_mask), decoder.text_states(text_embeds)
        for layer in decoder.layers:
            hidden, _ = bert_layer(cast(TransformerLayer, layer), hidden, None, context, attention_mask)
        rows = ids_mask[..., None].expand(-1, -1, hidden.shape[-1])
        reconstruction: Tensor = decoder.head(hidden[:, 1:].gather(1, rows))
        return reconstruction

"""BLIP's text encoder: BERT with cross-attention to the image in every layer (paper, Sec. 3.2)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from contextblip.errors import ConfigurationError
from contextblip.models.attention import BERT_EPS, KeysValues, Maps, check_heads, padding_mask
from contextblip.models.config import BackboneConfig
from contextblip.models.grounding import Images, ProjectedImages
from contextblip.models.layers import TransformerLayer, init_bert_weights
from contextblip.models.packing import Layout, Tokens

Layer = Callable[..., tuple[Tensor, Tensor | None]]


class TextStates(NamedTuple):
    """States of the text encoder.

    Attributes:
        hidden: Of the pairs that are returned whole, ``(W, L, D)``.
        first: First token of all pairs, ``(N, 1, D)``.
        attention: Cross-attention averaged over layers and heads, ``(W, L, S)``, detached; ``None`` unless
            asked for.
    """

    hidden: Tensor
    first: Tensor
    attention: Tensor | None


class MapMean:
    """Averages attention maps over layers, one after another.

    Args:
        maps: What is wanted of a layer.
        layers: Layers that count, from 1.
    """

    def __init__(self, maps: Maps, layers: frozenset[int]) -> None:
        self.maps = maps
        self.layers = layers
        self.total: Tensor | None = None

    def asked(self, layer: int) -> Maps | None:
        """Say what is wanted of a layer, counted from 1."""
        return self.maps if layer in self.layers else None

    def add(self, attention: Tensor | None) -> None:
        """Count a layer's map, ``(W, L, S)``, if there is one."""
        if attention is not None:
            self.total = attention if self.total is None else self.total + attention

    def mean(self) -> Tensor | None:
        """Return the mean map, ``(W, L, S)``, if there is any."""
        return None if self.total is None else self.total / len(self.layers)


class TextEncoder(nn.Module):
    """BERT encoder without token types or pooler; alone or grounded in an image.

    Args:
        vocab_size: Rows of the word embeddings.
        max_positions: Longest text, in tokens.
        width: Width D.
        layers: Number of layers.
        heads: Attention heads.
        mlp_width: Hidden width of the feed-forward parts.
        context_width: Width of the image states that are attended to.
        dropout: BERT's dropout probability.

    With ``gradient_checkpointing`` set, the input of each layer alone is kept for the backward pass, which
    computes the rest again.
    """

    def __init__(
        self,
        vocab_size: int,
        max_positions: int,
        width: int,
        layers: int,
        heads: int,
        mlp_width: int,
        context_width: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_heads(width, heads, "text_heads")
        self.word_embeddings = nn.Embedding(vocab_size, width)
        self.position_embeddings = nn.Embedding(max_positions, width)
        self.norm = nn.LayerNorm(width, eps=BERT_EPS)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, mlp_width, context_width, dropout) for _ in range(layers)
        )
        self.heads = heads
        self.gradient_checkpointing = False
        self.apply(partial(init_bert_weights, width=width))

    @classmethod
    def of(cls, config: BackboneConfig, dropout: float) -> "TextEncoder":
        """Build the text encoder of a backbone's sizes."""
        return cls(
            config.vocab_size,
            config.max_positions,
            config.text_width,
            config.text_layers,
            config.text_heads,
            config.text_mlp_width,
            context_width=config.vision_width,
            dropout=dropout,
        )

    def embed(self, input_ids: Tensor) -> Tensor:
        """Embed tokens and positions, ``(N, L)`` to ``(N, L, D)``.

        Raises:
            ConfigurationError: The text is longer than the position table.
        """
        length, longest = input_ids.shape[1], self.position_embeddings.num_embeddings
        if length > longest:
            raise ConfigurationError(
                f"a text has {length} tokens, but the backbone has {longest} positions: "
                f"set --data.max_tokens to at most {longest}"
            )
        positions = self.position_embeddings.weight[:length]
        embedded: Tensor = self.dropout(self.norm(self.word_embeddings(input_ids) + positions))
        return embedded

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_embeds: Tensor | ProjectedImages | None = None,
        *,
        text_index: Tensor | None = None,
        image_index: Tensor | None = None,
        whole: int | None = None,
        return_attention: bool = False,
        attention_layers: Sequence[int] | None = None,
        attention_heads: Sequence[int] | None = None,
    ) -> TextStates:
        """Encode texts, grounded in images where these are given.

        Args:
            input_ids: ``(T, L)`` int64.
            attention_mask: 1 at tokens, 0 at padding, ``(T, L)``.
            image_embeds: Image states, ``(C, S, context width)``, projected where several calls share them;
                ``None`` skips the cross-attention.
            text_index: Text of each of the N pairs, ``(N,)``; ``None`` when T = N, in order. What comes
                before the first cross-attention is computed once a text, unless dropout makes pairs differ.
            image_index: Image of each pair, ``(N,)``; ``None`` when C = N, in order. Keys and values are
                projected once an image.
            whole: How many pairs, the first ones, are returned with all their tokens; of the others the last
                layer computes the first token only. ``None``: all.
            return_attention: Whether the averaged cross-attention map is wanted.
            attention_layers: Layers averaged in the map, counted from 1; ``None`` means all.
            attention_heads: Heads averaged in the map, counted from 1; ``None`` means all.

        Returns:
            States and, if asked for, the map.
        """
        if text_index is not None and (len(self.layers) == 1 or self._drops_out()):
            input_ids, attention_mask, text_index = input_ids[text_index], attention_mask[text_index], None
        number = len(input_ids) if text_index is None else len(text_index)
        whole = number if whole is None else whole
        if whole < number and image_index is None:
            image_index = torch.arange(number, device=input_ids.device)
        images = Images.of(image_embeds, image_index)
        layers = self._map_layers(attention_layers) if return_attention and whole else frozenset()
        maps = MapMean(Maps(self._map_heads(attention_heads), whole), layers)
        tokens, packed, repeat = Layout.of(attention_mask, text_index, whole)
        mask, pairs = padding_mask(attention_mask), images.pairs(tokens=packed)
        hidden = tokens.pack(self.embed(input_ids))
        for depth, layer in enumerate(self.layers[:-1]):
            run, asked = self._through(layer, hidden, images.image_embeds), maps.asked(depth + 1)
            context = images.context(depth)
            hidden, attention = run(
                hidden, mask, context, tokens=tokens, repeat=repeat, pairs=pairs, maps=asked
            )
            maps.add(attention)
            if text_index is not None:
                mask, tokens, text_index, repeat = mask[text_index], packed, None, None
        states, first = self._read(hidden, mask, images, packed, maps, whole)
        return TextStates(states, first, maps.mean())

    def project_images(self, image_embeds: Tensor) -> ProjectedImages:
        """Project the keys and values of images that several calls will be grounded in.

        Args:
            image_embeds: Image states, ``(C, S, context width)``.

        Returns:
            What `forward` takes in their place.
        """
        layers = [cast(TransformerLayer, layer).cross_attention for layer in self.layers[:-1]]
        keys_values = (layer.project(image_embeds) for layer in layers if layer is not None)
        return ProjectedImages(image_embeds, tuple(keys_values))

    def _read(
        self, hidden: Tensor, mask: Tensor, images: Images, tokens: Tokens, maps: MapMean, whole: int
    ) -> tuple[Tensor, Tensor]:
        """Run the last layer for what is read: all tokens of the first texts, the first one of the others."""
        layer, context = cast(TransformerLayer, self.layers[-1]), images.image_embeds
        keys_values: Tensor | KeysValues | None = context
        if context is not None and layer.cross_attention is not None and 0 < whole < tokens.texts:
            keys_values = layer.cross_attention.project(context)  # for both parts
        run, states = self._through(layer, hidden, context), tokens.leading(hidden, whole)
        firsts = []
        if whole:
            pairs, asked = images.pairs(slice(whole)), maps.asked(len(self.layers))
            states, attention = run(states, mask[:whole], keys_values, pairs=pairs, maps=asked)
            maps.add(attention)
            firsts.append(states[:, :1])
        if whole < tokens.texts:
            rest, behind = hidden[whole * tokens.length :], tokens.behind(whole)
            read, pairs = behind.first(rest), images.pairs(slice(whole, None))
            first, _ = run(rest, mask[whole:], keys_values, tokens=behind, read=read, pairs=pairs)
            firsts.append(first)
        return states, torch.cat(firsts)

    def _through(self, layer: nn.Module, *states: Tensor | None) -> Layer:
        """Return the layer, or what runs it keeping nothing but its input for the backward pass."""
        learns = torch.is_grad_enabled() and any(
            state is not None and state.requires_grad for state in states
        )
        return (
            partial(checkpoint, layer, use_reentrant=False)
            if self.gradient_checkpointing and learns
            else layer
        )

    def _drops_out(self) -> bool:
        return self.training and self.dropout.p > 0

    def _map_layers(self, chosen: Sequence[int] | None) -> frozenset[int]:
        valid = range(1, len(self.layers) + 1)
        return frozenset(_checked(chosen, valid, "attention_layers") if chosen is not None else valid)

    def _map_heads(self, chosen: Sequence[int] | None) -> tuple[int, ...]:
        if chosen is None:
            return ()
        return tuple(head - 1 for head in _checked(chosen, range(1, self.heads + 1), "attention_heads"))


def _checked(chosen: Sequence[int], valid: range, key: str) -> Sequence[int]:
    """Return ``chosen`` or raise ``ConfigurationError`` naming ``key``."""
    if not chosen or any(number not in valid for number in chosen):
        raise ConfigurationError(
            f"{key} is {list(chosen)}, but must hold numbers from {valid.start} to {valid.stop - 1}"
        )
    return chosen


def with_first_token(input_ids: Tensor, token_id: int) -> Tensor:
    """Return ids ``(N, L)`` whose first token is ``token_id`` (BLIP's [ENC] in grounded passes)."""
    first = torch.full_like(input_ids[:, :1], token_id)
    return torch.cat([first, input_ids[:, 1:]], dim=1)

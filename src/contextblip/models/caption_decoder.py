"""BLIP's image-grounded text decoder: a language model over captions (Li et al., 2022, Sec. 3.1)."""

from functools import partial

import torch
from torch import Tensor, nn

from contextblip.models.attention import BERT_EPS, Attention, padding_mask
from contextblip.models.layers import TransformerLayer, init_bert_weights
from contextblip.models.linear import Linear, linear
from contextblip.models.text_encoder import TextEncoder


class CaptionDecoder(nn.Module):
    """Predicts each token of a caption from the image and the tokens before it.

    As in BLIP, everything but the self-attention is shared with the text encoder: its embeddings,
    cross-attention and feed-forward parts are passed in, so that predicting words teaches them to read the
    image. The head is BERT's, with the word embeddings as its last matrix.

    Args:
        width: Width D of the text encoder.
        layers: Its layers.
        heads: Its attention heads.
        vocab_size: Rows of its word embeddings.
        dropout: Dropout of the self-attention.
    """

    def __init__(self, width: int, layers: int, heads: int, vocab_size: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.self_attention = nn.ModuleList(Attention(width, heads, dropout=dropout) for _ in range(layers))
        self.transform = nn.Sequential(Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=BERT_EPS))
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.apply(partial(init_bert_weights, width=width))

    def forward(
        self, text_encoder: TextEncoder, input_ids: Tensor, attention_mask: Tensor, image_embeds: Tensor
    ) -> Tensor:
        """Predict the token after each position.

        Args:
            text_encoder: Whose other parts are shared.
            input_ids: [DEC] first, ``(N, L)`` int64.
            attention_mask: 1 at tokens, 0 at padding, ``(N, L)``.
            image_embeds: One image a caption, ``(N, S, context width)``.

        Returns:
            Logits over the vocabulary, ``(N, L, vocabulary)``; those of position i see no token after i.
        """
        length = input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        mask = padding_mask(attention_mask) & causal
        hidden = text_encoder.embed(input_ids)
        for attention, layer in zip(self.self_attention, text_encoder.layers, strict=True):
            assert isinstance(layer, TransformerLayer)  # noqa: S101  # a ModuleList forgets what it holds
            assert layer.cross_attention is not None  # noqa: S101  # the text encoder's layers all have one
            hidden, _ = attention(hidden, mask=mask)
            hidden, _ = layer.cross_attention(hidden, image_embeds)
            hidden = layer.mlp(hidden)
        return linear(self.transform(hidden), text_encoder.word_embeddings.weight, self.bias)

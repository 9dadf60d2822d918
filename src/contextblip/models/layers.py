"""Post-LN transformer layers shared by text encoder, decoder and inter-context encoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextblip.models.attention import BERT_EPS, Attention, KeysValues, Maps
from contextblip.models.linear import Linear
from contextblip.models.packing import Tokens
from contextblip.models.pairs import Pairs

BERT_WIDTH = 768
INIT_STD = 0.02


def gelu(states: Tensor) -> Tensor:
    """Apply the erf GELU, in place where no backward pass needs what comes in.

    Args:
        states: Output of a linear layer that nothing else reads, of any shape.

    Returns:
        In its shape.
    """
    activated: Tensor = F.gelu(states) if torch.is_grad_enabled() else torch.ops.aten.gelu_(states)
    return activated


class FeedForward(nn.Module):
    """BERT's feed-forward part: two linear layers, erf GELU, residual, LayerNorm.

    Args:
        width: Width D of input and output.
        mlp_width: Hidden width.
        dropout: Probability on the output.
    """

    def __init__(self, width: int, mlp_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = Linear(width, mlp_width)
        self.fc2 = Linear(mlp_width, width)
        self.norm = nn.LayerNorm(width, eps=BERT_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(N, L, D)`` to ``(N, L, D)``."""
        update: Tensor = self.dropout(self.fc2(gelu(self.fc1(hidden))))
        normed: Tensor = self.norm(hidden + update)
        return normed


class TransformerLayer(nn.Module):
    """Post-LN layer: self-attention, optional cross-attention, feed-forward (Devlin et al., 2019).

    Args:
        width: Width D.
        heads: Attention heads.
        mlp_width: Hidden width of the feed-forward part.
        context_width: Width of the cross-attended states; ``None`` builds no cross-attention.
        dropout: Probability at every dropout of BERT.
    """

    def __init__(
        self, width: int, heads: int, mlp_width: int, context_width: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads, dropout=dropout)
        self.cross_attention = (
            None if context_width is None else Attention(width, heads, context_width, dropout=dropout)
        )
        self.mlp = FeedForward(width, mlp_width, dropout)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None = None,
        context: Tensor | KeysValues | None = None,
        context_mask: Tensor | None = None,
        *,
        tokens: Tokens | None = None,
        read: Tensor | None = None,
        repeat: Tensor | None = None,
        pairs: Pairs | None = None,
        maps: Maps | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the layer; without ``context`` the cross-attention is skipped.

        Args:
            hidden: ``(N, L, D)``, or packed, ``(T, D)``.
            mask: Key mask of the self-attention, see `padding_mask`.
            context: Cross-attended states, ``(C, S, context width)``, or their keys and values.
            context_mask: Key mask of the cross-attention.
            tokens: Where packed states stand in the self-attention.
            read: States of the R tokens that are read behind the layer, part of ``hidden``,
                ``(N, R, D)``: all else is only attended to. ``None``: all are read.
            repeat: Row of ``hidden`` for each sequence, or packed token, from the cross-attention on: what
                several contexts are asked about runs through the self-attention once. ``None``: each once.
            pairs: Context of each sequence, see `Attention.forward`.
            maps: Which cross-attention maps are wanted, if any.

        Returns:
            New states, ``(N, R, D)`` or packed, and the cross-attention maps ``(M, R, S)`` or ``None``.
        """
        attention_map = None
        if read is None:
            hidden, _ = self.self_attention(hidden, mask=mask, tokens=tokens)
        else:
            hidden, _ = self.self_attention(read, hidden if tokens is None else tokens.pad(hidden), mask)
        if repeat is not None:
            hidden = hidden[repeat]
        if context is not None and self.cross_attention is not None:
            hidden, attention_map = self.cross_attention(
                hidden, context, context_mask, pairs=pairs, maps=maps
            )
        return self.mlp(hidden), attention_map


def init_bert_weights(module: nn.Module, width: int = BERT_WIDTH) -> None:
    """Initialise as BERT does: N(0, 0.02), zero biases, unit LayerNorms; use with ``Module.apply``.

    Args:
        module: What to initialise; modules of other kinds are left alone.
        width: Width of the model. BERT's 0.02 suits its own; matrices of a narrower model get the standard
            deviation that keeps the size of their outputs.
    """
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INIT_STD * (BERT_WIDTH / width) ** 0.5)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)

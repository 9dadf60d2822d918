"""Inter-context encoder: a transformer over the candidates of one query (paper, Sec. 3.4)."""

from functools import partial

import torch
from torch import Tensor, nn

from contextblip.errors import ConfigurationError
from contextblip.models.attention import check_heads, padding_mask
from contextblip.models.layers import TransformerLayer, init_bert_weights


class InterContextEncoder(nn.Module):
    """Two post-LN layers over the K candidates; frames of a video also get a learned position.

    Args:
        width: Width D of the fused features.
        layers: Number of layers (2 in the paper).
        heads: Attention heads (8 in the published code).
        mlp_width: Hidden width of the feed-forward parts.
        max_candidates: Rows of the position table: the largest video set.
        position_std: Standard deviation of the table at the start. The published code's N(0, 1) has norm 27.8
            beside features of norm 1, so ours is 0.02.
        dropout: BERT's dropout probability.
    """

    def __init__(
        self,
        width: int,
        layers: int = 2,
        heads: int = 8,
        mlp_width: int | None = None,
        max_candidates: int = 10,
        position_std: float = 0.02,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_heads(width, heads, "inter_context_heads")
        self.heads = heads
        self.position_embeddings = nn.Embedding(max_candidates, width)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, mlp_width or 4 * width, dropout=dropout) for _ in range(layers)
        )
        self.apply(partial(init_bert_weights, width=width))
        nn.init.normal_(self.position_embeddings.weight, std=position_std)

    @torch.no_grad()
    def start_at_zero(self) -> None:
        """Let the encoder's output begin at zero, so that the first step scores as stage one does.

        The output has norm ``sqrt(D)`` otherwise, beside features of norm 1: what stage one's head, which is
        frozen by then, makes of it drowns the scores it gives the features themselves.
        """
        for name in ("weight", "bias"):
            self.get_parameter(f"layers.{len(self.layers) - 1}.mlp.norm.{name}").zero_()

    def embed(self, features: Tensor, is_video: Tensor, candidate_mask: Tensor) -> Tensor:
        """Add positions to the candidates of videos; static sets have no order.

        Args:
            features: ``(B, K, D)``.
            is_video: ``(B,)`` bool.
            candidate_mask: True at real candidates, ``(B, K)``.

        Returns:
            ``(B, K, D)``.

        Raises:
            ConfigurationError: A video set has more candidates than the table has rows.
        """
        candidates, rows = features.shape[1], self.position_embeddings.num_embeddings
        positions = self.position_embeddings.weight[:candidates]
        if candidates > rows:
            # K is the batch's largest set; a static one may be larger than any video
            largest = int((candidate_mask.sum(dim=1) * is_video).max())
            if largest > rows:
                raise ConfigurationError(
                    f"a video set has {largest} candidates, but the inter-context encoder knows {rows} "
                    f"positions: set --model.max_candidates {largest} and train it again"
                )
            positions = torch.nn.functional.pad(positions, (0, 0, 0, candidates - rows))
        return features + is_video[:, None, None].to(features.dtype) * positions

    def forward(self, features: Tensor, is_video: Tensor, candidate_mask: Tensor) -> Tensor:
        """Let the candidates of each query see one another.

        Args:
            features: Unit-norm fused features, ``(B, K, D)``.
            is_video: ``(B,)`` bool.
            candidate_mask: True at real candidates, ``(B, K)``; padded ones are not attended to.

        Returns:
            Contextual features, ``(B, K, D)``.
        """
        hidden = self.embed(features, is_video, candidate_mask)
        mask = padding_mask(candidate_mask)
        for layer in self.layers:
            hidden, _ = layer(hidden, mask)
        return hidden

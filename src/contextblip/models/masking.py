"""Text-guided patch masks and their controls (paper, Sec. 3.3, Step 2 and Figure 2c)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from contextblip.draws import Uniform, choose, drawn_anywhere
from contextblip.errors import ConfigurationError

MaskStrategy = Literal["top", "random", "bottom", "mixture"]
TokenRow = Literal["word", "mean", "enc", "published"]


class PatchMask(NamedTuple):
    """Which patches are hidden.

    Attributes:
        ids_keep: Positions of the visible patches, in the ranking's order, ``(B, P - M)`` int64.
        ids_mask: Positions of the masked patches, in the ranking's order, ``(B, M)`` int64.
        mask: True where hidden, ``(B, P)`` bool.
    """

    ids_keep: Tensor
    ids_mask: Tensor
    mask: Tensor


@dataclass(frozen=True)
class MaskPolicy:
    """How attention becomes a mask.

    Attributes:
        mask_ratio: The paper's π: ``int(π P)`` of the P patches are masked.
        strategy: ``top`` masks what the text attends to most (paper), ``bottom`` what it attends to least,
            ``random`` ignores the text, ``mixture`` draws patches without replacement from an equal mixture
            of the attention and the uniform distribution.
        token_row: Whose attention drives the mask: one random ``word`` per sample, the ``mean`` over words,
            [ENC] (``enc``), or one position for the whole batch, padding included (``published``).
        noise: Upper end of the uniform noise added to the unit-norm attention.
        attention_layers: Text layers averaged, counted from 1; ``None`` means all.
        attention_heads: Heads averaged, counted from 1; ``None`` means all.

    Raises:
        ConfigurationError: A value is out of range.
    """

    mask_ratio: float = 0.25
    strategy: MaskStrategy = "top"
    token_row: TokenRow = "word"
    noise: float = 0.02
    attention_layers: Sequence[int] | None = None
    attention_heads: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ConfigurationError(f"mask_ratio is {self.mask_ratio}, but must lie between 0 and 1")
        if self.noise < 0:
            raise ConfigurationError(f"mask_noise is {self.noise}, but must not be negative")
        _check_choice("mask_strategy", self.strategy, get_args(MaskStrategy))
        _check_choice("mask_token_row", self.token_row, get_args(TokenRow))

    def num_masked(self, num_patches: int) -> int:
        """Return ``int(π P)``.

        Raises:
            ConfigurationError: None or all of the patches would be masked.
        """
        masked = int(self.mask_ratio * num_patches)
        if not 0 < masked < num_patches:
            raise ConfigurationError(
                f"mask_ratio {self.mask_ratio} masks {masked} of {num_patches} patches; at least one must be "
                "masked and one visible"
            )
        return masked

    def row_weights(self, attention_mask: Tensor, uniform: Uniform | None = None) -> Tensor:
        """Draw the weights with which the token rows of the attention map are averaged.

        Args:
            attention_mask: 1 at tokens, 0 at padding, ``(B, L)``; [ENC] first, [SEP] last.
            uniform: What draws; ``None``: torch's generator.

        Returns:
            Weights that sum to 1 in each row, ``(B, L)`` float32. A text without words falls back to [ENC].
        """
        length = attention_mask.shape[1]
        first = F.one_hot(torch.zeros(len(attention_mask), dtype=torch.long), length).to(
            attention_mask.device
        )
        if self.token_row == "enc":
            return first.float()
        uniform = drawn_anywhere(len(attention_mask), attention_mask.device) if uniform is None else uniform
        if self.token_row == "published":
            row = (uniform(1)[:1, 0] * length).long()  # one for the batch
            return F.one_hot(row.expand(len(attention_mask)), length).float()
        words = word_positions(attention_mask)
        words = torch.where(words.any(dim=1, keepdim=True), words, first.bool()).float()
        if self.token_row == "word":
            words = F.one_hot(choose(words, uniform(1)), length).float()
        return words / words.sum(dim=1, keepdim=True)

    def draw_noise(self, like: Tensor, uniform: Uniform | None = None) -> Tensor:
        """Draw U(0, ``noise``) in the shape of ``like``, ``(B, P)``; ``uniform`` as in `row_weights`."""
        uniform = drawn_anywhere(len(like), like.device) if uniform is None else uniform
        return uniform(like.shape[1]) * self.noise

    def select(self, attention: Tensor, noise: Tensor, uniform: Uniform | None = None) -> PatchMask:
        """Rank the patches and mask the first ``int(π P)``.

        Args:
            attention: Attention of the driving token to the patches, ``(B, P)``, non-negative.
            noise: Added to the unit-norm attention, ``(B, P)``.
            uniform: What draws where the strategy is random; ``None``: torch's generator.

        Returns:
            The mask; the number masked is the same for every sample, so that shapes are static.
        """
        masked = self.num_masked(attention.shape[1])
        uniform = drawn_anywhere(len(attention), attention.device) if uniform is None else uniform
        ranking = self._ranking(F.normalize(attention.float(), dim=1, eps=1e-12) + noise, uniform)
        ids_mask, ids_keep = ranking[:, :masked], ranking[:, masked:]
        mask = torch.zeros_like(attention, dtype=torch.bool).scatter(1, ids_mask, True)
        return PatchMask(ids_keep, ids_mask, mask)

    def _ranking(self, scores: Tensor, uniform: Uniform) -> Tensor:
        if self.strategy == "random":
            scores = uniform(scores.shape[1])
        elif self.strategy == "bottom":
            scores = -scores
        elif self.strategy == "mixture":
            share = scores / scores.sum(dim=1, keepdim=True).clamp_min(1e-12)
            # Gumbel top-k: a ranking drawn without replacement with these probabilities
            probabilities = (share + 1 / scores.shape[1]) / 2
            exponential = -torch.log1p(-uniform(scores.shape[1]))  # positive but for one draw in 2**24
            scores = probabilities.log() - exponential.clamp_min(1e-12).log()
        return scores.argsort(dim=1, descending=True)


def word_positions(attention_mask: Tensor) -> Tensor:
    """Return True at real words: neither the first token, nor [SEP] at the end, nor padding.

    Args:
        attention_mask: 1 at tokens, 0 at padding on the right, ``(B, L)``.

    Returns:
        ``(B, L)`` bool.
    """
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    lengths = attention_mask.sum(dim=1, keepdim=True)
    return (positions > 0) & (positions < lengths - 1)


def patch_attention(attention: Tensor, row_weights: Tensor) -> Tensor:
    """Average token rows of an attention map and drop the image's [CLS].

    Args:
        attention: Averaged cross-attention, ``(B, L, 1 + V)``.
        row_weights: See `MaskPolicy.row_weights`, ``(B, L)``.

    Returns:
        ``(B, V)``.
    """
    return torch.einsum("bl,blp->bp", row_weights.to(attention.dtype), attention[..., 1:])


def refine_attention(attention: Tensor, visible: Tensor, ids_keep: Tensor) -> Tensor:
    """Update the attention of the visible patches; masked ones keep their last value.

    Args:
        attention: Attention to all patches, ``(B, P)``.
        visible: Attention to the visible patches from the re-encoded pass, ``(B, V)``.
        ids_keep: Positions of the visible patches, ``(B, V)`` int64.

    Returns:
        ``(B, P)``.
    """
    return attention.scatter(1, ids_keep, visible.to(attention.dtype))


def _check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{key} is {value!r}, but must be one of {', '.join(choices)}")

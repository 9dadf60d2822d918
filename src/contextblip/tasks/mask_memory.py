"""How far the masks of the same captions move from one validation to the next (paper, Figure 2c)."""

from dataclasses import replace

import torch
from torch import Tensor

from contextblip.models.masking import MaskPolicy, patch_attention


def settled_mask(policy: MaskPolicy, attention: Tensor, attention_mask: Tensor) -> Tensor:
    """Mask with nothing left to chance: by the mean over words, the highest attention, without noise.

    Args:
        policy: Gives the mask ratio.
        attention: Cross-attention of the texts, ``(B, L, 1 + P)``.
        attention_mask: 1 at tokens, 0 at padding, ``(B, L)``.

    Returns:
        True where hidden, ``(B, P)`` bool.
    """
    policy = replace(policy, token_row="mean", strategy="top", noise=0.0)
    row_attention = patch_attention(attention, policy.row_weights(attention_mask))
    return policy.select(row_attention, torch.zeros_like(row_attention)).mask


class MaskMemory:
    """Keeps each caption's mask of the previous validation, on the CPU.

    Example:
        >>> memory = MaskMemory()
        >>> index = torch.tensor([7])
        >>> memory.changed(index, torch.tensor([[True, True, False, False]]))
        tensor([])
        >>> memory.next_epoch()
        >>> memory.changed(index, torch.tensor([[True, False, True, False]]))
        tensor([0.5000])
    """

    def __init__(self) -> None:
        self._previous: dict[int, Tensor] = {}
        self._current: dict[int, Tensor] = {}

    def changed(self, index: Tensor, mask: Tensor) -> Tensor:
        """Compare masks with those of the previous validation and remember them.

        Args:
            index: Row of the data set, ``(B,)`` int64.
            mask: True where hidden, ``(B, P)`` bool.

        Returns:
            Share of each caption's masked patches that were visible before, ``(C,)`` float32, for the C
            captions that were there before.
        """
        shares: list[Tensor] = []
        for row, hidden in zip(index.tolist(), mask.cpu(), strict=True):
            before = self._previous.get(row)
            if before is not None:
                shares.append((hidden & ~before).sum() / hidden.sum())
            self._current[row] = hidden
        return torch.stack(shares) if shares else torch.empty(0)

    def next_epoch(self) -> None:
        """Let the masks seen since the last call be the previous ones."""
        self._previous, self._current = self._current, {}

"""Texts one after another without their padding, so that nothing is computed for it."""

from typing import NamedTuple

import torch
from torch import Tensor


class Tokens(NamedTuple):
    """Where the tokens of N texts stand in a batch that is padded to L.

    Attributes:
        places: Place of each among the N·L, ascending, ``(T,)`` int64.
        texts: Number of texts N.
        length: L.
    """

    places: Tensor
    texts: int
    length: int

    @classmethod
    def of(cls, kept: Tensor) -> "Tokens":
        """Keep what is True in ``(N, L)`` bool."""
        texts, length = kept.shape
        return cls(kept.flatten().nonzero().squeeze(1), texts, length)

    @property
    def total(self) -> int:
        """N·L."""
        return self.texts * self.length

    def pack(self, padded: Tensor) -> Tensor:
        """Leave padding out, ``(N, L, D)`` to ``(T, D)``."""
        rows = padded.flatten(0, 1)
        return rows if len(self.places) == self.total else rows.index_select(0, self.places)

    def pad(self, packed: Tensor) -> Tensor:
        """Undo `pack`, ``(T, D)`` to ``(N, L, D)``; padding is 0."""
        width = packed.shape[-1]
        if len(self.places) < self.total:
            packed = packed.new_zeros(self.total, width).index_copy_(0, self.places, packed)
        return packed.view(self.texts, self.length, width)

    def leading(self, packed: Tensor, texts: int) -> Tensor:
        """Return the first texts, which are whole, ``(T, D)`` to ``(texts, L, D)``."""
        return packed[: texts * self.length].view(texts, self.length, packed.shape[-1])

    def behind(self, texts: int) -> "Tokens":
        """Return the tokens that follow those of `leading`."""
        start = texts * self.length
        return Tokens(self.places[start:] - start, self.texts - texts, self.length)

    def first(self, packed: Tensor) -> Tensor:
        """Return the first token of each text, which is always kept, ``(T, D)`` to ``(N, 1, D)``."""
        starts = torch.arange(self.texts, device=self.places.device) * self.length
        return packed[torch.searchsorted(self.places, starts), None]


class Layout(NamedTuple):
    """Tokens before and after texts become pairs.

    Attributes:
        texts: Of the texts.
        pairs: Of the pairs.
        repeat: Row of the packed texts for each token of the packed pairs; ``None`` where both are the same.
    """

    texts: Tokens
    pairs: Tokens
    repeat: Tensor | None

    @classmethod
    def of(cls, attention_mask: Tensor, text_index: Tensor | None, whole: int) -> "Layout":
        """Leave padding out, except that of pairs which are returned whole.

        Args:
            attention_mask: 1 at tokens, 0 at padding, ``(T, L)``.
            text_index: Text of each pair, ``(N,)`` int64; ``None``: each text is a pair.
            whole: How many pairs, the first ones, keep their padding.

        Returns:
            The tokens; the first one of a text is never left out.
        """
        kept = attention_mask.bool()
        kept = torch.cat([torch.ones_like(kept[:, :1]), kept[:, 1:]], dim=1)
        if text_index is None:
            kept[:whole] = True
            tokens = Tokens.of(kept)
            return cls(tokens, tokens, None)
        of_pairs = kept[text_index]
        of_pairs[:whole] = True
        kept[text_index[:whole]] = True
        pairs = Tokens.of(of_pairs)
        number, position = pairs.places // pairs.length, pairs.places % pairs.length
        rows = kept.flatten().cumsum(0) - 1
        return cls(Tokens.of(kept), pairs, rows[text_index[number] * pairs.length + position])

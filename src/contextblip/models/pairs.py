"""Which context each sequence attends to, arranged so that keys and values need no copies."""

from typing import NamedTuple

import torch
from torch import Tensor

from contextblip.models.packing import Tokens

# Slots per sequence above which keys and values are copied after all: a slot costs the L rows of a text, a
# copy twice the S rows of an image, 13 to 30 against 197.
MOST_SLOTS = 4


class Groups(NamedTuple):
    """Places of N sequences, or of their packed tokens, in C groups, one group a context.

    Attributes:
        slots: Place of each among all groups' slots, ``(N,)`` int64, of packed tokens ``(T,)``.
        contexts: Number of contexts C.
        size: Slots of each group, as many as the largest needs.
    """

    slots: Tensor
    contexts: int
    size: int

    def join(self, states: Tensor) -> Tensor:
        """Line up states by group, ``(N, L, D)`` or ``(T, D)``, to ``(C, rows, D)``; empty slots are 0."""
        grouped = states.new_zeros(self.contexts * self.size, *states.shape[1:])
        return grouped.index_copy_(0, self.slots, states).view(self.contexts, -1, states.shape[-1])

    def part(self, grouped: Tensor, like: Tensor) -> Tensor:
        """Undo `join`, ``(C, rows, D)`` to the shape of ``like``."""
        return grouped.reshape(self.contexts * self.size, *like.shape[1:]).index_select(0, self.slots)


class Pairs(NamedTuple):
    """The context of each of N sequences.

    Attributes:
        context_index: ``(N,)`` int64; ``None`` when C = N, in order.
        tokens: Where the sequences' tokens stand if they are packed.
        groups: The sequences side by side that share one; ``None`` where most slots would be empty, or none
            shares.
    """

    context_index: Tensor | None
    tokens: Tokens | None = None
    groups: Groups | None = None

    @classmethod
    def of(cls, context_index: Tensor | None, contexts: int, tokens: Tokens | None = None) -> "Pairs":
        """Pair sequences with contexts.

        Args:
            context_index: Context of each sequence, ``(N,)`` int64; ``None`` when C = N, in order.
            contexts: How many contexts there are, C.
            tokens: Where the sequences' tokens stand if they are packed.

        Returns:
            The pairs.
        """
        if context_index is None:
            return cls(None, tokens)
        counts = torch.bincount(context_index, minlength=contexts)
        size = int(counts.max()) if len(context_index) else 0
        if contexts * size > MOST_SLOTS * len(context_index):
            return cls(context_index, tokens)
        order = context_index.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device) - starts[context_index[order]]
        slots = context_index * size + place
        if tokens is not None:
            slots = slots[tokens.places // tokens.length] * tokens.length + tokens.places % tokens.length
            size *= tokens.length
        return cls(context_index, tokens, Groups(slots, contexts, size))

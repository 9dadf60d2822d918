"""Which context each sequence attends to, arranged so that keys and values need no copies."""

from typing import NamedTuple

import torch
from torch import Tensor

# Slots per sequence above which keys and values are copied after all: a slot costs the L rows of a text, a
# copy twice the S rows of an image, 13 to 30 against 197.
MOST_SLOTS = 4


class Groups(NamedTuple):
    """Places of N sequences in C groups of G slots, one group a context.

    Attributes:
        slots: Slot of each sequence among C·G, ``(N,)`` int64.
        contexts: Number of contexts C.
        size: Slots of each group G, as many as the context with the most sequences needs.
    """

    slots: Tensor
    contexts: int
    size: int

    def join(self, states: Tensor) -> Tensor:
        """Line up each group's sequences, ``(N, L, D)`` to ``(C, G·L, D)``; empty slots are 0."""
        _, length, width = states.shape
        grouped = states.new_zeros(self.contexts * self.size, length, width)
        return grouped.index_copy(0, self.slots, states).view(self.contexts, self.size * length, width)

    def part(self, grouped: Tensor) -> Tensor:
        """Undo `join`, ``(C, G·L, D)`` to ``(N, L, D)``."""
        length = grouped.shape[1] // self.size
        return grouped.reshape(self.contexts * self.size, length, -1).index_select(0, self.slots)


class Pairs(NamedTuple):
    """The context of each of N sequences.

    Attributes:
        context_index: ``(N,)`` int64.
        groups: The sequences side by side that share one; ``None`` where most slots would be empty.
    """

    context_index: Tensor
    groups: Groups | None

    @classmethod
    def of(cls, context_index: Tensor, contexts: int) -> "Pairs":
        """Pair sequences with contexts.

        Args:
            context_index: Context of each sequence, ``(N,)`` int64.
            contexts: How many contexts there are, C.

        Returns:
            The pairs.
        """
        counts = torch.bincount(context_index, minlength=contexts)
        size = int(counts.max()) if len(context_index) else 0
        if contexts * size > MOST_SLOTS * len(context_index):
            return cls(context_index, None)
        order = context_index.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device) - starts[context_index[order]]
        return cls(context_index, Groups(context_index * size + place, contexts, size))

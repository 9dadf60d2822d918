"""What texts are grounded in: images, and their keys and values where several calls share them."""

from typing import NamedTuple

from torch import Tensor

from contextblip.models.attention import KeysValues
from contextblip.models.packing import Tokens
from contextblip.models.pairs import Pairs


class ProjectedImages(NamedTuple):
    """Images that several calls are grounded in, whose keys and values are projected once for all of them.

    Attributes:
        image_embeds: ``(C, S, context width)``.
        keys_values: Of each layer but the last, which reads the states themselves.
    """

    image_embeds: Tensor
    keys_values: tuple[KeysValues, ...]


class Images(NamedTuple):
    """What texts are grounded in.

    Attributes:
        image_embeds: ``(C, S, context width)``, or ``None`` for texts alone.
        image_index: Row of it for each text, ``(N,)``; ``None`` when C = N, in order.
        keys_values: Of each layer but the last where they are at hand.
    """

    image_embeds: Tensor | None
    image_index: Tensor | None
    keys_values: tuple[KeysValues, ...] | None = None

    @classmethod
    def of(cls, images: Tensor | ProjectedImages | None, image_index: Tensor | None) -> "Images":
        """Take images, projected or not."""
        if isinstance(images, ProjectedImages):
            return cls(images.image_embeds, image_index, images.keys_values)
        return cls(images, image_index)

    def context(self, depth: int) -> Tensor | KeysValues | None:
        """What a layer, counted from 0, attends to."""
        return self.image_embeds if self.keys_values is None else self.keys_values[depth]

    def pairs(self, part: slice = slice(None), tokens: Tokens | None = None) -> Pairs | None:
        """Pair some of the texts, which stand at ``tokens`` if they are packed, with their images."""
        if self.image_embeds is None:
            return None
        index = None if self.image_index is None else self.image_index[part]
        return Pairs.of(index, len(self.image_embeds), tokens)

"""What the pairs of a step are made of: a process's own texts and images, or those of all processes."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from contextblip.errors import ConfigurationError

NegativesScope = Literal["local", "global"]


class Peers(NamedTuple):
    """The processes that train together, in the order of their ranks.

    Attributes:
        rank: This one's.
        gather: Stacks a tensor of each of the W processes, ``(…)`` to ``(W, …)``; all of them call it in one
            order and with one shape. Where the second argument is true the backward pass runs through it and
            sums over the processes what each one's loss asks of this one's tensor.
    """

    rank: int
    gather: Callable[[Tensor, bool], Tensor]


class PairInputs(NamedTuple):
    """Texts, images and the pairs to make of them, as `ContextBLIP.fuse` takes them.

    Attributes:
        input_ids: ``(T, L)`` int64.
        attention_mask: ``(T, L)``.
        image_embeds: ``(C, 1 + P, D)``.
        text_index: Text of each pair, ``(N,)`` int64.
        image_index: Image of each pair, ``(N,)`` int64.
    """

    input_ids: Tensor
    attention_mask: Tensor
    image_embeds: Tensor
    text_index: Tensor
    image_index: Tensor


class Pool(NamedTuple):
    """Texts and images of C pairs; this process's own B positives stand together.

    Attributes:
        input_ids: ``(C, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(C, L)``.
        text_features: Unit norm, ``(C, E)``.
        image_embeds: After the adapter, ``(C, 1 + P, D)``.
        image_features: Before the adapter, unit norm, ``(C, E)``.
        image_id: Equal where two pairs have one image, ``(C,)`` int64; ``None``: no two have.
        size: Positives B.
        first: Row of the first one.
    """

    input_ids: Tensor
    attention_mask: Tensor
    text_features: Tensor
    image_embeds: Tensor
    image_features: Tensor
    image_id: Tensor | None
    size: int
    first: int = 0

    def similarities(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Compare the own texts and images with all others.

        Returns:
            Cosine similarities with row = text and with row = image, ``(B, C)`` each, and whether the images
            are the same, ``(B, C)`` bool.
        """
        own = slice(self.first, self.first + self.size)
        sim = self.text_features @ self.image_features.T
        same_image = None if self.image_id is None else self.image_id[own, None] == self.image_id
        return sim[own], sim.T[own], same_image

    def gather(self, peers: Peers) -> "Pool":
        """Join the texts and images of all processes; gradients flow back to all image states.

        Args:
            peers: The processes; each calls this with its own.

        Returns:
            C = W·B pairs in the order of the ranks, texts padded to the longest of all.

        Raises:
            ConfigurationError: The processes differ in their number of pairs; all of them raise it.
        """
        length = self.input_ids.shape[1]
        shapes = peers.gather(torch.tensor([self.size, length], device=self.input_ids.device), False).tolist()
        if any(other != self.size for other, _ in shapes):
            sizes = ", ".join(str(other) for other, _ in shapes)
            raise ConfigurationError(
                f"model.negatives is 'global', but the processes have {sizes} pairs in this step: give all "
                "of them batches of one size or set --model.negatives local"
            )
        padding = (0, max(other for _, other in shapes) - length)

        def joined(tensor: Tensor, sync_grads: bool = False) -> Tensor:
            return peers.gather(tensor, sync_grads).flatten(0, 1)

        return Pool(
            joined(F.pad(self.input_ids, padding)),
            joined(F.pad(self.attention_mask, padding)),
            joined(self.text_features),
            joined(self.image_embeds, sync_grads=True),
            joined(self.image_features),
            None if self.image_id is None else joined(self.image_id),
            self.size,
            first=peers.rank * self.size,
        )

    def pairs(self, text_index: Tensor, image_index: Tensor) -> PairInputs:
        """Gather what some pairs are made of.

        Args:
            text_index: Text of each pair, ``(N,)`` int64.
            image_index: Image of each pair, ``(N,)`` int64.

        Returns:
            All texts and images where they are the process's own; of several processes' those of some pair
            alone, so that no keys and values are computed for the others.
        """
        input_ids, attention_mask, image_embeds = self.input_ids, self.attention_mask, self.image_embeds
        if len(input_ids) > self.size:
            texts, text_index = torch.unique(text_index, return_inverse=True)
            images, image_index = torch.unique(image_index, return_inverse=True)
            input_ids, attention_mask = input_ids[texts], attention_mask[texts]
            image_embeds = image_embeds[images]
        return PairInputs(input_ids, attention_mask, image_embeds, text_index, image_index)

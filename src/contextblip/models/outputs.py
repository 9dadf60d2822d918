"""What the model's calls return."""

from typing import NamedTuple

from torch import Tensor


class ImageOutput(NamedTuple):
    """What an image becomes.

    Attributes:
        image_embeds: States after the adapter, ``(N, 1 + P, D)``.
        image_features: Unit-norm projection of [CLS] *before* the adapter, ``(N, E)``.
    """

    image_embeds: Tensor
    image_features: Tensor


class TextOutput(NamedTuple):
    """What a text becomes without an image.

    Attributes:
        text_embeds: ``(B, L, D)``.
        text_features: Unit-norm projection of [CLS], ``(B, E)``.
    """

    text_embeds: Tensor
    text_features: Tensor


class FusionOutput(NamedTuple):
    """A text grounded in an image.

    Attributes:
        multimodal_embeds: ``(N, L, D)``.
        attention: Cross-attention averaged over layers and heads, ``(N, L, 1 + V)``, detached, or ``None``.
    """

    multimodal_embeds: Tensor
    attention: Tensor | None

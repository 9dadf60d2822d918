"""What the model's calls return."""

from typing import NamedTuple

from torch import Tensor

from contextblip.errors import ConfigurationError


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
        text_embeds: ``(B, L, D)``, or of [CLS] alone, ``(B, 1, D)``.
        text_features: Unit-norm projection of [CLS], ``(B, E)``.
    """

    text_embeds: Tensor
    text_features: Tensor


class FusionOutput(NamedTuple):
    """A text grounded in an image.

    Attributes:
        multimodal_embeds: Of the pairs that were asked for whole, ``(W, L, D)``.
        first_token: Of all pairs, which the heads read, ``(N, 1, D)``.
        attention: Cross-attention averaged over layers and heads, ``(W, L, 1 + V)``, detached, or ``None``.
    """

    multimodal_embeds: Tensor
    first_token: Tensor
    attention: Tensor | None


def check_image_size(images: Tensor, size: int) -> None:
    """Check that images have the side that the model takes.

    Args:
        images: ``(N, 3, H, W)``.
        size: The model's, in pixels.

    Raises:
        ConfigurationError: They have another.
    """
    if images.shape[-2:] != (size, size):
        raise ConfigurationError(
            f"images are {images.shape[-2]}x{images.shape[-1]} px, but the model takes {size}x{size}: "
            "leave --data.image_size unset, it follows --model.image_size"
        )

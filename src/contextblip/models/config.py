"""Sizes of a BLIP backbone; every other module takes its sizes from here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from contextblip.errors import CheckpointError


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of BLIP's two encoders and its projections (Li et al., 2022).

    Attributes:
        image_size: Side of the square input, in pixels.
        patch_size: Side of a patch, in pixels.
        vision_width: Width D of the ViT.
        vision_layers: Number of ViT blocks.
        vision_heads: Attention heads of a ViT block.
        vision_mlp_width: Hidden width of a ViT block's MLP.
        text_width: Width of the text encoder; fused states have it too.
        text_layers: Number of text layers, each with cross-attention to the image.
        text_heads: Attention heads of a text layer.
        text_mlp_width: Hidden width of a text layer's MLP.
        vocab_size: Rows of the word embeddings, [DEC] and [ENC] included.
        max_positions: Longest text in tokens.
        projection_width: Width E of the space in which image and text features are compared.
        enc_token_id: Id of [ENC], which stands in place of [CLS] in an image-grounded pass.
        pad_token_id: Id of [PAD].
    """

    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_mlp_width: int
    text_width: int
    text_layers: int
    text_heads: int
    text_mlp_width: int
    vocab_size: int
    max_positions: int
    projection_width: int
    enc_token_id: int
    pad_token_id: int = 0

    @property
    def dec_token_id(self) -> int:
        """Id of [DEC], which stands first where captions are predicted: BLIP adds it just before [ENC]."""
        return self.enc_token_id - 1

    @property
    def grid_size(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches P of an image."""
        return self.grid_size**2

    @property
    def patch_values(self) -> int:
        """Numbers in a patch: 3 channels times its pixels."""
        return 3 * self.patch_size**2

    def to_dict(self) -> dict[str, int]:
        """Return the sizes as a plain dictionary for ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "config.json") -> "BackboneConfig":
        """Read the sizes of a ``config.json``.

        Args:
            values: Keys and numbers.
            source: Where they come from, for the message.

        Returns:
            The sizes.

        Raises:
            CheckpointError: A key is missing, unknown or no positive integer.
        """
        names = {field.name for field in fields(cls)}
        required = names - {"pad_token_id"}
        if missing := sorted(required - set(values)):
            raise CheckpointError(f"{source}: sizes missing: {', '.join(missing)}")
        if unknown := sorted(set(values) - names):
            raise CheckpointError(f"{source}: unknown keys: {', '.join(unknown)}")
        for name, value in values.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise CheckpointError(f"{source}: {name} is {value!r}, expected a whole number")
        return cls(**values)


PRESETS: dict[str, BackboneConfig] = {
    # BLIP ViT-B/16, 223,452,418 parameters: Salesforce's model_base.pth
    "base": BackboneConfig(
        image_size=224,
        patch_size=16,
        vision_width=768,
        vision_layers=12,
        vision_heads=12,
        vision_mlp_width=3072,
        text_width=768,
        text_layers=12,
        text_heads=12,
        text_mlp_width=3072,
        vocab_size=30524,
        max_positions=512,
        projection_width=256,
        enc_token_id=30523,
    ),
    # 12 vision layers so that the paper's adapter_layers stay valid on the miniature world
    "miniature": BackboneConfig(
        image_size=64,
        patch_size=8,
        vision_width=128,
        vision_layers=12,
        vision_heads=4,
        vision_mlp_width=512,
        text_width=128,
        text_layers=4,
        text_heads=4,
        text_mlp_width=512,
        vocab_size=512,
        max_positions=64,
        projection_width=64,
        enc_token_id=511,
    ),
}

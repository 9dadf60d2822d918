"""The miniature world: small scenes and texts about them, in the official layouts of the real data sets."""

from data_modules.miniature.families import FAMILY_SIZE
from data_modules.miniature.world import (
    GENERATOR_VERSION,
    PRESETS,
    MiniatureSize,
    draw_miniature,
    main,
)

__all__ = [
    "FAMILY_SIZE",
    "GENERATOR_VERSION",
    "PRESETS",
    "MiniatureSize",
    "draw_miniature",
    "main",
]

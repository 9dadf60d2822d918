"""The model in pure torch: no Lightning, no files, no network."""

from contextblip.models.adapter import MultiScaleAdapter
from contextblip.models.config import PRESETS, BackboneConfig
from contextblip.models.contextblip import BACKBONE_PARTS, ContextBLIP
from contextblip.models.inter_context import InterContextEncoder
from contextblip.models.masking import MaskPolicy, PatchMask
from contextblip.models.mim_decoder import MIMDecoder
from contextblip.models.outputs import FusionOutput, ImageOutput, TextOutput
from contextblip.models.text_encoder import TextEncoder
from contextblip.models.vision_encoder import VisionEncoder, patchify

__all__ = [
    "BACKBONE_PARTS",
    "PRESETS",
    "BackboneConfig",
    "ContextBLIP",
    "FusionOutput",
    "ImageOutput",
    "InterContextEncoder",
    "MIMDecoder",
    "MaskPolicy",
    "MultiScaleAdapter",
    "PatchMask",
    "TextEncoder",
    "TextOutput",
    "VisionEncoder",
    "patchify",
]

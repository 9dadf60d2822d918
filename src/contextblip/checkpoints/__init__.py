"""Weights in and out: backbones of every published form, what our stages trained, and conversion."""

from contextblip.checkpoints.adapted import check_metadata, checkpoint_metadata, read_adapted
from contextblip.checkpoints.convert import convert
from contextblip.checkpoints.fingerprint import fingerprint
from contextblip.checkpoints.native import save_backbone
from contextblip.checkpoints.published import rename_published
from contextblip.checkpoints.sizes import infer_config
from contextblip.checkpoints.sources import load_backbone, read_backbone_config
from contextblip.checkpoints.structures import AdaptedWeights, Backbone, LoadReport
from contextblip.checkpoints.transfer import load_adapted

__all__ = [
    "AdaptedWeights",
    "Backbone",
    "LoadReport",
    "check_metadata",
    "checkpoint_metadata",
    "convert",
    "fingerprint",
    "infer_config",
    "load_adapted",
    "load_backbone",
    "read_adapted",
    "read_backbone_config",
    "rename_published",
    "save_backbone",
]

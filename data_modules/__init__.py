"""Data modules: from the official files on disk to the batches of ``contextblip.types``."""

from data_modules.captions import CaptionDataModule
from data_modules.imagecode import ImageCoDeDataModule
from data_modules.mmvp_vlm import MMVPVLMDataModule

__all__ = ["CaptionDataModule", "ImageCoDeDataModule", "MMVPVLMDataModule"]

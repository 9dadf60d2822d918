"""Data modules: from the official files on disk to the batches of ``contextblip.types``.

The classes are imported when they are first asked for: catalogue and downloads need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_modules.captions import CaptionDataModule
    from data_modules.coco_retrieval import CocoRetrievalDataModule
    from data_modules.imagecode import ImageCoDeDataModule
    from data_modules.mmvp_vlm import MMVPVLMDataModule

_HOMES = {
    "CaptionDataModule": "data_modules.captions",
    "CocoRetrievalDataModule": "data_modules.coco_retrieval",
    "ImageCoDeDataModule": "data_modules.imagecode",
    "MMVPVLMDataModule": "data_modules.mmvp_vlm",
}

__all__ = ["CaptionDataModule", "CocoRetrievalDataModule", "ImageCoDeDataModule", "MMVPVLMDataModule"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # the classes share no more than LightningDataModule
    """Import a data module's class; ``from data_modules import X`` asks here first."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name the classes as if they were imported, for those who search the package for one."""
    return sorted({*globals(), *_HOMES})

"""The stages as LightningModules."""

from contextblip.tasks.backbone_pretraining import BackbonePretraining
from contextblip.tasks.fine_tuning import FineTuning
from contextblip.tasks.image_text_retrieval import ImageTextRetrieval
from contextblip.tasks.inter_context import InterContext
from contextblip.tasks.pretraining import Pretraining
from contextblip.tasks.zero_shot import ZeroShot

__all__ = [
    "BackbonePretraining",
    "FineTuning",
    "ImageTextRetrieval",
    "InterContext",
    "Pretraining",
    "ZeroShot",
]

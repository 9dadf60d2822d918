"""A store on disk of what the frozen ViT makes of images, for runs in which only what follows it differs."""

from contextblip.vision_cache.encoder import CachedVision
from contextblip.vision_cache.store import StateStore

__all__ = ["CachedVision", "StateStore"]

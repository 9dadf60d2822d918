"""How much the states of a run's images take, told and compared with the disk before any is written."""

import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from contextblip.downloads.meters import size_words
from contextblip.errors import ConfigurationError
from contextblip.vision_cache.store import StateStore


class SizeCheck:
    """Says what a run will write at most; called before the first shard is written.

    Args:
        store: What is written to.
        images: Most images that the run can show the ViT; ``None`` where the data do not tell.
        say: Prints a line.
    """

    def __init__(self, store: StateStore, images: int | None, say: Callable[[str], None]) -> None:
        self.store = store
        self.images = images
        self.say = say

    def __call__(self, layers: int, state: Tensor) -> None:
        """Print the size and compare it with the disk.

        Args:
            layers: Tensors an image.
            state: One of them, ``(1 + P, D)``.

        Raises:
            ConfigurationError: The disk has not that much.
        """
        tokens, width = state.shape
        states = f"{layers} layer{'s' if layers > 1 else ''} x {tokens} tokens"
        product = f"{states} x {width} x {state.element_size()} bytes"
        image = layers * state.nbytes
        place, there = self.store.folder, self.store.size
        free = shutil.disk_usage(_existing(place)).free
        if self.images is None:
            self.say(
                f"Vision cache {place}: {size_words(image)} an image ({product}); how many there are is not "
                f"known beforehand; {size_words(free)} free"
            )
            return
        total = self.images * image
        # what is there may be of other images: "at most" holds for the total
        already = f", {size_words(there)} are there" if there else ""
        line = f"at most {size_words(total)} ({self.images:,} images x {product}){already}"
        if total - there > free:
            raise ConfigurationError(
                f"cache: the states need {line}, but the disk of {place} has {size_words(free)} free; make "
                "room, name a folder on another disk, or leave them out with --cache off"
            )
        self.say(f"Vision cache {place}: {line}; {size_words(free)} free")


def _existing(folder: Path) -> Path:
    """Find the nearest folder that is there, upwards."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())

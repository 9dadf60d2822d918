"""The frozen ViT behind a store of its states: only images that are new go through it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from contextblip.models.contextblip import ContextBLIP
from contextblip.models.outputs import ImageOutput
from contextblip.models.vision_encoder import VisionOutput
from contextblip.vision_cache.keys import image_keys
from contextblip.vision_cache.store import StateStore


class BeforeFirstWrite(Protocol):
    """Called once, before anything is written, with what will be written for each image."""

    def __call__(self, layers: int, state: Tensor) -> None:
        """Check that it fits.

        Args:
            layers: Tensors an image.
            state: One of them, ``(1 + P, D)``.
        """


class CachedVision:
    """Gives what `ContextBLIP.encode_images` gives, with the ViT's states from a store where it has them.

    Stored are the outputs of the last block and of those that the adapter reads, through the final LayerNorm,
    one tensor a layer in the dtype they were computed in; adapter and projections run live. What is returned
    is always what the store holds, so that a repeated run gives the same bits. They are those of a live run
    as long as the ViT sees the same batches: the last bits of a matrix product can depend on how many
    images are multiplied at once, and where some are stored the ViT sees only the others.

    Args:
        model: With a ViT that does not change.
        store: Of this ViT and precision.
        before_first_write: Told what will be written, where anything is.
    """

    def __init__(
        self, model: ContextBLIP, store: StateStore, before_first_write: BeforeFirstWrite | None = None
    ) -> None:
        self.model = model
        self.store = store
        self.from_store = 0
        self.encoded = 0
        self._before_first_write = before_first_write

    def encode_images(self, images: Tensor) -> ImageOutput:
        """Encode whole images.

        Args:
            images: Normalised pixels, ``(N, 3, H, W)``.

        Returns:
            States after the adapter and features before it.
        """
        return self.model.adapt(self.states(images))

    def states(self, images: Tensor) -> VisionOutput:
        """Read the ViT's states, or compute and store them where one of an image's layers is missing.

        Args:
            images: Normalised pixels, ``(N, 3, H, W)``.

        Returns:
            Those of the last block and of the adapter's layers, on the images' device.
        """
        keys = image_keys(images)
        rows = {key: row for row, key in reversed(list(enumerate(keys)))}  # the first of equal images
        distinct = list(dict.fromkeys(keys))
        found = self.store.read(self._names(distinct))
        if self._missing(distinct, found):
            self.store.refresh()  # another process may have computed them by now
            found |= self.store.read(name for name in self._names(distinct) if name not in found)
        if missing := self._missing(distinct, found):
            index = torch.tensor([rows[key] for key in missing], device=images.device)
            found |= self._encode(images[index], missing, found)
        self.encoded += len(missing)
        self.from_store += len(distinct) - len(missing)
        layers = {
            layer: torch.stack([found[_name(key, layer)] for key in keys]).to(images.device)
            for layer in self._layers
        }
        return VisionOutput(layers[self._depth], tuple(layers[layer] for layer in self._adapter_layers))

    @property
    def _depth(self) -> int:
        return len(self.model.vision_encoder.blocks)

    @property
    def _adapter_layers(self) -> Sequence[int]:
        return () if self.model.adapter is None else self.model.adapter.layers

    @property
    def _layers(self) -> list[int]:
        """All layers that are wanted, counted from 1, each once."""
        return sorted({*self._adapter_layers, self._depth})

    def _names(self, keys: Sequence[str]) -> list[str]:
        return [_name(key, layer) for key in keys for layer in self._layers]

    def _missing(self, keys: Sequence[str], found: Mapping[str, Tensor]) -> list[str]:
        """List the images of which a layer is missing."""
        return [key for key in keys if any(_name(key, layer) not in found for layer in self._layers)]

    def _encode(self, images: Tensor, keys: Sequence[str], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the ViT and store the layers that are not there yet."""
        output = self.model.vision_states(images)
        by_layer = {**dict(zip(self._adapter_layers, output.intermediates, strict=True))}
        by_layer[self._depth] = output.last
        computed = {layer: states.detach().cpu() for layer, states in by_layer.items()}
        new = {
            _name(key, layer): states[row].clone()
            for layer, states in computed.items()
            for row, key in enumerate(keys)
            if _name(key, layer) not in found
        }
        if self._before_first_write is not None:
            self._before_first_write(len(self._layers), output.last[0])
            self._before_first_write = None
        self.store.write(new)
        return new


def _name(key: str, layer: int) -> str:
    """Name a tensor of the store."""
    return f"{key}/{layer}"

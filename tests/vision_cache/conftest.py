"""A tiny model whose adapter matters, images, and a count of what its ViT is shown."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contextblip.models import BackboneConfig, ContextBLIP
from contextblip.vision_cache import CachedVision, StateStore
from contextblip.vision_cache.keys import folder_name

MakeModel = Callable[..., ContextBLIP]
Cache = Callable[..., CachedVision]

CONFIG = BackboneConfig(
    image_size=16,
    patch_size=4,
    vision_width=16,
    vision_layers=4,
    vision_heads=2,
    vision_mlp_width=32,
    text_width=16,
    text_layers=1,
    text_heads=2,
    text_mlp_width=32,
    vocab_size=24,
    max_positions=12,
    projection_width=8,
    enc_token_id=23,
)


@pytest.fixture
def make_model() -> MakeModel:
    """Build the same backbone under an adapter that reads some layers."""

    def make(layers: Sequence[int] = (1, 3)) -> ContextBLIP:
        torch.manual_seed(0)
        model = ContextBLIP.build(CONFIG, adapter_layers=[])
        adapted = ContextBLIP.build(CONFIG, adapter_layers=layers)
        adapted.load_state_dict(model.state_dict(), strict=False)
        return adapted.eval().requires_grad_(False)

    return make


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Put a model behind the store of its ViT, newly opened as another run would."""

    def make(model: ContextBLIP, precision: str = "32-true") -> CachedVision:
        return CachedVision(model, StateStore(tmp_path / "store" / folder_name(model, precision)))

    return make

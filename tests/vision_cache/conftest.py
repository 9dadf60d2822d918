"""A tiny model whose adapter matters, images, and a count of what its ViT is shown."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contextblip.models import ContextBLIP
from contextblip.vision_cache import CachedVision, StateStore
from contextblip.vision_cache.keys import folder_name
from tests.conftest import SMALL_BACKBONE

MakeModel = Callable[..., ContextBLIP]
Cache = Callable[..., CachedVision]

CONFIG = replace(SMALL_BACKBONE, text_layers=1, vocab_size=24, enc_token_id=23)


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

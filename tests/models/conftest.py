"""A backbone small enough that each test takes milliseconds."""

import pytest
import torch

from contextblip.models import BackboneConfig, ContextBLIP
from tests.conftest import SMALL_BACKBONE


@pytest.fixture
def config() -> BackboneConfig:
    return SMALL_BACKBONE


@pytest.fixture
def model(config: BackboneConfig) -> ContextBLIP:
    torch.manual_seed(0)
    built = ContextBLIP.build(
        config, adapter_layers=[1, 4], mim_decoder=True, decoder_layers=1, decoder_heads=2, inter_context=True
    )
    return built.eval()


@pytest.fixture
def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Three texts of 5, 3 and 2 tokens: the last has no word between [CLS] and [SEP]."""
    input_ids = torch.tensor([[2, 7, 8, 9, 3], [2, 7, 3, 0, 0], [2, 3, 0, 0, 0]])
    return input_ids, (input_ids > 0).long()

"""A backbone small enough that each test takes milliseconds."""

import pytest
import torch

from contextblip.models import BackboneConfig, ContextBLIP


@pytest.fixture
def config() -> BackboneConfig:
    return BackboneConfig(
        image_size=16,
        patch_size=4,
        vision_width=16,
        vision_layers=4,
        vision_heads=2,
        vision_mlp_width=32,
        text_width=16,
        text_layers=2,
        text_heads=2,
        text_mlp_width=32,
        vocab_size=20,
        max_positions=12,
        projection_width=8,
        enc_token_id=19,
    )


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

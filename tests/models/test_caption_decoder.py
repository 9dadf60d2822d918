"""The language model over captions: what each prediction sees, and what it teaches."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from contextblip.losses import loss_lm
from contextblip.models import BackboneConfig, ContextBLIP, TextEncoder
from contextblip.models.caption_decoder import CaptionDecoder

Texts = tuple[Tensor, Tensor]


class Captioner(NamedTuple):
    decoder: CaptionDecoder
    text_encoder: TextEncoder

    def logits(self, input_ids: Tensor, attention_mask: Tensor, image_embeds: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.text_encoder, input_ids, attention_mask, image_embeds)
        return logits


@pytest.fixture
def captioner(config: BackboneConfig, model: ContextBLIP) -> Captioner:
    """Weights large enough that every influence shows."""
    torch.manual_seed(0)
    decoder = CaptionDecoder(config.text_width, config.text_layers, config.text_heads, config.vocab_size)
    with torch.no_grad():
        for parameter in [*decoder.parameters(), *model.text_encoder.parameters()]:
            if parameter.ndim > 1:
                parameter.mul_(12)
    return Captioner(decoder.eval(), model.text_encoder)


@pytest.fixture
def images(config: BackboneConfig) -> Tensor:
    return torch.randn(3, 1 + config.num_patches, config.vision_width)


@pytest.mark.parametrize("changed", [1, 2, 4])
def test_a_token_tells_on_its_own_and_later_positions_only(
    captioner: Captioner, texts: Texts, images: Tensor, changed: int
) -> None:
    input_ids, attention_mask = texts[0][:1], texts[1][:1]
    other = input_ids.clone()
    other[0, changed] = 12
    before = captioner.logits(input_ids, attention_mask, images[:1])[0]
    after = captioner.logits(other, attention_mask, images[:1])[0]
    torch.testing.assert_close(after[:changed], before[:changed])
    moved = (after - before).abs().amax(dim=-1)[changed:]
    assert (moved > 1e-5).all()


def test_every_prediction_depends_on_the_own_image(
    captioner: Captioner, texts: Texts, images: Tensor
) -> None:
    changed = images.clone()
    changed[1] = torch.randn_like(changed[1])
    before, after = captioner.logits(*texts, images), captioner.logits(*texts, changed)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert ((after[1] - before[1]).abs().amax(dim=-1) > 1e-3).all()


def test_padding_has_no_influence(captioner: Captioner, texts: Texts, images: Tensor) -> None:
    input_ids, attention_mask = texts
    padded = captioner.logits(input_ids, attention_mask, images)
    other = torch.where(attention_mask.bool(), input_ids, 11)
    filled = captioner.logits(other, attention_mask, images)
    for row, length in enumerate(attention_mask.sum(dim=1).tolist()):
        alone = captioner.logits(
            input_ids[row : row + 1, :length], attention_mask[row : row + 1, :length], images[row : row + 1]
        )[0]
        torch.testing.assert_close(padded[row, :length], alone)
        torch.testing.assert_close(filled[row, :length], alone)
    losses = [loss_lm(logits, input_ids, attention_mask) for logits in (padded, filled)]
    torch.testing.assert_close(*losses)


def test_padding_inside_a_text_is_not_attended_to(captioner: Captioner, texts: Texts, images: Tensor) -> None:
    """Causality alone hides padding behind a text; the mask hides it anywhere."""
    input_ids, attention_mask = texts[0][:1], torch.tensor([[1, 1, 0, 1, 1]])
    other = input_ids.clone()
    other[0, 2] = 12
    before, after = (captioner.logits(ids, attention_mask, images[:1])[0] for ids in (input_ids, other))
    torch.testing.assert_close(after[[0, 1, 3, 4]], before[[0, 1, 3, 4]])


def trained(module: nn.Module) -> dict[str, bool]:
    """Whether each parameter has a gradient; keys' biases never have one, as softmax forgets them."""
    return {
        name: parameter.grad is not None and bool(parameter.grad.any())
        for name, parameter in module.named_parameters()
        if not name.endswith("key.bias")
    }


def test_gradients_reach_the_shared_parts_and_the_image(
    captioner: Captioner, texts: Texts, images: Tensor
) -> None:
    images.requires_grad_()
    torch.autograd.backward(loss_lm(captioner.logits(*texts, images), *texts))
    found = trained(captioner.text_encoder)
    own = {name for name in found if ".self_attention." in name}
    assert own
    assert {name for name, reached in found.items() if not reached} == own
    shared = {name.split(".")[2] for name in found.keys() - own if name.startswith("layers.")}
    assert shared == {"cross_attention", "mlp"}
    assert all(trained(captioner.decoder).values())
    words = captioner.text_encoder.word_embeddings.weight.grad
    assert words is not None
    assert (words.abs().sum(dim=-1) > 0).all()  # those in no text too, as the head's matrix
    assert images.grad is not None
    assert (images.grad.abs().sum(dim=-1) > 0).all()


def test_its_last_matrix_is_the_word_embeddings(captioner: Captioner, texts: Texts, images: Tensor) -> None:
    """A word that no text holds is scored by its embedding all the same."""
    word = 15
    assert not (texts[0] == word).any()
    before = captioner.logits(*texts, images)
    with torch.no_grad():
        captioner.text_encoder.word_embeddings.weight[word] = 0.0
        captioner.decoder.bias[word] = 3.0
    after = captioner.logits(*texts, images)
    others = [token for token in range(before.shape[-1]) if token != word]
    assert torch.equal(after[..., others], before[..., others])
    assert torch.equal(after[..., word], torch.full_like(after[..., word], 3.0))

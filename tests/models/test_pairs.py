"""Fewer computations, the same results: shared texts and images, and only what is read of the last layer."""

import pytest
import torch
from torch import Tensor

from contextblip.models import BackboneConfig, ContextBLIP
from contextblip.models.mim_decoder import MIMDecoder
from contextblip.models.pairs import Pairs
from contextblip.models.text_encoder import TextEncoder

TEXTS, IMAGES, LENGTH = 3, 2, 5
TEXT_INDEX = torch.tensor([0, 2, 1, 1, 0, 2, 2])
IMAGE_INDEX = torch.tensor([1, 0, 1, 0, 1, 1, 1])


@pytest.fixture
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(20, 8, 16, 3, 2, 32, context_width=12, dropout=0.0)


def given() -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and image states."""
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    torch.manual_seed(1)
    return torch.randint(5, 20, (TEXTS, LENGTH)), mask, torch.randn(IMAGES, 7, 12)


@pytest.mark.parametrize("contexts", [2, 9])
def test_groups_line_up_what_shares_a_context(contexts: int) -> None:
    pairs = Pairs.of(IMAGE_INDEX, contexts)
    if contexts == 9:  # 9 groups of 5 slots for 7 sequences: mostly empty
        assert pairs.groups is None
        return
    assert pairs.groups is not None
    states = torch.arange(7.0)[:, None, None].expand(7, 2, 1) + 1
    joined = pairs.groups.join(states)
    assert joined[..., 0].tolist() == [[2, 2, 4, 4, 0, 0, 0, 0, 0, 0], [1, 1, 3, 3, 5, 5, 6, 6, 7, 7]]
    assert torch.equal(pairs.groups.part(joined, states), states)


@pytest.mark.parametrize("whole", [None, 0, 2, 7])
def test_shared_texts_and_images_give_what_repeated_ones_give(
    encoder: TextEncoder, whole: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, mask, images = given()
    repeated = encoder(ids[TEXT_INDEX], mask[TEXT_INDEX], images[IMAGE_INDEX], return_attention=True)
    count = 7 if whole is None else whole
    for most_slots in (4, 0):  # grouped, copied
        monkeypatch.setattr("contextblip.models.pairs.MOST_SLOTS", most_slots)
        shared = encoder(
            ids,
            mask,
            images,
            text_index=TEXT_INDEX,
            image_index=IMAGE_INDEX,
            whole=whole,
            return_attention=True,
        )
        torch.testing.assert_close(shared.hidden, repeated.hidden[:count])
        torch.testing.assert_close(shared.first, repeated.hidden[:, :1])
        if count:
            torch.testing.assert_close(shared.attention, repeated.attention[:count])
        else:
            assert shared.attention is None


def test_gradients_of_shared_images_are_the_sums_of_the_repeated_ones(encoder: TextEncoder) -> None:
    ids, mask, images = given()
    images.requires_grad_()
    weights = torch.linspace(-1, 1, 7 * 16).view(7, 1, 16)
    parameters = [images, *encoder.parameters()]

    def gradients(first: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad((first * weights).sum(), parameters, allow_unused=True)

    repeated = encoder(ids[TEXT_INDEX], mask[TEXT_INDEX], images[IMAGE_INDEX]).hidden[:, :1]
    shared = encoder(ids, mask, images, text_index=TEXT_INDEX, image_index=IMAGE_INDEX, whole=0).first
    for found, expected in zip(gradients(shared), gradients(repeated), strict=True):
        assert found is not None
        assert expected is not None
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_text_alone_reads_its_first_token_only(encoder: TextEncoder) -> None:
    ids, mask, _ = given()
    whole, first = encoder(ids, mask), encoder(ids, mask, whole=0)
    assert first.hidden.shape == (0, LENGTH, 16)
    torch.testing.assert_close(first.first, whole.hidden[:, :1])


def test_dropout_differs_between_the_pairs_of_a_text() -> None:
    encoder = TextEncoder(20, 8, 16, 2, 2, 32, context_width=12, dropout=0.5)
    ids, mask, images = given()
    same = torch.zeros(4, dtype=torch.long)
    first = encoder(ids, mask, images, text_index=same, image_index=same, whole=0).first
    assert len(first.unique(dim=0)) == 4
    assert (
        len(encoder.eval()(ids, mask, images, text_index=same, image_index=same, whole=0).first.unique(dim=0))
        == 1
    )


@pytest.mark.parametrize("text", ["fused", "none"])
def test_the_decoder_reads_masked_patches_only(text: str) -> None:
    torch.manual_seed(0)
    decoder = MIMDecoder(16, 16, 9, 12, 2, 2, text=text, dropout=0.0)  # type: ignore[arg-type]
    ids = torch.stack([torch.randperm(9) for _ in range(2)])
    keep, mask = ids[:, :6], ids[:, 6:]
    visible, texts, tokens = torch.randn(2, 7, 16), torch.randn(2, 4, 16), torch.ones(2, 4)
    hidden = decoder.assemble(visible, keep, mask)
    for layer in decoder.layers:
        hidden, _ = layer(hidden, None, decoder.text_states(texts), tokens.bool()[:, None, None])
    expected = decoder.head(hidden[:, 1:].gather(1, mask[..., None].expand(-1, -1, 16)))
    torch.testing.assert_close(decoder(visible, keep, mask, texts, tokens), expected)


def test_gradient_checkpointing_changes_no_gradient(config: BackboneConfig) -> None:
    found = []
    for saves in (False, True):
        torch.manual_seed(0)
        model = ContextBLIP.build(config, adapter_layers=[1], dropout=0.5).train()
        model.vision_encoder.gradient_checkpointing = model.text_encoder.gradient_checkpointing = saves
        torch.manual_seed(1)
        images = model.encode_images(torch.randn(2, 3, config.image_size, config.image_size)).image_embeds
        ids, mask = torch.randint(5, 10, (3, 4)), torch.ones(3, 4)
        fused = model.fuse(ids, mask, images, image_index=torch.tensor([0, 1, 1]), whole=0)
        model.itm_logits(fused.first_token).square().sum().backward()  # type: ignore[no-untyped-call]
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)

import pytest
import torch
import torch.nn.functional as F

from contextblip.errors import ConfigurationError
from contextblip.models import BackboneConfig, InterContextEncoder, MIMDecoder, MultiScaleAdapter, patchify
from contextblip.models.adapter import AdapterFusion
from contextblip.models.attention import Attention, Maps
from contextblip.models.pairs import Pairs
from contextblip.models.text_encoder import TextEncoder
from contextblip.models.vision_encoder import PatchEmbedding, VisionEncoder, sine_cosine_positions


def test_patchify_orders_rows_then_pixels_then_channels() -> None:
    images = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            block = images[1, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[1, 3 * row + column], block.permute(1, 2, 0).flatten())


def test_patch_embedding_equals_the_convolution() -> None:
    embedding = PatchEmbedding(4, 8)
    images = torch.randn(2, 3, 8, 8)
    expected = F.conv2d(images, embedding.weight, embedding.bias, stride=4).flatten(2).mT
    torch.testing.assert_close(embedding(patchify(images, 4)), expected, atol=1e-5, rtol=1e-5)


def vision_encoder(config: BackboneConfig) -> VisionEncoder:
    torch.manual_seed(0)
    return VisionEncoder(
        config.image_size,
        config.patch_size,
        config.vision_width,
        config.vision_layers,
        config.vision_heads,
        config.vision_mlp_width,
    ).eval()


def test_positions_start_as_sines_and_cosines_of_column_and_row() -> None:
    positions = sine_cosine_positions(4, 16)
    assert positions.shape == (16, 16)
    grid = positions.view(4, 4, 16)
    assert torch.equal(grid[0, :, :8], grid[3, :, :8])  # the column's half is the same in every row
    assert torch.equal(grid[:, 0, 8:], grid[:, 2, 8:])
    torch.testing.assert_close(grid[0, 3, 0], torch.tensor(3.0).sin())
    torch.testing.assert_close(grid[3, 0, 12], torch.tensor(3.0).cos())
    near, far = ((positions[0] - positions[i]).norm() for i in (1, 2))
    assert near < far
    encoder = VisionEncoder(16, 4, 16, 1, 2, 32)
    torch.testing.assert_close(encoder.pos_embed[0, 1:], positions)
    assert encoder.pos_embed.requires_grad


@pytest.mark.parametrize(("width", "expected"), [(768, 0.02), (48, 0.08)])
def test_narrow_models_start_with_larger_weights(width: int, expected: float) -> None:
    torch.manual_seed(0)
    encoder = VisionEncoder(16, 4, width, 1, 2, 4 * width)
    vision = encoder.get_parameter("blocks.0.mlp.fc1.weight")
    assert (encoder.patch_embed.weight.std().item() > 0.03) == (width < 768)
    text = TextEncoder(30, 8, width, 1, 2, 4 * width, context_width=width)
    assert vision.std().item() == pytest.approx(expected, rel=0.1)
    assert text.get_parameter("layers.0.mlp.fc1.weight").std().item() == pytest.approx(expected, rel=0.1)
    assert text.word_embeddings.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_visible_patches_keep_their_own_positions(config: BackboneConfig) -> None:
    """All patches in any order give the whole image's states in that order."""
    encoder = vision_encoder(config)
    patches = patchify(torch.randn(2, 3, 16, 16), 4)
    order = torch.stack([torch.randperm(16), torch.randperm(16)])
    shuffled = encoder(patches.gather(1, order[..., None].expand(-1, -1, 48)), order).last
    whole = encoder(patches).last
    expected = whole[:, 1:].gather(1, order[..., None].expand(-1, -1, 16))
    torch.testing.assert_close(shuffled[:, 1:], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shuffled[:, 0], whole[:, 0], atol=1e-5, rtol=1e-5)


def test_hidden_patches_have_no_influence(config: BackboneConfig) -> None:
    encoder = vision_encoder(config)
    keep = torch.arange(12)[None]
    patches = torch.randn(1, 16, 48)
    changed = patches.clone()
    changed[:, 12:] = 99.0
    assert torch.equal(encoder(patches[:, :12], keep).last, encoder(changed[:, :12], keep).last)


def test_intermediates_come_through_the_final_norm(config: BackboneConfig) -> None:
    encoder = vision_encoder(config)
    output = encoder(torch.randn(1, 16, 48), layers=[2, 4])
    assert torch.equal(output.last, output.intermediates[1])
    torch.testing.assert_close(output.intermediates[0].mean(-1), torch.zeros(1, 17), atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", ["concat", "add"])
def test_adapter_computes_its_equation(fusion: AdapterFusion) -> None:
    adapter = MultiScaleAdapter(8, [1, 3], 2, fusion)
    last, states = torch.randn(2, 5, 8), [torch.randn(2, 5, 8), torch.randn(2, 5, 8)]
    weights = [down.get_parameter("weight") for down in adapter.down]
    low = [torch.relu(s @ w.T) for s, w in zip(states, weights, strict=True)]
    joint = torch.cat(low, -1) if fusion == "concat" else low[0] + low[1]
    torch.testing.assert_close(adapter(last, states), last + torch.relu(joint @ adapter.up.weight.T))


def test_zero_initialised_adapter_starts_as_identity_and_learns() -> None:
    adapter = MultiScaleAdapter(8, [1], zero_init=True)
    last = torch.randn(2, 5, 8)
    output = adapter(last, [last])
    assert torch.equal(output, last)
    output.square().sum().backward()
    assert adapter.gate is not None
    assert adapter.gate.grad is not None
    assert adapter.gate.grad != 0


def test_a_rate_that_does_not_divide_the_width_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"downsampling_rate is 3, but must divide .* width 8"):
        MultiScaleAdapter(8, [1], 3)


def test_shared_context_equals_repeated_context() -> None:
    attention = Attention(8, 2, context_width=6).eval()
    hidden, context, index = torch.randn(4, 3, 8), torch.randn(2, 5, 6), torch.tensor([1, 0, 1, 1])
    shared, shared_map = attention(hidden, context, pairs=Pairs.of(index, 2), maps=Maps((), 4))
    repeated, repeated_map = attention(hidden, context[index], maps=Maps((), 4))
    torch.testing.assert_close(shared, repeated)
    torch.testing.assert_close(shared_map, repeated_map)


def test_attention_map_is_the_mean_of_softmaxes() -> None:
    attention = Attention(8, 2).eval()
    hidden = torch.randn(1, 3, 8)
    mask = torch.tensor([True, True, False])
    _, actual = attention(hidden, mask=mask[None, None, None], maps=Maps((), 1))
    expected = torch.zeros(3, 3)
    for head in range(2):
        query = attention.query(hidden)[0, :, 4 * head : 4 * head + 4]
        key = attention.key(hidden)[0, :, 4 * head : 4 * head + 4]
        logits = query @ key.T / 2
        expected += logits.masked_fill(~mask, -torch.inf).softmax(-1) / 2
    assert actual is not None
    torch.testing.assert_close(actual[0], expected)
    assert not actual.requires_grad


def decoder(text: str = "fused") -> MIMDecoder:
    torch.manual_seed(0)
    return MIMDecoder(8, 8, num_patches=4, patch_values=12, layers=2, heads=2, text=text).eval()  # type: ignore[arg-type]  # the invalid choice is tested too


def test_masked_patches_of_a_new_decoder_know_their_places() -> None:
    positions = decoder().position_embeddings.weight
    assert torch.equal(positions[:4], sine_cosine_positions(2, 8))
    assert torch.equal(positions[4], torch.zeros(8))  # the published table's unused row
    assert positions.requires_grad


def test_decoder_puts_tokens_in_spatial_order() -> None:
    module = decoder()
    visible = torch.randn(1, 3, 8)
    hidden = module.assemble(visible, ids_keep=torch.tensor([[3, 0]]), ids_mask=torch.tensor([[2, 1]]))
    position = module.position_embeddings.weight
    expected = [
        visible[0, 0],
        visible[0, 2],
        module.mask_token + position[1],
        module.mask_token + position[2],
        visible[0, 1],
    ]
    torch.testing.assert_close(hidden[0], torch.stack(expected))


@pytest.mark.parametrize(("text", "reads"), [("fused", True), ("text", True), ("none", False)])
def test_decoder_reads_the_text_only_where_asked(text: str, reads: bool) -> None:
    module = decoder(text)
    visible, keep, masked = torch.randn(1, 3, 8), torch.tensor([[3, 0]]), torch.tensor([[2, 1]])
    mask = torch.ones(1, 4)
    one = module(visible, keep, masked, torch.randn(1, 4, 8), mask)
    two = module(visible, keep, masked, torch.randn(1, 4, 8), mask)
    assert one.shape == (1, 2, 12)
    assert (not torch.allclose(one, two)) == reads


def test_decoder_ignores_padded_tokens() -> None:
    module = decoder()
    visible, keep, masked = torch.randn(1, 3, 8), torch.tensor([[3, 0]]), torch.tensor([[2, 1]])
    text = torch.randn(1, 4, 8)
    changed = text.clone()
    changed[:, 2:] = 5.0
    mask = torch.tensor([[1, 1, 0, 0]])
    torch.testing.assert_close(
        module(visible, keep, masked, text, mask), module(visible, keep, masked, changed, mask)
    )


def test_unknown_decoder_text_is_named() -> None:
    with pytest.raises(ConfigurationError, match="decoder_text is 'image'"):
        decoder("image")


def inter_context(candidates: int = 4) -> InterContextEncoder:
    torch.manual_seed(0)
    return InterContextEncoder(8, heads=2, max_candidates=candidates, position_std=1.0).eval()


def test_static_candidates_are_permuted_with_their_order() -> None:
    encoder, features, order = inter_context(), torch.randn(1, 4, 8), torch.tensor([2, 0, 3, 1])
    known = torch.ones(1, 4, dtype=torch.bool)
    static, video = torch.tensor([False]), torch.tensor([True])
    torch.testing.assert_close(
        encoder(features[:, order], static, known), encoder(features, static, known)[:, order]
    )
    assert not torch.allclose(
        encoder(features[:, order], video, known), encoder(features, video, known)[:, order]
    )


def test_padded_candidates_have_no_influence() -> None:
    encoder, features = inter_context(), torch.randn(1, 4, 8)
    known = torch.tensor([[True, True, True, False]])
    changed = features.clone()
    changed[:, 3] = 7.0
    static = torch.tensor([False])
    padded = encoder(features, static, known)[:, :3]
    torch.testing.assert_close(padded, encoder(changed, static, known)[:, :3])
    torch.testing.assert_close(padded, encoder(features[:, :3], static, known[:, :3]))


def test_a_larger_static_set_is_fine_a_larger_video_names_the_key() -> None:
    encoder, features = inter_context(3), torch.randn(2, 4, 8)
    known = torch.ones(2, 4, dtype=torch.bool)
    assert encoder(features, torch.tensor([False, False]), known).shape == (2, 4, 8)
    with pytest.raises(ConfigurationError, match="--model.max_candidates 4"):
        encoder(features, torch.tensor([False, True]), known)
    known[1, 3] = False  # a padded video of 3 beside a static set of 4
    assert encoder(features, torch.tensor([False, True]), known).shape == (2, 4, 8)

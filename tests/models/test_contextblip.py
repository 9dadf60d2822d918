import pytest
import torch
from torch import nn

from contextblip.errors import CheckpointError, ConfigurationError
from contextblip.models import PRESETS, BackboneConfig, ContextBLIP

Texts = tuple[torch.Tensor, torch.Tensor]


def count(module: nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters())


def real_size(**arguments: object) -> ContextBLIP:
    with torch.device("meta"):
        return ContextBLIP.build(PRESETS["base"], **arguments)  # type: ignore[arg-type]  # any of build's


def test_parameters_of_blip() -> None:
    assert count(real_size(adapter_layers=[])) == 223_452_418


@pytest.mark.parametrize(("preset", "dec", "enc"), [("base", 30522, 30523), ("miniature", 510, 511)])
def test_added_tokens_stand_behind_the_words(preset: str, dec: int, enc: int) -> None:
    # 30522 is the `bos_token_id` of BLIP's published configurations
    assert (PRESETS[preset].dec_token_id, PRESETS[preset].enc_token_id) == (dec, enc)


@pytest.mark.parametrize(
    ("layers", "rate", "expected"),
    [
        ([12], 2, 589_824),
        ([3, 6, 9, 12], 2, 2_359_296),
        (list(range(1, 13)), 2, 7_077_888),
        ([3, 6, 9, 12], 1, 4_718_592),
        ([3, 6, 9, 12], 4, 1_179_648),
        ([3, 6, 9, 12], 8, 589_824),
    ],
)
def test_parameters_of_the_adapter(layers: list[int], rate: int, expected: int) -> None:
    assert count(real_size(adapter_layers=layers, downsampling_rate=rate).adapter) == expected


def test_parameters_of_each_stage() -> None:
    assert count(real_size()) == 225_811_714
    pretraining = real_size(mim_decoder=True)
    assert count(pretraining.adapter) + count(pretraining.mim_decoder) == 41_498_880
    assert count(real_size(inter_context=True)) == 239_995_907


def test_adapter_changes_states_but_not_the_features_for_negatives(model: ContextBLIP) -> None:
    images = torch.randn(2, 3, 16, 16)
    before = model.encode_images(images)
    assert model.adapter is not None
    nn.init.constant_(model.adapter.up.weight, 1.0)
    after = model.encode_images(images)
    assert not torch.allclose(before.image_embeds, after.image_embeds)
    assert torch.equal(before.image_features, after.image_features)
    torch.testing.assert_close(after.image_features.norm(dim=1), torch.ones(2))


def test_fuse_replaces_the_first_token_and_ignores_padding(model: ContextBLIP, texts: Texts) -> None:
    images = model.encode_images(torch.randn(3, 3, 16, 16)).image_embeds
    ids, mask = texts
    states = model.fuse(ids, mask, images).multimodal_embeds
    changed = ids.clone()
    changed[:, 0], changed[1, 3:] = 5, 11
    other = model.fuse(changed, mask, images).multimodal_embeds
    torch.testing.assert_close(states[0], other[0])
    torch.testing.assert_close(states[1, :3], other[1, :3])


def test_text_alone_keeps_its_first_token_and_sees_no_image(model: ContextBLIP, texts: Texts) -> None:
    ids, mask = texts
    alone = model.encode_text(ids, mask).text_embeds
    changed = ids.clone()
    changed[:, 0] = 5
    assert not torch.allclose(alone, model.encode_text(changed, mask).text_embeds)


def test_one_image_for_many_texts_equals_repeating_it(model: ContextBLIP, texts: Texts) -> None:
    images = model.encode_images(torch.randn(2, 3, 16, 16)).image_embeds
    ids, mask = texts
    index = torch.tensor([1, 1, 0])
    shared = model.fuse(ids, mask, images, image_index=index, return_attention=True)
    repeated = model.fuse(ids, mask, images[index], return_attention=True)
    torch.testing.assert_close(shared.multimodal_embeds, repeated.multimodal_embeds)
    assert shared.attention is not None
    assert repeated.attention is not None
    torch.testing.assert_close(shared.attention, repeated.attention)
    torch.testing.assert_close(shared.attention.sum(-1), torch.ones(3, 5))


def test_chosen_layers_and_heads_average_to_the_whole(model: ContextBLIP, texts: Texts) -> None:
    images = model.encode_images(torch.randn(3, 3, 16, 16)).image_embeds

    def attention(layers: list[int] | None, heads: list[int] | None) -> torch.Tensor:
        output = model.fuse(
            *texts, images, return_attention=True, attention_layers=layers, attention_heads=heads
        )
        assert output.attention is not None
        return output.attention

    parts = [attention([layer], [head]) for layer in (1, 2) for head in (1, 2)]
    torch.testing.assert_close(attention(None, None), torch.stack(parts).mean(0))
    assert not torch.allclose(parts[0], parts[1])
    with pytest.raises(ConfigurationError, match="attention_layers is .3., but must hold .* from 1 to 2"):
        attention([3], None)


def test_no_map_is_made_unless_asked_for(model: ContextBLIP, texts: Texts) -> None:
    assert model.fuse(*texts, torch.randn(3, 17, 16)).attention is None


def test_padded_candidates_score_minus_infinity(model: ContextBLIP) -> None:
    features = torch.randn(2, 3, 16)
    known = torch.tensor([[True, True, False], [True, True, True]])
    logits = model.score_candidates(features, torch.tensor([True, False]), known, inter_context=True)
    assert torch.isneginf(logits).tolist() == [[False, False, True], [False, False, False]]


@pytest.mark.parametrize("layers", [[0], [5], [2, 1], [1, 1]])
def test_impossible_adapter_layers_are_named(config: BackboneConfig, layers: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="adapter_layers is .* from 1 to 4"):
        ContextBLIP.build(config, adapter_layers=layers)


def test_wrong_image_size_is_one_clear_line(model: ContextBLIP) -> None:
    with pytest.raises(ConfigurationError, match="images are 8x8 px, but the model takes 16x16"):
        model.encode_images(torch.randn(1, 3, 8, 8))


def test_text_longer_than_the_positions_names_the_key(model: ContextBLIP) -> None:
    with pytest.raises(ConfigurationError, match=r"--data.max_tokens to at most 12"):
        model.encode_text(torch.ones(1, 13, dtype=torch.long), torch.ones(1, 13, dtype=torch.long))


def test_sizes_round_trip_and_name_what_is_wrong(config: BackboneConfig) -> None:
    assert BackboneConfig.from_dict(config.to_dict()) == config
    with pytest.raises(CheckpointError, match="sizes missing: patch_size"):
        BackboneConfig.from_dict({k: v for k, v in config.to_dict().items() if k != "patch_size"})
    with pytest.raises(CheckpointError, match="unknown keys: depth"):
        BackboneConfig.from_dict({**config.to_dict(), "depth": 3})
    with pytest.raises(CheckpointError, match="vision_width is 'wide'"):
        BackboneConfig.from_dict({**config.to_dict(), "vision_width": "wide"})

import pytest
import torch

from contextblip.errors import ConfigurationError
from contextblip.models.masking import (
    MaskPolicy,
    MaskStrategy,
    patch_attention,
    refine_attention,
    word_positions,
)

ATTENTION = torch.tensor([[0.1, 0.5, 0.2, 0.05, 0.15], [0.4, 0.1, 0.1, 0.3, 0.05]])


def select(strategy: MaskStrategy, ratio: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    policy = MaskPolicy(mask_ratio=ratio, strategy=strategy)
    selected = policy.select(ATTENTION, torch.zeros_like(ATTENTION))
    return selected.ids_mask, selected.mask


def test_top_masks_what_the_text_attends_to_most() -> None:
    ids, mask = select("top")
    assert ids.tolist() == [[1, 2], [0, 3]]
    assert mask.tolist() == [[False, True, True, False, False], [True, False, False, True, False]]


def test_bottom_masks_what_the_text_attends_to_least() -> None:
    ids, _ = select("bottom")
    assert ids[0].tolist() == [3, 0]


@pytest.mark.parametrize("strategy", ["top", "random", "bottom", "mixture"])
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_exactly_int_ratio_times_patches_are_masked(strategy: MaskStrategy, ratio: float) -> None:
    attention = torch.rand(7, 49)
    selected = MaskPolicy(mask_ratio=ratio, strategy=strategy).select(attention, torch.zeros_like(attention))
    assert (selected.mask.sum(dim=1) == int(ratio * 49)).all()
    ids = torch.cat([selected.ids_keep, selected.ids_mask], dim=1).sort(dim=1).values
    assert (ids == torch.arange(49)).all()
    assert selected.mask.gather(1, selected.ids_mask).all()


def test_random_ignores_the_text() -> None:
    torch.manual_seed(0)
    peaked = torch.zeros(4000, 8)
    peaked[:, 0] = 1
    mask = MaskPolicy(mask_ratio=0.25, strategy="random").select(peaked, torch.zeros_like(peaked)).mask
    torch.testing.assert_close(mask.float().mean(dim=0), torch.full((8,), 0.25), atol=0.03, rtol=0)


def test_mixture_draws_from_half_attention_half_uniform() -> None:
    torch.manual_seed(0)
    peaked = torch.zeros(8000, 8)
    peaked[:, 0] = 1
    policy = MaskPolicy(mask_ratio=0.125, strategy="mixture")
    share = policy.select(peaked, torch.zeros_like(peaked)).mask.float().mean(dim=0)
    expected = torch.full((8,), 1 / 16)
    expected[0] = 1 / 2 + 1 / 16
    torch.testing.assert_close(share, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5])
def test_a_ratio_outside_its_range_is_named(ratio: float) -> None:
    with pytest.raises(ConfigurationError, match="mask_ratio is"):
        MaskPolicy(mask_ratio=ratio)


@pytest.mark.parametrize(("ratio", "patches"), [(0.1, 4), (0.99, 0)])
def test_masking_nothing_is_an_error(ratio: float, patches: int) -> None:
    with pytest.raises(ConfigurationError, match=f"masks 0 of {patches} patches"):
        MaskPolicy(mask_ratio=ratio).num_masked(patches)


def test_words_exclude_enc_sep_and_padding(texts: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert word_positions(texts[1]).tolist() == [
        [False, True, True, True, False],
        [False, True, False, False, False],
        [False, False, False, False, False],
    ]


def test_word_row_is_one_real_word_of_each_sample(texts: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(0)
    drawn = torch.stack([MaskPolicy(token_row="word").row_weights(texts[1]).argmax(1) for _ in range(200)])
    assert set(drawn[:, 0].tolist()) == {1, 2, 3}
    assert set(drawn[:, 1].tolist()) == {1}
    assert set(drawn[:, 2].tolist()) == {0}, "a text without words falls back to [ENC]"


def test_mean_row_averages_the_words(texts: tuple[torch.Tensor, torch.Tensor]) -> None:
    weights = MaskPolicy(token_row="mean").row_weights(texts[1])
    torch.testing.assert_close(weights[0], torch.tensor([0, 1 / 3, 1 / 3, 1 / 3, 0]))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))


def test_enc_row_is_the_first_token(texts: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert MaskPolicy(token_row="enc").row_weights(texts[1]).argmax(1).tolist() == [0, 0, 0]


def test_published_row_is_one_position_for_the_batch_padding_included(
    texts: tuple[torch.Tensor, torch.Tensor],
) -> None:
    torch.manual_seed(0)
    policy = MaskPolicy(token_row="published")
    drawn = torch.stack([policy.row_weights(texts[1]).argmax(1) for _ in range(200)])
    assert (drawn == drawn[:, :1]).all()
    assert set(drawn[:, 0].tolist()) == {0, 1, 2, 3, 4}


def test_patch_attention_drops_the_image_cls() -> None:
    attention = torch.rand(2, 3, 1 + 5)
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    actual = patch_attention(attention, weights)
    torch.testing.assert_close(actual[0], attention[0, 1, 1:])
    torch.testing.assert_close(actual[1], (attention[1, 0, 1:] + attention[1, 2, 1:]) / 2)


def test_refinement_changes_visible_patches_only() -> None:
    refined = refine_attention(
        ATTENTION, torch.tensor([[0.9, 0.8], [0.7, 0.6]]), torch.tensor([[4, 0], [1, 2]])
    )
    assert refined[0].tolist() == pytest.approx([0.8, 0.5, 0.2, 0.05, 0.9])
    assert refined[1].tolist() == pytest.approx([0.4, 0.7, 0.6, 0.3, 0.05])

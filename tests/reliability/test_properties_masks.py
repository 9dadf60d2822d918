"""Masks of any ratio and any grid; draws with any weights."""

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from contextblip.draws import SampleDraws, Uniform, choose
from contextblip.errors import ConfigurationError
from contextblip.models.masking import MaskPolicy, MaskStrategy, TokenRow, word_positions

STRATEGIES: tuple[MaskStrategy, ...] = ("top", "random", "bottom", "mixture")
TOKEN_ROWS: tuple[TokenRow, ...] = ("word", "mean", "enc", "published")
RATIOS = st.floats(0, 1, exclude_min=True, exclude_max=True)
LARGEST_DRAW = 1 - 2.0**-24


def draws_of(samples: int, seed: int) -> Uniform:
    return SampleDraws(torch.arange(samples), seed, step=0)


def attention_of(kind: str, samples: int, patches: int, seed: int) -> Tensor:
    """Return attention that text may really pay, and the kinds that break rankings."""
    generator = torch.Generator().manual_seed(seed)
    attention = torch.rand(samples, patches, generator=generator)
    if kind == "peaked":
        return (attention == attention.amax(dim=1, keepdim=True)).float()
    scale = {"usual": 1.0, "none": 0.0, "tiny": 1e-38, "huge": 1e30}[kind]
    return attention * scale


@given(
    grid=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    samples=st.integers(1, 4),
    ratio=RATIOS,
    strategy=st.sampled_from(STRATEGIES),
    kind=st.sampled_from(["usual", "none", "tiny", "huge", "peaked"]),
    noise=st.sampled_from([0.0, 0.02, 5.0]),
    seed=st.integers(0, 2**31),
)
def test_a_mask_parts_the_patches_of_any_grid(
    grid: tuple[int, int],
    samples: int,
    ratio: float,
    strategy: MaskStrategy,
    kind: str,
    noise: float,
    seed: int,
) -> None:
    patches = grid[0] * grid[1]
    policy = MaskPolicy(mask_ratio=ratio, strategy=strategy, noise=noise)
    attention, uniform = attention_of(kind, samples, patches, seed), draws_of(samples, seed)
    added = policy.draw_noise(attention, uniform)
    masked = int(ratio * patches)
    if not 0 < masked < patches:
        try:
            policy.select(attention, added, uniform)
        except ConfigurationError as error:
            assert f"masks {masked} of {patches} patches" in str(error)  # noqa: PT017  # or it is the wrong one
            return
        raise AssertionError("a mask that hides nothing was made")
    selected = policy.select(attention, added, uniform)
    assert selected.ids_mask.shape == (samples, masked)
    both = torch.cat([selected.ids_keep, selected.ids_mask], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(patches).expand(samples, -1))
    assert selected.mask.sum(dim=1).tolist() == [masked] * samples
    assert bool(selected.mask.gather(1, selected.ids_mask).all())
    if strategy in ("top", "bottom"):
        scores = torch.nn.functional.normalize(attention, dim=1, eps=1e-12) + added
        hidden, seen = scores.gather(1, selected.ids_mask), scores.gather(1, selected.ids_keep)
        if strategy == "top":
            assert bool((hidden.amin(dim=1) >= seen.amax(dim=1)).all())
        else:
            assert bool((hidden.amax(dim=1) <= seen.amin(dim=1)).all())


@given(ratio=st.floats(allow_nan=True, allow_infinity=True))
def test_a_ratio_is_used_or_refused(ratio: float) -> None:
    try:
        policy = MaskPolicy(mask_ratio=ratio)
    except ConfigurationError:
        assert not 0 < ratio < 1
    else:
        assert 0 < ratio < 1
        assert policy.mask_ratio == ratio


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    padding=st.integers(0, 5),
    token_row=st.sampled_from(TOKEN_ROWS),
    seed=st.integers(0, 2**31),
)
def test_row_weights_lie_on_tokens_that_may_ask(
    lengths: list[int], padding: int, token_row: TokenRow, seed: int
) -> None:
    length = max(1, *lengths) + padding
    attention_mask = (torch.arange(length) < torch.tensor(lengths)[:, None]).long()
    weights = MaskPolicy(token_row=token_row).row_weights(attention_mask, draws_of(len(lengths), seed))
    assert weights.shape == attention_mask.shape
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(lengths)))
    first = torch.arange(length) == 0
    words = word_positions(attention_mask)
    allowed = {
        "enc": first.expand_as(words),
        "published": torch.ones_like(words),
        "word": torch.where(words.any(dim=1, keepdim=True), words, first),
        "mean": torch.where(words.any(dim=1, keepdim=True), words, first),
    }[token_row]
    assert not bool(weights[~allowed].any())
    if token_row != "mean":
        assert weights.amax(dim=1).tolist() == [1.0] * len(lengths)
    if token_row == "published":
        assert bool((weights == weights[:1]).all())


@given(
    weights=hnp.arrays(
        "float32",
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.one_of(
            st.just(0.0), st.floats(0, 1, width=32), st.floats(0, 2.0**100, width=32, allow_subnormal=False)
        ),
    ).filter(lambda found: bool((found > 0).any(axis=1).all())),
    draw=st.one_of(
        st.sampled_from([0.0, LARGEST_DRAW]), st.integers(0, 2**24 - 1).map(lambda each: each * 2.0**-24)
    ),
)
def test_nothing_of_weight_zero_is_ever_chosen(weights: npt.NDArray[np.float32], draw: float) -> None:
    given_weights = torch.from_numpy(weights)
    chosen = choose(given_weights, torch.full((len(weights), 1), draw))
    assert bool((given_weights.gather(1, chosen[:, None]) > 0).all())


@given(
    index=st.lists(st.integers(0, 2**40), min_size=1, max_size=20),
    seed=st.integers(0, 2**32),
    step=st.integers(0, 2**31),
    cut=st.integers(0, 20),
)
def test_draws_of_a_sample_are_the_same_in_any_batch(
    index: list[int], seed: int, step: int, cut: int
) -> None:
    every = torch.tensor(index)
    whole = SampleDraws(every, seed, step)(3)
    parts = [SampleDraws(part, seed, step)(3) for part in (every[:cut], every[cut:]) if len(part)]
    assert torch.equal(torch.cat(parts), whole)
    assert bool(((whole >= 0) & (whole < 1)).all())

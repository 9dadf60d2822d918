"""Intervals and tests against scipy's values and cases worked out by hand."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
from scipy import stats

from contextblip.estimates import (
    Interval,
    MeanSd,
    holm,
    mcnemar_exact,
    mean_and_sd,
    paired_bootstrap,
    seed_interval,
    sign_flip_test,
    welch_interval,
    wilson_of_share,
)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (1, 1), (5, 10), (707, 2302), (2302, 2302)])
def test_wilson_is_the_formula_and_scipys(correct: int, n: int) -> None:
    z = stats.norm.ppf(0.975)
    share = correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson_of_share(share, n) == pytest.approx(Interval(centre - half, centre + half), abs=1e-12)
    scipys = stats.binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson_of_share(share, n) == pytest.approx(scipys, abs=1e-12)
    wide = stats.binomtest(correct, n).proportion_ci(0.99, method="wilson")
    assert wilson_of_share(share, n, 0.99) == pytest.approx(wide, abs=1e-12)


def test_wilson_of_half_of_ten_by_hand() -> None:
    # z² = 3.8415; centre 0.5, half 1.95996 / 1.38415 * sqrt(0.025 + 0.0096037) = 0.26341
    assert wilson_of_share(0.5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)


def test_wilson_of_half_an_answer_lies_between_its_neighbours() -> None:
    """Two runs with 100 and 101 of 361 right: noise in the last digit must not round the half away."""
    found = wilson_of_share(100.5 / 361, 361)
    assert found == pytest.approx((0.2347, 0.3268), abs=5e-4)
    below, above = (stats.binomtest(count, 361).proportion_ci(method="wilson") for count in (100, 101))
    assert below.low < found.low < above.low
    assert below.high < found.high < above.high
    for noisy in (0.2783933, 0.2783934):
        assert wilson_of_share(noisy, 361) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize(("share", "n"), [(0.0, 0), (1.5, 2), (-0.25, 4), (float("nan"), 4)])
def test_wilson_refuses_what_is_no_share(share: float, n: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson_of_share(share, n)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (0, 5, 2 / 32), (0, 6, 2 / 64), (1, 8, 20 / 512), (7, 7, 1.0), (2, 3, 1.0)],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p)
    assert mcnemar_exact(only_b, only_a) == mcnemar_exact(only_a, only_b)


def test_mcnemar_is_scipys_binomial_test() -> None:
    assert mcnemar_exact(140, 170) == stats.binomtest(140, 310, 0.5).pvalue
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 3)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 3), (1, 8), (140, 170), (100, 210)])
def test_sign_flips_of_single_runs_are_mcnemars_test(only_a: int, only_b: int) -> None:
    values = np.repeat([-1, 0, 1], [only_a, 40, only_b])
    assert sign_flip_test(values).p == pytest.approx(mcnemar_exact(only_a, only_b), rel=1e-9)
    assert sign_flip_test(6 * values).p == sign_flip_test(values).p


def test_sign_flips_by_hand() -> None:
    # sums of ±1 ±2 ±3: 6, 4, 2, 0, 0, -2, -4, -6; observed 4
    assert sign_flip_test([-1, 2, 3, 0]).p == pytest.approx(4 / 8)


def test_sign_flips_are_scipys_enumeration_of_all_patterns() -> None:
    values = np.array([3, -1, 2, 2, -4, 6, 1, 0, 5, 3])
    found = stats.permutation_test(
        (values,), lambda sample, axis: sample.sum(axis=axis), permutation_type="samples", vectorized=True
    )
    assert sign_flip_test(values).p == pytest.approx(found.pvalue)


def test_the_smallest_significant_sum() -> None:
    assert sign_flip_test(np.repeat([-1, 1], [2, 3])).smallest is None  # 5 : 0 is p = 0.0625
    assert sign_flip_test(np.repeat([-1, 1], [3, 3])).smallest == 6  # 6 : 0 is p = 0.031
    smallest = sign_flip_test(np.repeat([-1, 1], [140, 170])).smallest
    assert smallest is not None
    one_way = (310 + smallest) // 2
    assert mcnemar_exact(310 - one_way, one_way) < 0.05 <= mcnemar_exact(310 - one_way + 1, one_way - 1)
    assert sign_flip_test(2 * np.repeat([-1, 1], [3, 3])).smallest == 12


@pytest.mark.parametrize(
    "sizes",
    [[3, 3, 3, 5, 5, 5, 5], [2, 2, 2, 5, 5, 5], [7, 7, 7, 7, 7, 7, 3], [6, 10, 15, 6, 10, 15, 6, 10, 15]],
)
def test_the_smallest_significant_sum_can_occur(sizes: list[int]) -> None:
    patterns = np.array(list(product([-1, 1], repeat=len(sizes))))
    sums = np.abs(patterns @ np.array(sizes))
    significant = [value for value in np.unique(sums) if (sums >= value).mean() < 0.05]
    assert sign_flip_test(sizes).smallest == min(significant, default=None)


def test_the_smallest_significant_sum_of_many_queries_can_occur() -> None:
    """Where the distribution is made by an FFT, whose errors are no probability."""
    fives = 5 * (2 * np.arange(401) - 400)
    sums = np.abs(np.concatenate([fives - 2, fives + 2]))
    weights = np.tile(stats.binom.pmf(np.arange(401), 400, 0.5) / 2, 2)
    smallest = min(value for value in np.unique(sums) if weights[sums >= value].sum() < 0.05)
    assert sign_flip_test(np.repeat([5, 2], [400, 1])).smallest == smallest


def test_sign_flips_refuse_fractions() -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        sign_flip_test([0.5, -0.5])


def test_bootstrap_agrees_with_scipys() -> None:
    values = np.repeat([-1, 0, 1], [140, 1992, 170])
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=4000,
        batch=500,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    assert paired_bootstrap(values) == pytest.approx(found, abs=0.001)


def test_bootstrap_by_hand() -> None:
    # two queries, 0 and 1: the mean is 0, 1/2 or 1 with 1/4, 1/2, 1/4
    assert paired_bootstrap([0, 1]) == (0, 1)
    assert paired_bootstrap([0, 1], level=0.4) == (0.5, 0.5)
    assert paired_bootstrap([2.0, 2.0]) == (2, 2)


def test_clustered_bootstrap_of_one_seed_is_the_plain_one() -> None:
    values = np.random.default_rng(0).integers(-1, 2, size=200)
    plain = paired_bootstrap(values, seed=3)
    assert paired_bootstrap(values[:, None], seed=3) == plain
    assert paired_bootstrap(values, clusters=np.arange(200), seed=3) == plain
    assert paired_bootstrap(values, seed=4) != plain


def test_pooled_copies_of_a_run_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).integers(-1, 2, size=200)
    pooled = np.repeat(values[:, None], 4, axis=1)
    assert paired_bootstrap(pooled) == paired_bootstrap(values)
    low, high = paired_bootstrap(pooled.reshape(-1))
    wide = paired_bootstrap(values)
    assert high - low == pytest.approx((wide.high - wide.low) / 2, rel=0.1)


def test_clusters_of_alike_queries_widen_the_interval() -> None:
    per_set = np.random.default_rng(0).integers(-1, 2, size=150)
    values, sets = np.repeat(per_set, 4), np.repeat(np.arange(150), 4)
    by_query, by_set = paired_bootstrap(values), paired_bootstrap(values, clusters=sets)
    assert by_set == paired_bootstrap(per_set)
    assert by_set.high - by_set.low == pytest.approx(2 * (by_query.high - by_query.low), rel=0.1)


def test_bootstrap_of_clusters_weighs_queries_alike() -> None:
    values, sets = [1, 1, 1, 0], ["a", "a", "a", "b"]
    assert paired_bootstrap(values, clusters=sets, level=0.4) == (0.75, 0.75)


def test_bootstrap_needs_little_memory() -> None:
    values = np.random.default_rng(0).normal(size=3000)  # all distinct: the worst case
    tracemalloc.start()
    paired_bootstrap(values, resamples=2000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6


@pytest.mark.parametrize("values", [[], [[]], [0.0, float("nan")], [[[1.0]]]])
def test_bootstrap_refuses_what_it_cannot_average(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        paired_bootstrap(values)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    share, shift, trials = 0.3, 0.04, 400
    hits = {"wilson": 0, "bootstrap": 0}
    for trial in range(trials):
        values = rng.choice([-1, 0, 1], p=[0.06, 0.84, 0.06 + shift], size=400)
        interval = paired_bootstrap(values, resamples=1000, seed=trial)
        hits["bootstrap"] += interval.low <= shift <= interval.high
        around = wilson_of_share(int(rng.binomial(150, share)) / 150, 150)
        hits["wilson"] += around.low <= share <= around.high
    # fixed seeds; the binomial's own spread over 400 trials is 1.1 points
    assert all(0.92 <= hit / trials <= 0.98 for hit in hits.values())


def test_tests_reject_a_true_null_seldom() -> None:
    rng = np.random.default_rng(8)
    wrong = sum(sign_flip_test(rng.integers(-2, 3, size=60)).p < 0.05 for _ in range(500))
    assert wrong / 500 <= 0.07


def test_mean_and_sd() -> None:
    assert mean_and_sd([1.0, 2.0, 3.0]) == MeanSd(2, 1, 3)
    assert mean_and_sd([4.0]) == MeanSd(4, None, 1)
    with pytest.raises(ValueError, match="no values"):
        mean_and_sd([])


def test_seed_interval_is_students() -> None:
    values = [31.0, 30.2, 30.6]
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert seed_interval(values) == pytest.approx(expected)
    assert seed_interval([1.0, 3.0]) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)
    assert seed_interval([5.0, 5.0]) == (5, 5)
    assert seed_interval([5.0]) is None


def test_welch_is_scipys() -> None:
    first, second = [31.0, 30.2, 30.6], [32.1, 30.9, 33.0, 31.5]
    found = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.9)
    assert welch_interval(first, second, 0.9) == pytest.approx((found.low, found.high))


def test_welch_by_hand() -> None:
    # variances 2 and 2 over 2 and 2: standard error sqrt(2), 2 degrees of freedom, t = 4.30265
    half = 4.30265 * 2**0.5
    assert welch_interval([1.0, 3.0], [4.0, 6.0]) == pytest.approx((3 - half, 3 + half), abs=1e-4)
    assert welch_interval([1.0], [4.0, 6.0]) is None
    assert welch_interval([2.0, 2.0], [3.0, 3.0]) is None
    one_varies = welch_interval([2.0, 2.0], [3.0, 4.0])
    assert one_varies is not None
    assert one_varies == pytest.approx((1.5 - 12.7062 / 2, 1.5 + 12.7062 / 2), abs=1e-3)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []

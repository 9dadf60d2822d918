"""How sure a number is: intervals of shares, exact paired tests, bootstrap over queries, seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal, stats

# Most counts held at once while resampling (32 MB); the result does not depend on it
_CELLS = 4_000_000


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


class MeanSd(NamedTuple):
    """A mean and how far the values lie from it.

    Attributes:
        mean: Arithmetic mean.
        sd: Standard deviation of the sample (divided by n - 1), ``None`` for one value.
        n: Number of values.
    """

    mean: float
    sd: float | None
    n: int


class SignFlipTest(NamedTuple):
    """What an exact sign-flip test found.

    Attributes:
        p: Two-sided p-value.
        smallest: Least absolute sum of the same sizes that can occur and would have been significant,
            ``None`` where not even all of them in one direction would be.
    """

    p: float
    smallest: int | None


def wilson_of_share(share: float, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share, also of a mean share of several runs.

    Args:
        share: Of right answers, 0 to 1; times n it need not be a whole number.
        n: Answers, at least 1.
        level: Confidence level.

    Returns:
        Shares between 0 and 1.

    Raises:
        ValueError: There are no answers, or the share is none.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"{share} of {n} answers is no share")
    z = float(stats.norm.ppf((1 + level) / 2))
    centre = share + z**2 / (2 * n)
    half = z * (share * (1 - share) / n + (z / (2 * n)) ** 2) ** 0.5
    low, high = (end / (1 + z**2 / n) for end in (centre - half, centre + half))
    return Interval(low if share > 0 else 0.0, high if share < 1 else 1.0)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Test whether two models that answered the same queries are right equally often (McNemar, exact).

    Args:
        only_a: Queries that only the first got right.
        only_b: Queries that only the second got right.

    Returns:
        Two-sided p-value of the binomial distribution; 1 where no query differs.

    Raises:
        ValueError: A count is negative.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"counts cannot be negative: {only_a}, {only_b}")
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def sign_flip_test(differences: ArrayLike, level: float = 0.95) -> SignFlipTest:
    """Test exactly whether paired differences are as likely to be negative as positive.

    McNemar's exact test is the case of differences -1, 0 and 1; larger ones arise where several runs are
    pooled by query, or several queries by image set. All sign patterns are counted, none is sampled.

    Args:
        differences: One whole number a query or cluster, ``(Q,)``.
        level: 1 minus the p-value that counts as significant.

    Returns:
        The p-value, and the least sum that would have been significant.

    Raises:
        ValueError: The differences are no whole numbers.
    """
    values = np.asarray(differences)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError("differences must be whole numbers, one a query")
    sizes, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    if not len(sizes):
        return SignFlipTest(1.0, None)
    unit = int(np.gcd.reduce(sizes))
    null, reached = _positive_sum(sizes // unit, counts), _reached(sizes // unit, counts)
    total = len(null) - 1
    sums = np.abs(2 * np.arange(total + 1) - total)  # negatives are the rest of the total
    beyond = np.bincount(sums, weights=null, minlength=total + 1)[::-1].cumsum()[::-1]
    possible = np.unique(sums[reached])
    significant = possible[beyond[possible] < 1 - level]
    p = min(1.0, float(beyond[abs(int(values.sum())) // unit]))
    return SignFlipTest(p, int(significant[0]) * unit if len(significant) else None)


def paired_bootstrap(
    differences: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the percentile bootstrap interval of a mean paired difference.

    Whole queries are drawn with replacement, with their differences in all runs, so that pooled runs do not
    pass for further queries. Equal queries are drawn together by their number, which is the same
    distribution and needs neither time nor memory in proportion to the queries.

    Args:
        differences: One value a query, ``(Q,)``, or one a query and run, ``(Q, seeds)``.
        clusters: Draw these together, such as queries of one image set; one value a query, ``(Q,)``.
        resamples: Number of draws.
        seed: Of the random numbers.
        level: Confidence level.

    Returns:
        In the unit of the differences.

    Raises:
        ValueError: There are no differences, or some are not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim not in (1, 2) or not values.size or not np.isfinite(values).all():
        raise ValueError("differences must be finite numbers, (Q,) or (Q, seeds)")
    sums = values if values.ndim == 1 else values.mean(axis=1)
    sizes = np.ones_like(sums)
    if clusters is not None:
        _, members = np.unique(np.asarray(clusters), return_inverse=True)
        sums, sizes = np.bincount(members, weights=sums), np.bincount(members).astype(np.float64)
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    means = _resampled_means(kinds, counts, resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def mean_and_sd(values: Sequence[float]) -> MeanSd:
    """Return the mean and the sample's standard deviation.

    Args:
        values: At least one, such as one accuracy a seed.

    Returns:
        Mean, standard deviation and number.

    Raises:
        ValueError: There are no values.
    """
    if not len(values):
        raise ValueError("no values")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return MeanSd(float(np.mean(values)), sd, len(values))


def seed_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return Student's t interval of a mean over seeds.

    Args:
        values: One a seed.
        level: Confidence level.

    Returns:
        In the unit of the values; ``None`` for one value, which says nothing of its spread.

    Raises:
        ValueError: There are no values.
    """
    mean, sd, n = mean_and_sd(values)
    if sd is None:
        return None
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / n**0.5
    return Interval(mean - half, mean + half)


def welch_interval(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return Welch's t interval of the difference of two means over seeds, second minus first.

    Args:
        first: One value a seed.
        second: One value a seed; the numbers of seeds may differ.
        level: Confidence level.

    Returns:
        In the unit of the values; ``None`` where a side has one value or neither varies.
    """
    # scipy's own interval warns where one side does not vary at all, as runs that ignore the seed do
    sides = [
        (float(np.var(side, ddof=1)) / len(side), len(side) - 1) for side in (first, second) if len(side) > 1
    ]
    error = sum(variance for variance, _ in sides)
    if len(sides) < 2 or not error:
        return None
    freedom = error**2 / sum(variance**2 / degrees for variance, degrees in sides)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error**0.5
    difference = float(np.mean(second) - np.mean(first))
    return Interval(difference - half, difference + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm), whatever their dependence.

    Args:
        p_values: Of one family of tests.

    Returns:
        Corrected p-values in the same order, at most 1.
    """
    order = np.argsort(np.asarray(p_values, dtype=np.float64), kind="stable")
    corrected = [0.0] * len(order)
    largest = 0.0
    for rank, place in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _positive_sum(sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distribution of the sum of positive differences if each sign is a fair coin's.

    Args:
        sizes: Distinct absolute differences, above 0.
        counts: How often each occurs.

    Returns:
        Probability of each sum from 0 to the sum of all.
    """
    joint = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        own = np.zeros(size * count + 1)
        own[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        joint = own if len(joint) == 1 else signal.convolve(joint, own)
    clipped: NDArray[np.float64] = np.clip(joint, 0.0, None)  # the FFT leaves -1e-17 where nothing is
    return clipped


def _reached(sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which of the sums of `_positive_sum` can occur; the FFT's rounding errors hide it there."""
    reached = np.zeros(int((sizes * counts).sum()) + 1, dtype=np.bool_)
    reached[0] = True
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        step = 1
        while count:  # 1, 2, 4, ... of a size and the rest make every number of them
            step = min(step, count)
            reached[step * size :] |= reached[: -step * size]
            count, step = count - step, 2 * step
    return reached


def _resampled_means(
    kinds: NDArray[np.float64], counts: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw as many clusters as there are, many times, and return the mean difference of each draw.

    Args:
        kinds: Sum of differences and number of queries of each kind of cluster, ``(V, 2)``.
        counts: Clusters of each kind, ``(V,)``.
        resamples: Number of draws.
        rng: Draws.

    Returns:
        ``(resamples,)``.
    """
    total, step = int(counts.sum()), max(1, _CELLS // len(counts))
    means = np.empty(resamples)
    for start in range(0, resamples, step):
        drawn = rng.multinomial(total, counts / total, size=min(step, resamples - start))
        sums, sizes = (drawn @ kinds).T
        means[start : start + len(drawn)] = sums / sizes
    return means

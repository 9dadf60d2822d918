"""Texts of like length together, so that little is computed for padding."""

from torch import Tensor


def length_buckets(attention_mask: Tensor, buckets: int) -> list[tuple[Tensor, int]]:
    """Part texts into buckets of equal size by their length.

    Args:
        attention_mask: 1 at tokens, 0 at padding, ``(N, L)``.
        buckets: How many, at most N.

    Returns:
        Of each bucket its rows, ``(n,)`` int64, and the length of its longest text in tokens.
    """
    lengths = attention_mask.sum(dim=1)
    parts = lengths.argsort(stable=True).chunk(buckets)
    return [(rows, int(lengths[rows].max())) for rows in parts]

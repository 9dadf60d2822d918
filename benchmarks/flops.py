"""How much work something is: the floating point operations of its matrix products, forward and backward."""

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def count_flops(work: Callable[[], object]) -> int:
    """Count the floating point operations of matrix products, a multiplication and an addition being two.

    Args:
        work: Is run once.

    Returns:
        Operations.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())

"""How much work something is: the floating point operations of its matrix products, forward and backward."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from contextblip.models.linear import onednn_is_there

if onednn_is_there():

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _linear_flops(states: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
        """Count the product of ``(..., in)`` and ``(out, in)``; what is registered for others is theirs."""
        return 2 * states.numel() * weight[0]


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

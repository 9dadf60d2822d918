"""What a pre-training step logs beside its loss (paper, Sec. 3.3 and Figure 2c)."""

from typing import cast

from torch import Tensor

from contextblip.metrics import attention_entropy
from contextblip.tasks.pretraining_step import PretrainingOutput


def step_metrics(output: PretrainingOutput) -> dict[str, Tensor]:
    """Collect the numbers of one step by name.

    Args:
        output: What the step computed.

    Returns:
        Detached scalars: ``loss_itm`` and ``accuracy_itm``; with TMIM also ``loss_tmim``,
        ``loss_mean_colour``, ``attention_entropy`` and ``masked_attention``.
    """
    values = {"loss_itm": output.loss_itm, "accuracy_itm": _accuracy(output)}
    if output.loss_tmim is not None and output.row_attention is not None and output.mask is not None:
        values["loss_tmim"] = output.loss_tmim
        values["loss_mean_colour"] = cast(Tensor, output.loss_mean_colour)
        values["attention_entropy"] = attention_entropy(output.row_attention)
        values["masked_attention"] = masked_attention(output.row_attention, output.mask.mask)
    return {name: value.detach() for name, value in values.items()}


def masked_attention(row_attention: Tensor, mask: Tensor) -> Tensor:
    """Return the mean share of the driving token's attention that lies on masked patches.

    It tells the mask strategies apart: about the mask ratio with ``random`` ones, above it with ``top``,
    below it with ``bottom``.

    Args:
        row_attention: Non-negative, ``(B, P)``.
        mask: True where hidden, ``(B, P)`` bool.

    Returns:
        Scalar between 0 and 1.
    """
    attention = row_attention.float()
    share: Tensor = (attention * mask).sum(dim=1) / attention.sum(dim=1).clamp_min(1e-12)
    return share.mean()


def _accuracy(output: PretrainingOutput) -> Tensor:
    return (output.itm_logits.argmax(dim=1) == output.itm_labels).float().mean()

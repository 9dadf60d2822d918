"""Linear layers that oneDNN computes whole on CPUs, where that is the faster way."""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Linear(nn.Linear):
    """`torch.nn.Linear` that computes by `linear`; weights, their names and start are its own.

    Attributes:
        plain: Whether PyTorch's own choice of library is taken all the same.
    """

    plain = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # its name in `nn.Linear`
        """Map ``(..., in)`` to ``(..., out)``."""
        if self.plain:
            return F.linear(input, self.weight, self.bias)
        return linear(input, self.weight, self.bias)


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``states @ weight.T + bias``, as `torch.nn.functional.linear` does.

    On a CPU by oneDNN, which PyTorch brings along, where that gains something. PyTorch computes fp32 products
    by MKL, which takes AVX2 paths on AMD's processors even where they have AVX-512; oneDNN takes the wide
    ones and is about twice as fast in the same precision. bf16 products are oneDNN's in any case, but
    PyTorch's own layer first fills the result with the bias; asked for the whole layer, oneDNN adds it to the
    unrounded sums. That gains in evaluation; steps that learn take as long either way and are left alone.

    Args:
        states: ``(..., in)``.
        weight: ``(out, in)``.
        bias: ``(out,)``.

    Returns:
        ``(..., out)``, under autocast in its precision.
    """
    dtype = _dtype_of(states, weight)
    if dtype is None:
        return F.linear(states, weight, bias)
    states, weight = states.to(dtype), weight.to(dtype)
    if torch.is_grad_enabled():
        result: Tensor = _Linear.apply(states, weight, bias)
        return result
    return _product(states, weight, bias)


def _dtype_of(states: Tensor, weight: Tensor) -> torch.dtype | None:
    """Return the precision in which oneDNN computes this, ``None`` where PyTorch chooses."""
    if torch.compiler.is_compiling():
        return None  # a compiler has its own products
    mixed = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if mixed else states.dtype
    suits = (
        states.device.type == weight.device.type == "cpu"
        and states.numel() > 0
        and {states.dtype, weight.dtype} <= ({dtype, torch.float32} if mixed else {dtype})
        and type(states) in (Tensor, nn.Parameter)
        and type(weight) in (Tensor, nn.Parameter)
        and (
            (dtype == torch.float32 and onednn_is_faster())
            or (dtype == torch.bfloat16 and not torch.is_grad_enabled() and onednn_has_bf16())
        )
    )
    return dtype if suits else None


def onednn_is_there() -> bool:
    """Return whether this PyTorch can ask oneDNN for a whole linear layer."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(available and hasattr(torch.ops.mkldnn, "_linear_pointwise"))


@cache
def onednn_has_bf16() -> bool:
    """Return whether oneDNN is there and multiplies bf16 on this processor."""
    return onednn_is_there() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def onednn_is_faster() -> bool:
    """Return whether MKL leaves this processor's vectors half empty, and oneDNN is there to fill them."""
    if platform.machine() not in ("x86_64", "AMD64") or not hasattr(torch.cpu, "get_capabilities"):
        return False  # an older PyTorch does not name the processor; its own choice stands
    both = torch.backends.mkl.is_available() and onednn_is_there()  # type: ignore[no-untyped-call]
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return both and wide and str(torch.cpu.get_capabilities().get("cpu_name", "")).startswith("AMD ")


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``left @ right.T + bias`` by oneDNN."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    """The product with its two gradients, all by oneDNN; only what a gradient needs is kept."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        """Map ``(..., in)`` to ``(..., out)``."""
        to_states, to_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(states if to_weight else None, weight if to_states else None)
        return _product(states, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # noqa: ANN401
        """Return the gradients of what is asked for."""
        states, weight = ctx.saved_tensors
        to_states = to_weight = to_bias = None
        rows = grad.reshape(-1, grad.shape[-1])
        if weight is not None:
            to_states = _product(grad, weight.t())
        if states is not None:
            to_weight = _product(rows.t(), states.reshape(-1, states.shape[-1]).t())
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(dim=0)
        return to_states, to_weight, to_bias

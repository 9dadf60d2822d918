"""By either library a linear layer is the same function; the processor decides which one computes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextblip.models import linear as module
from contextblip.models.linear import Linear, linear, onednn_has_bf16, onednn_is_faster, onednn_is_there

SHAPES = [(7,), (1, 7), (5, 7), (3, 5, 7), (2, 3, 5, 7)]
there = pytest.mark.skipif(not onednn_is_there(), reason="this PyTorch has no oneDNN")
bf16_there = pytest.mark.skipif(not onednn_has_bf16(), reason="oneDNN has no bf16 on this processor")


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Take oneDNN whatever the processor; returns the shapes of what it multiplied."""
    used = []
    product = module._product

    def watched(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        used.append(tuple(left.shape))
        return product(left, right, bias)

    monkeypatch.setattr(module, "_product", watched)
    monkeypatch.setattr(module, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(module, "onednn_has_bf16", lambda: True)
    return used


@pytest.fixture
def forgotten() -> Iterator[None]:
    """The processor is asked anew."""
    onednn_is_faster.cache_clear()
    yield
    onednn_is_faster.cache_clear()


def drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(len(shape))
    return [torch.randn(size, dtype=dtype) for size in (shape, (11, 7), (11,), (*shape[:-1], 11))]


@there
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("strided", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_definition(
    shape: tuple[int, ...], strided: bool, biased: bool, onednn: list[tuple[int, ...]]
) -> None:
    states, weight, bias, grad = drawn(shape)
    if strided:  # a part of something wider, as heads and chunks are
        states, grad = (torch.stack([part, part], dim=-1)[..., 0] for part in (states, grad))
    leaves = [leaf.requires_grad_() for leaf in (states, weight, bias)]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    used = leaves if biased else leaves[:2]
    found, expected = linear(*used), F.linear(*exact[: len(used)])
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    found.backward(grad)  # type: ignore[no-untyped-call]
    expected.backward(grad.double())  # type: ignore[no-untyped-call]
    for leaf, reference in zip(used, exact, strict=False):
        assert leaf.grad is not None
        assert reference.grad is not None
        assert leaf.grad.shape == leaf.shape
        torch.testing.assert_close(leaf.grad.double(), reference.grad, atol=1e-5, rtol=1e-5)
    assert len(onednn) == 3
    with torch.no_grad():
        assert torch.equal(linear(*used), found)
    assert len(onednn) == 4


@there
def test_a_row_does_not_depend_on_the_rows_beside_it(onednn: list[tuple[int, ...]]) -> None:
    layer = Linear(64, 48)
    states = torch.randn(40, 64)
    with torch.no_grad():
        whole = layer(states)
        assert torch.equal(layer(states[:17]), whole[:17])
        assert torch.equal(layer(states.view(8, 5, 64)).view(40, 48), whole)
    assert len(onednn) == 3


@there
@pytest.mark.parametrize("frozen", ["weight", "states"])
def test_what_is_frozen_keeps_nothing_and_gets_nothing(frozen: str, onednn: list[tuple[int, ...]]) -> None:
    states, weight, bias, grad = drawn((5, 7))
    (weight if frozen == "states" else states).requires_grad_()
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        linear(states, weight, bias).backward(grad)  # type: ignore[no-untyped-call]
    wanted = states if frozen == "states" else weight
    assert [tensor.data_ptr() for tensor in kept] == [wanted.data_ptr()]
    assert (states.grad is None) == (frozen == "states")
    assert (weight.grad is None) == (frozen == "weight")
    assert bias.grad is None
    assert len(onednn) == 2  # the product and one gradient


@bf16_there
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_mixed_precision_rounds_operands_and_results_alone(
    shape: tuple[int, ...], biased: bool, onednn: list[tuple[int, ...]]
) -> None:
    states, weight, bias, _ = drawn(shape)
    used = (states, weight, bias) if biased else (states, weight)
    exact = [states.bfloat16().double(), weight.bfloat16().double(), bias.double()][: len(used)]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear(*used)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), F.linear(*exact), atol=1e-6, rtol=2**-8)  # rounded once
    assert len(onednn) == 1


@bf16_there
def test_mixed_precision_learns_by_pytorchs_layer(onednn: list[tuple[int, ...]]) -> None:
    layer = Linear(7, 11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(torch.randn(5, 7)).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    assert onednn == []


@bf16_there
def test_a_row_does_not_depend_on_the_rows_beside_it_in_bf16(onednn: list[tuple[int, ...]]) -> None:
    layer = Linear(64, 48)
    states = torch.randn(40, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        whole = layer(states)
        assert torch.equal(layer(states[:17]), whole[:17])
        assert torch.equal(layer(states.view(8, 5, 64)).view(40, 48), whole)
    assert len(onednn) == 3


@bf16_there
def test_weights_in_bf16_need_no_autocast(onednn: list[tuple[int, ...]]) -> None:
    states, weight, bias, _ = drawn((5, 7), torch.bfloat16)
    with torch.no_grad():
        assert linear(states, weight, bias).dtype == torch.bfloat16
        assert len(onednn) == 1
        # As in `F.linear`, unequal types are a mistake, not a choice.
        with pytest.raises(RuntimeError, match="same dtype"):
            linear(states, weight.float(), bias.float())
    assert len(onednn) == 1


def test_what_else_there_is_goes_to_pytorch(onednn: list[tuple[int, ...]]) -> None:
    layer = Linear(7, 11)
    with torch.autocast("cpu", dtype=torch.float16):
        assert layer(torch.randn(5, 7)).dtype == torch.float16
    assert layer.double()(torch.randn(5, 7, dtype=torch.float64)).dtype == torch.float64
    assert layer.float()(torch.randn(0, 7)).shape == (0, 11)
    assert layer.to("meta")(torch.randn(5, 7, device="meta")).shape == (5, 11)
    plain = Linear(7, 11)
    plain.plain = True
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert plain(torch.randn(5, 7)).dtype == torch.bfloat16
    assert plain(torch.randn(5, 7)).shape == (5, 11)
    assert onednn == []


def test_weights_are_those_of_a_linear_layer() -> None:
    torch.manual_seed(3)
    own = Linear(7, 11)
    torch.manual_seed(3)
    usual = nn.Linear(7, 11)
    assert own.state_dict().keys() == usual.state_dict().keys()
    assert all(torch.equal(own.state_dict()[name], value) for name, value in usual.state_dict().items())


@there
@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda _: None, True),
        (lambda patch: patch.setattr("platform.machine", lambda: "aarch64"), False),
        (lambda patch: patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2"), False),
        (lambda patch: patch.setattr(torch.backends.mkl, "is_available", lambda: False), False),
        (lambda patch: patch.setattr(torch.backends.mkldnn, "is_available", lambda: False), False),
        (lambda patch: patch.delattr(torch.cpu, "get_capabilities"), False),
        (lambda patch: patch.setattr(torch.cpu, "get_capabilities", dict), False),
    ],
)
def test_processors(change: Callable[[Any], None], answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    for name, gains in (("AMD EPYC", answer), ("Intel Xeon", False)):
        processor = {"cpu_name": name}
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda processor=processor: processor, raising=False
        )
        onednn_is_faster.cache_clear()
        change(monkeypatch)
        assert onednn_is_faster() is gains

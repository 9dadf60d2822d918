"""Every tensor and gradient recorded from the published code, reproduced from its weights."""

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from contextblip.checkpoints import rename_published
from tests.parity_values import FOLDER, computed, computed_gradients, names, split_gradient_name

ABSENT = f"PARITY NOT CHECKED: no recorded tensors at {FOLDER}; set CONTEXTBLIP_PARITY"
ATOL, RTOL = 5e-5, 1e-4

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=ABSENT)


@pytest.mark.parametrize("name", names("expected.safetensors"))
def test_tensor_is_reproduced(name: str) -> None:
    with safe_open(str(FOLDER / "expected.safetensors"), "pt") as file:
        expected: Tensor = file.get_tensor(name)
    actual = computed()[name]
    assert actual.shape == expected.shape
    if expected.is_floating_point():
        torch.testing.assert_close(actual.detach(), expected, atol=ATOL, rtol=RTOL)
    else:
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("name", names("expected_grads.safetensors"))
def test_gradient_is_reproduced(name: str) -> None:
    with safe_open(str(FOLDER / "expected_grads.safetensors"), "pt") as file:
        recorded: Tensor = file.get_tensor(name)
    group, parameter = split_gradient_name(name)
    [(ours, expected)] = rename_published({parameter: recorded}).items()
    actual = computed_gradients(group)[ours]
    torch.testing.assert_close(actual, expected, atol=ATOL, rtol=RTOL)


@pytest.mark.parametrize("group", ["grad_total", "grad_stage1", "grad_stage2_video", "grad_stage2_static"])
def test_no_other_parameter_has_a_gradient(group: str) -> None:
    recorded = [split_gradient_name(name) for name in names("expected_grads.safetensors")]
    expected = {next(iter(rename_published({p: torch.empty(0)}))) for g, p in recorded if g == group}
    assert set(computed_gradients(group)) == expected


def test_static_sets_give_positions_no_gradient() -> None:
    gradient = computed_gradients("grad_stage2_static")["inter_context.position_embeddings.weight"]
    assert torch.equal(gradient, torch.zeros_like(gradient))

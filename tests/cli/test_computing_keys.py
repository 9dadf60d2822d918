"""`--compile` and `--gradient_checkpointing`: what they set, where they are refused, and the way back."""

import logging
import shutil
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer

from contextblip.cli import computing
from contextblip.cli.computing import ComputingOptions, compile_layers, computing_callbacks, why_not
from contextblip.errors import ConfigurationError
from contextblip.models import BackboneConfig, ContextBLIP

TRAINER = cast(Trainer, SimpleNamespace(is_global_zero=True))


@pytest.fixture
def model() -> ContextBLIP:
    torch.manual_seed(0)
    sizes = BackboneConfig(16, 4, 16, 2, 2, 32, 16, 2, 2, 32, 30, 12, 8, 29)
    return ContextBLIP.build(sizes, adapter_layers=[1], mim_decoder=True, decoder_heads=2, dropout=0.0)


def task(model: object) -> LightningModule:
    """Stand in for a task on the CPU."""
    return cast(LightningModule, SimpleNamespace(model=model, device=torch.device("cpu")))


def callbacks(**keys: Any) -> list[Any]:  # noqa: ANN401
    """Make those of a configuration."""
    off = {"compile": False, "gradient_checkpointing": False, "cache": None}
    return computing_callbacks(Namespace(**off | keys))  # type: ignore[no-untyped-call]


def test_nothing_is_added_where_all_is_off() -> None:
    assert callbacks() == []
    assert [type(one) for one in callbacks(compile="auto")] == [ComputingOptions]


@pytest.mark.parametrize("wanted", [True, False])
def test_checkpointing_reaches_both_encoders(model: ContextBLIP, wanted: bool) -> None:
    ComputingOptions("auto", wanted).on_fit_start(TRAINER, task(model))
    assert model.vision_encoder.gradient_checkpointing is wanted
    assert model.text_encoder.gradient_checkpointing is wanted


@pytest.mark.parametrize(("value", "expected"), [("auto", 0), (False, 0), (True, 1)])
def test_auto_does_not_compile_on_a_cpu(
    model: ContextBLIP,
    monkeypatch: pytest.MonkeyPatch,
    value: computing.Compile,
    expected: int,
) -> None:
    compiled: list[ContextBLIP] = []
    monkeypatch.setattr(computing, "why_not", lambda _: None)
    monkeypatch.setattr(computing, "compile_layers", compiled.append)
    options = ComputingOptions(value, gradient_checkpointing=False)
    options.on_fit_start(TRAINER, task(model))
    options.on_validation_start(TRAINER, task(model))  # within fit: not again
    assert len(compiled) == expected


def test_where_it_fails_the_reason_is_told(
    model: ContextBLIP, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Callable[..., Any]) -> None:
        raise RuntimeError("\nno C++ compiler here\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    with caplog.at_level(logging.WARNING):
        ComputingOptions(True, gradient_checkpointing=False).on_test_start(TRAINER, task(model))
    assert "fails here: RuntimeError: no C++ compiler here" in caplog.text


@pytest.mark.parametrize(("keys", "name"), [((True, False), "compile"), (("auto", True), "gradient_check")])
def test_tasks_without_these_layers_are_refused(keys: tuple[Any, bool], name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.* not for SimpleNamespace"):
        ComputingOptions(*keys).on_fit_start(TRAINER, task(object()))
    ComputingOptions("auto", gradient_checkpointing=False).on_fit_start(TRAINER, task(object()))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_compute_the_same(model: ContextBLIP) -> None:
    assert why_not(torch.device("cpu")) is None
    images, ids, mask = torch.randn(2, 3, 16, 16), torch.randint(5, 20, (3, 5)), torch.ones(3, 5)

    def run() -> torch.Tensor:
        embeds = model.encode_images(images).image_embeds
        index = torch.tensor([0, 1, 1, 0])
        fused = model.fuse(
            ids, mask, embeds, text_index=torch.tensor([0, 1, 2, 2]), image_index=index, whole=2
        )
        return torch.cat([fused.first_token.flatten(), fused.multimodal_embeds.flatten()])

    expected = run()
    names = list(model.state_dict())
    compile_layers(model)
    torch.testing.assert_close(run(), expected, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == names

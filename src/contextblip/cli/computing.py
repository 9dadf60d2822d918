"""`--compile`, `--gradient_checkpointing`, `--cache`: faster or smaller ways to the same results."""

import logging
from typing import Literal

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn

from contextblip.cli.processes import say
from contextblip.errors import ConfigurationError
from contextblip.models import ContextBLIP
from contextblip.vision_cache.command import add_cache_key, cache_callbacks

Compile = Literal["auto"] | bool  # a bare `on` or `off` is a boolean in YAML

log = logging.getLogger(__name__)


def add_computing_keys(parser: LightningArgumentParser) -> None:
    """Add the keys.

    Args:
        parser: Parser of one subcommand.
    """
    parser.add_argument(
        "--compile",
        type=Compile,
        default="auto",
        help="Compile the layers with torch.compile: on, off, or auto, on where there is a GPU.",
    )
    parser.add_argument(
        "--gradient_checkpointing",
        type=bool,
        default=False,
        help="Keep only each layer's input for the backward pass and compute the rest again.",
    )
    add_cache_key(parser)


def computing_callbacks(config: Namespace) -> list[Callback]:
    """Make what the keys ask for.

    Args:
        config: Values of the subcommand.

    Returns:
        One callback an option, none for what is off.
    """
    compile_layers, gradient_checkpointing = config["compile"], config["gradient_checkpointing"]
    wanted = compile_layers or gradient_checkpointing
    options: list[Callback] = [ComputingOptions(compile_layers, gradient_checkpointing)] if wanted else []
    return [*options, *cache_callbacks(config["cache"])]


class ComputingOptions(Callback):
    """Sets both options on the task's model before its first step.

    Args:
        compile_layers: ``auto`` compiles on a GPU only: on a CPU compiling takes longer than most runs gain.
        gradient_checkpointing: Whether layers are computed again in the backward pass.
    """

    def __init__(self, compile_layers: Compile, gradient_checkpointing: bool) -> None:
        self.compile_layers = compile_layers
        self.gradient_checkpointing = gradient_checkpointing
        self._compiled: nn.Module | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set both.

        Args:
            trainer: Unused.
            pl_module: The task.

        Raises:
            ConfigurationError: The task has no ContextBLIP.
        """
        model = self._model_of(pl_module)
        if model is not None:
            model.vision_encoder.gradient_checkpointing = self.gradient_checkpointing
            model.text_encoder.gradient_checkpointing = self.gradient_checkpointing
        self._compile(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile, unless fit has done so."""
        self._compile(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile."""
        self._compile(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile."""
        self._compile(trainer, pl_module)

    def _compile(self, trainer: Trainer, pl_module: LightningModule) -> None:
        device, model = pl_module.device, self._model_of(pl_module)
        wanted = device.type == "cuda" if self.compile_layers == "auto" else self.compile_layers
        if model is None or not wanted or self._compiled is model:
            return
        self._compiled = model
        if reason := why_not(device):
            if trainer.is_global_zero:
                log.warning("compile: layers run as they are, for torch.compile fails here: %s", reason)
            return
        compile_layers(model)
        if trainer.is_global_zero:
            say("compile: the layers are compiled as they are first used; the first steps take longer")

    def _model_of(self, task: LightningModule) -> ContextBLIP | None:
        """Return the task's model; one of another kind has none of these layers."""
        model = getattr(task, "model", None)
        if isinstance(model, ContextBLIP):
            return model
        if self.compile_layers is True or self.gradient_checkpointing:
            key = "gradient_checkpointing" if self.gradient_checkpointing else "compile"
            raise ConfigurationError(
                f"{key} is for the tasks of contextblip.tasks, not for {type(task).__name__}: leave it out"
            )
        return None


def why_not(device: torch.device) -> str | None:
    """Try torch.compile on something small.

    Args:
        device: Where the model is.

    Returns:
        Why it fails, in one line, e.g. that there is no C++ compiler; ``None`` where it works.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8, device=device))
    except Exception as error:  # whatever the compilers of this machine raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
    return None


def compile_layers(model: ContextBLIP) -> None:
    """Compile the repeated layers in place, each kind once; names of parameters stay.

    What lies between them (embeddings, the choice of masks, heads) is little work and depends on the data. A
    layer that torch.compile cannot take after all runs as it is, and PyTorch warns of the reason.

    Args:
        model: The model, on its device.
    """
    parts: list[nn.Module] = [*model.vision_encoder.blocks, *model.text_encoder.layers]
    if model.mim_decoder is not None:
        parts.extend(model.mim_decoder.layers)
    torch._dynamo.config.suppress_errors = True
    for part in parts:
        part.compile()

"""Optimisers, parameter groups and learning-rate schedules (paper, Tables 11 and 12)."""

import math
from collections.abc import Iterable
from typing import Any, Literal, TypedDict

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

from contextblip.errors import ConfigurationError

OptimizerName = Literal["adam", "adamw"]
ScheduleName = Literal["cosine", "published"]

# The published code multiplies the learning rate by this after every epoch of pre-training.
PUBLISHED_DECAY = 0.9


class ParameterGroup(TypedDict):
    """Parameters that share a learning rate and a weight decay."""

    params: list[nn.Parameter]
    lr: float
    weight_decay: float


def parameter_group(modules: Iterable[nn.Module], lr: float, weight_decay: float) -> list[ParameterGroup]:
    """Collect the trainable parameters of some modules.

    Args:
        modules: Where they are.
        lr: Their learning rate.
        weight_decay: Their weight decay.

    Returns:
        One group, or none where nothing is trainable.
    """
    params = [p for module in modules for p in module.parameters() if p.requires_grad]
    return [{"params": params, "lr": lr, "weight_decay": weight_decay}] if params else []


def decayed_groups(module: nn.Module, lr: float, weight_decay: float) -> list[ParameterGroup]:
    """Split the trainable parameters so that only matrices decay, not biases, norms or scalars.

    Args:
        module: Where they are.
        lr: Their learning rate.
        weight_decay: Weight decay of the matrices.

    Returns:
        The group that decays and the one that does not.
    """
    params = [p for p in module.parameters() if p.requires_grad]
    matrices, others = [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]
    groups: list[ParameterGroup] = [{"params": matrices, "lr": lr, "weight_decay": weight_decay}]
    return [*groups, {"params": others, "lr": lr, "weight_decay": 0.0}]


def build_optimizer(
    name: OptimizerName, groups: list[ParameterGroup], betas: tuple[float, float]
) -> Optimizer:
    """Build the optimiser over parameter groups.

    Args:
        name: ``adam`` (weight decay as an L2 term of the gradient) or ``adamw`` (decoupled).
        groups: Each with its learning rate and weight decay.
        betas: Decay rates of the two moments, each in [0, 1).

    Returns:
        The optimiser.
    """
    # The stubs of torch know groups as plain dictionaries only.
    plain: list[dict[str, Any]] = [dict(group) for group in groups]
    return Adam(plain, betas=betas) if name == "adam" else AdamW(plain, betas=betas)


def warmup_cosine_lr(
    step: int, total_steps: int, lr: float, warmup_steps: int, warmup_lr: float, min_lr: float
) -> float:
    """Return the learning rate of linear warm-up followed by a cosine to the minimum.

    The warm-up runs over ``warmup_steps`` wherever in an epoch it ends; the cosine spans what is left.

    Args:
        step: Optimiser steps done.
        total_steps: Optimiser steps of the whole run.
        lr: Highest learning rate, reached after the warm-up.
        warmup_steps: Length of the warm-up, in steps.
        warmup_lr: Learning rate of step 0.
        min_lr: Learning rate of step ``total_steps``.

    Returns:
        The learning rate.
    """
    if step < warmup_steps:
        return warmup_lr + (lr - warmup_lr) * step / warmup_steps
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


def published_lr(
    epoch: int, iteration: int, lr: float, warmup_steps: int, warmup_lr: float, min_lr: float
) -> float:
    """Return the published code's learning rate: warm-up in epoch 0 only, then a factor per epoch.

    A warm-up longer than epoch 0 is cut off there, so the rate jumps.

    Args:
        epoch: Epochs done.
        iteration: Steps done in this epoch.
        lr: Highest learning rate.
        warmup_steps: Length of the warm-up, in steps.
        warmup_lr: Learning rate of the first step.
        min_lr: Floor of the decay.

    Returns:
        The learning rate.
    """
    if epoch == 0:
        return min(lr, warmup_lr + (lr - warmup_lr) * iteration / max(warmup_steps, 1))
    return max(min_lr, lr * PUBLISHED_DECAY**epoch)


def build_schedule(
    name: ScheduleName,
    optimizer: Optimizer,
    *,
    total_steps: float,
    epoch_steps: float,
    lr: float,
    warmup_steps: int,
    warmup_lr: float,
    min_lr: float,
) -> LambdaLR:
    """Build a schedule that is stepped after every optimiser step.

    Args:
        name: ``cosine`` or ``published``.
        optimizer: All its groups must have ``lr`` as their learning rate.
        total_steps: Optimiser steps of the whole run.
        epoch_steps: Optimiser steps of an epoch.
        lr: Highest learning rate, above 0.
        warmup_steps: Length of the warm-up, in steps.
        warmup_lr: Learning rate at the start.
        min_lr: Learning rate at the end.

    Returns:
        The schedule.

    Raises:
        ConfigurationError: The run has no known length.
    """
    # Lightning says -1 or inf where it knows no end.
    if not 0 <= (total_steps if name == "cosine" else epoch_steps) < math.inf:
        raise ConfigurationError(f"the {name} schedule needs a run of known length: set --trainer.max_epochs")

    def cosine(step: int) -> float:
        return warmup_cosine_lr(step, int(total_steps), lr, warmup_steps, warmup_lr, min_lr) / lr

    def published(step: int) -> float:
        epoch, iteration = divmod(step, max(int(epoch_steps), 1))
        return published_lr(epoch, iteration, lr, warmup_steps, warmup_lr, min_lr) / lr

    # Plain functions: LambdaLR leaves them out of its state, which so stays loadable with weights_only.
    return LambdaLR(optimizer, cosine if name == "cosine" else published)


def exponential_schedule(optimizer: Optimizer, gamma: float) -> ExponentialLR:
    """Build a schedule that multiplies every learning rate by ``gamma`` after each epoch.

    Args:
        optimizer: Whose learning rates change.
        gamma: Factor in (0, 1].

    Returns:
        The schedule.
    """
    return ExponentialLR(optimizer, gamma)

"""Checks of hyper-parameters and of checkpoints, each failing with one clear line."""

from collections.abc import Sequence
from typing import Any, NoReturn

from contextblip.checkpoints import Backbone, check_metadata, checkpoint_metadata
from contextblip.checkpoints.kinds import METADATA_KEY
from contextblip.errors import CheckpointError, ConfigurationError
from contextblip.models.contextblip import BACKBONE_PARTS


def check(condition: bool, key: str, value: object, expected: str) -> None:
    """Stop with one clear line where a hyper-parameter cannot be used.

    Args:
        condition: What must hold.
        key: Name of the key, without ``model.``.
        value: What it was set to.
        expected: The range or the choices, in words.

    Raises:
        ConfigurationError: The condition does not hold.
    """
    if not condition:
        raise ConfigurationError(f"model.{key} is {value!r}, expected {expected}")


def check_schedule(lr: float, warmup_steps: int, warmup_lr: float, min_lr: float) -> None:
    """Check the keys of a warm-up and decay.

    Args:
        lr: Must be above 0.
        warmup_steps: Must be 0 or more.
        warmup_lr: Must lie between 0 and ``lr``.
        min_lr: Must lie between 0 and ``lr``.

    Raises:
        ConfigurationError: One of them does not.
    """
    check(lr > 0, "lr", lr, "a number above 0")
    check(warmup_steps >= 0, "warmup_steps", warmup_steps, "0 or more")
    check(0 <= warmup_lr <= lr, "warmup_lr", warmup_lr, f"a number from 0 to model.lr, {lr}")
    check(0 <= min_lr <= lr, "min_lr", min_lr, f"a number from 0 to model.lr, {lr}")


def check_optimizer(betas: Sequence[float], weight_decay: float) -> None:
    """Check the keys of Adam and AdamW.

    Args:
        betas: Two numbers in [0, 1).
        weight_decay: Must be 0 or more.

    Raises:
        ConfigurationError: One of them does not fit.
    """
    fits = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
    check(fits, "betas", betas, "two numbers from 0 to below 1")
    check(weight_decay >= 0, "weight_decay", weight_decay, "0 or more")


def check_numbers(key: str, chosen: Sequence[int] | None, highest: int) -> None:
    """Check a key that picks layers or heads of the text encoder.

    Args:
        key: Name of the key, without ``model.``.
        chosen: Numbers from 1; ``None`` means all.
        highest: How many the backbone has.

    Raises:
        ConfigurationError: There are none, or one that the backbone does not have.
    """
    fits = chosen is None or (len(chosen) > 0 and all(1 <= number <= highest for number in chosen))
    check(fits, key, chosen, f"numbers from 1 to {highest}, those of the backbone's text encoder")


def of_backbone(key: str) -> bool:
    """Whether a tensor of a task's state dict, such as ``model.itm_head.bias``, belongs to the backbone."""
    return key.startswith("model.") and key.split(".")[1] in (*BACKBONE_PARTS, "temperature")


def stamp(checkpoint: dict[str, Any], backbone: Backbone, adapted: bool) -> None:
    """Say in a checkpoint which backbone it belongs to, and leave that out if it is untouched.

    Args:
        checkpoint: Changed in place.
        backbone: What the task started from.
        adapted: Whether the weights of the backbone have been trained since.
    """
    if not adapted:
        tensors = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {key: value for key, value in tensors if not of_backbone(key)}
    checkpoint[METADATA_KEY] = checkpoint_metadata(backbone)


def check_stamp(checkpoint: dict[str, Any], backbone: Backbone) -> None:
    """Check that a checkpoint without its backbone belongs to the one that was loaded.

    Args:
        checkpoint: What was read.
        backbone: What was loaded.

    Raises:
        CheckpointError: It names no backbone, or another one.
    """
    if not any(of_backbone(key) for key in checkpoint["state_dict"]):
        check_metadata(checkpoint.get(METADATA_KEY) or {}, backbone, "the checkpoint")


def refuse(task: str, what: str, names: Sequence[str]) -> NoReturn:
    """Stop because of a checkpoint's tensors, naming the first few.

    Args:
        task: Name of the task's class.
        what: What is wrong with them.
        names: Their names.

    Raises:
        CheckpointError: Always.
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise CheckpointError(
        f"the checkpoint {what}: {', '.join(names[:3])}{more}; --ckpt_path takes a checkpoint of the same "
        f"{task} run, an earlier stage's goes to --model.init_from"
    )

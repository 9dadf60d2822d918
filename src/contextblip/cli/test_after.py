"""`fit --test_after`: a checkpoint that training leaves is tested in the same command."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden

from contextblip.cli.arguments import COMMAND_LINE, Source
from contextblip.errors import ConfigurationError

Which = Literal["best", "last"]


def check_test_after(config: Namespace, subcommand: str, sources: list[Source]) -> None:
    """Refuse, before anything is loaded, what could not be tested after training.

    Other commands pass over a key that a file holds, for the same file serves them all.

    Args:
        config: Values of the subcommand; changed in place where it is not ``fit``.
        subcommand: fit, validate, test or predict.
        sources: What was given where.

    Raises:
        ConfigurationError: There will be no such checkpoint, or the key was given to another command.
    """
    if subcommand != "fit":
        words = [key for source in sources if source.name == COMMAND_LINE for key, _ in source.entries]
        if "test_after" in words:
            raise ConfigurationError(f"--test_after is a key of fit; leave it out of {subcommand}")
        config["test_after"] = None
        return
    which: Which | None = config["test_after"]
    checkpoint, trainer = config["checkpoint"], config["trainer"]
    if which is None:
        return
    if trainer["limit_test_batches"] == 0:
        raise ConfigurationError(
            f"test_after {which}: trainer.limit_test_batches is 0, which tests nothing; leave one of them out"
        )
    if trainer["enable_checkpointing"] is False:
        raise ConfigurationError(
            f"test_after {which}: trainer.enable_checkpointing is false; leave one of them out"
        )
    if which == "last" and not checkpoint["save_last"]:
        raise ConfigurationError("test_after last: checkpoint.save_last is false; set it to true")
    if which == "best":
        _check_best(checkpoint["monitor"], checkpoint["save_top_k"], trainer["limit_val_batches"])


def _check_best(monitor: str | None, save_top_k: int, limit_val_batches: float | None) -> None:
    """Refuse where nothing says which checkpoint is the best."""
    if monitor is None:
        raise ConfigurationError(
            "test_after best: checkpoint.monitor names no metric to choose by; set it, for example to "
            "val/accuracy, or use --test_after last"
        )
    if save_top_k == 0:
        raise ConfigurationError("test_after best: checkpoint.save_top_k is 0; set it to 1")
    if limit_val_batches == 0 and monitor.startswith("val/"):
        raise ConfigurationError(
            f"test_after best: {monitor} is never measured with trainer.limit_val_batches 0; "
            "validate, or use --test_after last"
        )


class TestDataCheck(Callback):
    """Sets up the test data before training, so that what is missing is told at once.

    It asks a copy of the data module: one that keeps its data in the same attribute for all stages would
    otherwise train on the test split.

    Args:
        data: The data module, not set up yet.
    """

    __test__ = False  # no test of pytest's

    def __init__(self, data: LightningDataModule) -> None:
        self._data: LightningDataModule | None = deepcopy(data)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Find the test data.

        Args:
            trainer: Lent to the copy.
            pl_module: Unused.
            stage: Name of the Trainer's entry point.
        """
        if stage == "fit" and self._data is not None:
            self._data.trainer = trainer
            self._data.setup("test")
            self._data = None


def prepare_test_after(model: LightningModule, data: LightningDataModule | None) -> TestDataCheck:
    """Refuse tasks and data that have no test.

    Args:
        model: The task.
        data: The data module.

    Returns:
        The callback that looks for the test data before training.

    Raises:
        ConfigurationError: One of them has no test.
    """
    if data is None or not is_overridden("test_dataloader", data):
        name = "there are no data" if data is None else f"{type(data).__name__} has no test split"
        raise ConfigurationError(f"test_after: {name}; leave it out")
    if not is_overridden("test_step", model):
        raise ConfigurationError(f"test_after: {type(model).__name__} cannot be tested; leave it out")
    return TestDataCheck(data)


def checkpoint_to_test(which: Which, checkpoints: ModelCheckpoint) -> str:
    """Find the file that training left.

    Args:
        which: The best by the monitored metric, or the last.
        checkpoints: What wrote it.

    Returns:
        Its path.

    Raises:
        ConfigurationError: None was written.
    """
    path = checkpoints.best_model_path if which == "best" else checkpoints.last_model_path
    if not path:
        why = f"{checkpoints.monitor} was never measured" if which == "best" else "no step was trained"
        raise ConfigurationError(
            f"test_after {which}: training left no such checkpoint, for {why}; test another by "
            "`lightning test --ckpt_path`"
        )
    return path


def as_test(config: Namespace, path: str, accumulation: int) -> Namespace:
    """Turn the values of ``fit`` into those of the ``test`` that follows it.

    Args:
        config: Values of ``fit``.
        path: The checkpoint.
        accumulation: ``trainer.accumulate_grad_batches`` as given, before a global batch size was resolved.

    Returns:
        A copy, as if ``test`` had been called.
    """
    test = config.clone()
    test["ckpt_path"], test["test_after"] = path, None
    test["trainer"]["accumulate_grad_batches"] = accumulation
    return test

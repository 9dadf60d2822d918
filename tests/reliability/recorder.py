"""A callback that writes every step's samples and loss to a file, and may stop the process at one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from contextblip.cli.nonfinite import sample_ids


class StepRecorder(Callback):
    """Appends a line a step; of several processes each to a file of its own.

    Args:
        path: The file.
        stop_at: Optimiser step after which the process sends itself a signal; ``None``: none.
        number: Of the signal; 15 is SIGTERM.
        late: Batches after that step which come before the signal.
        rank: Of the process that sends it.
    """

    def __init__(
        self, path: str, stop_at: int | None = None, number: int = 15, late: int = 0, rank: int = 0
    ) -> None:
        self.path = Path(path)
        self.stop_at = stop_at
        self.number = number
        self.late = late
        self.rank = rank

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Write the line, whole and at once."""
        del pl_module
        assert isinstance(outputs, Mapping)
        line = {
            "step": trainer.global_step,
            "epoch": trainer.current_epoch,
            "batch": batch_idx,
            "samples": sample_ids(batch),
            "loss": float(outputs["loss"]).hex(),
        }
        path = self.path
        if trainer.world_size > 1:
            path = path.with_name(f"{path.name}.{trainer.global_rank}")
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if trainer.global_step != self.stop_at or trainer.global_rank != self.rank:
            return
        self.late -= 1
        if self.late < 0:
            self.stop_at = None
            os.kill(os.getpid(), self.number)


def read_steps(path: Path) -> dict[tuple[int, int], dict[str, object]]:
    """Read the lines by epoch and batch; steps that were run twice must have been the same.

    Raises:
        AssertionError: They were not.
    """
    found: dict[tuple[int, int], dict[str, object]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        key = line["epoch"], line["batch"]
        assert found.setdefault(key, line) == line, f"{found[key]} became {line}"
    return found

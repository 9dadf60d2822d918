"""Writes the numbers of a run as flat JSON."""

import json
import math
import os
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class MetricsWriter(Callback):
    """Keeps ``metrics.json`` in the run folder (``trainer.default_root_dir``): flat names to numbers.

    Names are those that were logged (``test/accuracy_video``, ``n/test/accuracy_video``). Numbers that an
    earlier command of the same run left stay unless they are measured again. What is not finite becomes null.

    Args:
        filename: Name of the file in the run folder.
    """

    def __init__(self, filename: str = "metrics.json") -> None:
        self.filename = filename

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write what validation measured.

        Args:
            trainer: Holds the metrics and knows the run folder.
            pl_module: Unused.
        """
        if not trainer.sanity_checking:
            self._write(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write what the epoch's training measured.

        Args:
            trainer: Holds the metrics and knows the run folder.
            pl_module: Unused.
        """
        self._write(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write what the test measured.

        Args:
            trainer: Holds the metrics and knows the run folder.
            pl_module: Unused.
        """
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        """Merge the current metrics into the file, replacing it in one step."""
        metrics = trainer.callback_metrics  # asked for in every process: computing them may synchronise
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False) or not metrics:
            return
        path = Path(trainer.default_root_dir) / self.filename
        merged = read_metrics(path) | {name: as_number(name, value) for name, value in metrics.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(
            json.dumps(dict(sorted(merged.items())), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        draft.replace(path)


def read_metrics(path: Path) -> dict[str, float | int | None]:
    """Read an earlier command's numbers.

    Args:
        path: A ``metrics.json``.

    Returns:
        Its content; nothing where the file is absent.
    """
    if not path.is_file():
        return {}
    content: dict[str, float | int | None] = json.loads(path.read_text(encoding="utf-8"))
    return content


def as_number(name: str, value: Tensor) -> float | int | None:
    """Turn a metric into a JSON number.

    Args:
        name: Its name; those below ``n/`` are counts.
        value: A scalar tensor.

    Returns:
        A whole number for counts, else a float; ``None`` for what is not finite.
    """
    number = float(value)
    if not math.isfinite(number):
        return None
    return round(number) if name.startswith("n/") else number

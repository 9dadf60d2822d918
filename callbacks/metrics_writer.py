"""Writes the numbers of a run as flat JSON."""

import json
import math
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from contextblip.replacing import replacing
from contextblip.run_record import current_config, note, numbers_key, read_record


class MetricsWriter(Callback):
    """Keeps ``metrics.json`` in the run folder (``trainer.default_root_dir``): flat names to numbers.

    Names are those that were logged (``test/accuracy_video``, ``n/test/accuracy_video``). A test takes away
    all that an earlier test of the same run left, validation what an earlier validation left, so that
    numbers of one stage are those of one command; ``configs.json`` names its configuration. What is not
    finite becomes null.

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
            self._write(trainer, "val")

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
        self._write(trainer, "test")

    def _write(self, trainer: Trainer, stage: str | None = None) -> None:
        """Put the current metrics into the file, in the place of all that it has of the stage."""
        metrics = trainer.callback_metrics  # asked for in every process: computing them may synchronise
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False) or not metrics:
            return
        path = Path(trainer.default_root_dir) / self.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = read_metrics(path)
        if stage is not None:
            kept = self._make_room(trainer, path, kept, stage)
        _replace(path, kept | {name: as_number(name, value) for name, value in metrics.items()})

    def _make_room(
        self, trainer: Trainer, path: Path, found: dict[str, float | int | None], stage: str
    ) -> dict[str, float | int | None]:
        """Leave out a stage's earlier numbers and record whose configuration the next ones belong to."""
        kept = {
            name: value for name, value in found.items() if not name.startswith((f"{stage}/", f"n/{stage}/"))
        }
        key, config = numbers_key(self.filename, stage), current_config(trainer)
        if read_record(path.parent).get(key) != config:
            if len(kept) < len(found):
                # were the run killed now, there would be no numbers rather than some under another's name
                _replace(path, kept)
            note(path.parent, key, config)
        return kept


def _replace(path: Path, metrics: dict[str, float | int | None]) -> None:
    """Write the file in one step."""
    with replacing(path) as draft:
        draft.write_text(
            json.dumps(dict(sorted(metrics.items())), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )


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

"""A progress bar that says how many images or queries a second pass."""

import io
import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities.types import STEP_OUTPUT

BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {throughput}{postfix}]"
LINE_FORMAT = "{desc}{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {throughput}{postfix}]"


class ThroughputBar(Tqdm):
    """A tqdm bar that counts samples beside batches; where nobody watches it writes a line now and then.

    Args:
        seconds_between_lines: Least time between two lines where the output is no terminal.
        kwargs: What tqdm takes.
    """

    def __init__(self, *, seconds_between_lines: float = 30.0, **kwargs: Any) -> None:  # noqa: ANN401  # tqdm's
        self.samples = 0
        self.sample_name = "batches"
        self.terminal = sys.stdout.isatty()
        self.seconds_between_lines = seconds_between_lines
        self.last_line, self.last_text = time.monotonic(), ""
        super().__init__(
            **kwargs,
            dynamic_ncols=True,
            smoothing=0,
            file=sys.stdout if self.terminal else io.StringIO(),  # lines are written by write_line
            bar_format=BAR_FORMAT if self.terminal else LINE_FORMAT,
        )

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the format may name: tqdm's values and ``throughput``."""
        values: dict[str, Any] = super().format_dict
        rate = self.samples / max(values["elapsed"], 1e-9)
        return values | {"throughput": f"{rate:.1f} {self.sample_name}/s"}

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Name what is going on; the number of the only loader is left out.

        Args:
            desc: The name.
            refresh: Whether to draw at once.
        """
        super().set_description(desc and desc.removesuffix(" DataLoader 0"), refresh)

    def reset(self, total: float | None = None) -> None:
        """Begin an epoch.

        Args:
            total: Number of batches, where it changed.
        """
        self.samples = 0
        self.sample_name = "batches"
        super().reset(total)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, or write a line if the last one is old.

        Args:
            msg: Text instead of the bar.
            pos: Row of the bar.

        Returns:
            True, as tqdm does.
        """
        if self.terminal:
            super().display(msg, pos)
        elif time.monotonic() - self.last_line >= self.seconds_between_lines:
            self.write_line()
        return True

    def write_line(self) -> None:
        """Write the present state as one line, where the output is no terminal."""
        text = str(self)
        if self.terminal or self.disable or not self.n or text == self.last_text:
            return
        self.last_line, self.last_text = time.monotonic(), text
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class ThroughputProgressBar(TQDMProgressBar):
    """Lightning's bar with images a second for captions and queries a second for retrieval.

    The rate counts all processes and leaves out the time of validation. In a terminal the bar takes one row
    and is cut at its width; elsewhere a line is written at each epoch's end and at most every 30 seconds.

    Args:
        refresh_rate: Batches between two updates; 0 shows nothing.
        leave: Whether the bar of each epoch stays.
    """

    def __init__(self, refresh_rate: int = 1, leave: bool = False) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self._validation_began = 0.0

    def _bar(self, description: str, *, leave: bool = True, row: int = 0) -> ThroughputBar:
        """Make a bar."""
        return ThroughputBar(desc=description, position=row, disable=self.is_disabled, leave=leave)

    def init_sanity_tqdm(self) -> Tqdm:
        """Make the bar of the check before training."""
        return self._bar(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> Tqdm:
        """Make the bar of training."""
        return self._bar(self.train_description)

    def init_validation_tqdm(self) -> Tqdm:
        """Make the bar of validation, below that of training where there is one."""
        alone = self.trainer.state.fn == "validate"
        return self._bar(self.validation_description, leave=alone, row=0 if alone else 1)

    def init_test_tqdm(self) -> Tqdm:
        """Make the bar of testing."""
        return self._bar(self.test_description)

    def init_predict_tqdm(self) -> Tqdm:
        """Make the bar of predicting."""
        return self._bar(self.predict_description)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Choose what stands beside the rate.

        Args:
            trainer: Holds the logged values.
            pl_module: The task.

        Returns:
            Values logged for the bar, without the version, which the run folder's name says.
        """
        return {
            name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"
        }

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Count the batch, then draw."""
        count_batch(self.train_progress_bar, batch, trainer.world_size)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's metrics."""
        super().on_train_epoch_end(trainer, pl_module)
        self.train_progress_bar.write_line()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop training's clock."""
        self._validation_began = time.time()
        super().on_validation_start(trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, *indices: int
    ) -> None:
        """Count the batch, then draw."""
        count_batch(self.val_progress_bar, batch, trainer.world_size)
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, *indices)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let training's clock go on."""
        if self._train_progress_bar is None:
            self.val_progress_bar.write_line()
        elif not self.train_progress_bar.disable:
            self.train_progress_bar.start_t += time.time() - self._validation_began
        super().on_validation_end(trainer, pl_module)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, *indices: int
    ) -> None:
        """Count the batch, then draw."""
        count_batch(self.test_progress_bar, batch, trainer.world_size)
        super().on_test_batch_end(trainer, pl_module, outputs, batch, *indices)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the final rate."""
        self.test_progress_bar.write_line()
        super().on_test_end(trainer, pl_module)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, *indices: int
    ) -> None:
        """Count the batch, then draw."""
        count_batch(self.predict_progress_bar, batch, trainer.world_size)
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, *indices)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the final rate."""
        self.predict_progress_bar.write_line()
        super().on_predict_end(trainer, pl_module)


def count_batch(bar: ThroughputBar, batch: object, world_size: int) -> None:
    """Add a batch's samples: queries of a retrieval batch, images of a caption batch, else texts.

    Args:
        bar: The bar in use.
        batch: What the data module gave.
        world_size: Number of processes, each of which has such a batch.
    """
    for key, name in (("queries", "queries"), ("images", "images"), ("input_ids", "texts")):
        if isinstance(batch, dict) and key in batch:
            bar.samples += len(batch[key]) * world_size
            bar.sample_name = name
            return
    bar.samples += world_size

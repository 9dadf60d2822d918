"""What lands in metrics.json."""

import json
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from callbacks import MetricsWriter
from contextblip.run_record import read_record
from contextblip.types import RetrievalBatch


def loader(batches: list[RetrievalBatch]) -> DataLoader[RetrievalBatch]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list is a data set


def test_flat_numbers_of_every_command_of_a_run(
    task: LightningModule, batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.json"
    trainer(MetricsWriter()).fit(task, loader(batches), loader(batches))
    assert set(json.loads(path.read_text())) == {"train/loss", "val/accuracy"}
    path.write_text(json.dumps({"test/accuracy": 0.1, "val/accuracy": 0.25}))
    trainer(MetricsWriter()).test(task, loader(batches), verbose=False)
    content = json.loads(path.read_text())
    assert content == {
        "n/test/accuracy": 7,
        "test/accuracy": 0.5,
        "test/loss": None,  # JSON has no NaN
        "val/accuracy": 0.25,
    }
    assert isinstance(content["n/test/accuracy"], int)
    assert [found.name for found in tmp_path.iterdir()] == ["metrics.json"]


class Configured(Callback):
    """Stands for the command's, which names the configuration it wrote."""

    def __init__(self, name: str) -> None:
        self.config_name = name


def test_numbers_of_one_stage_are_those_of_one_command(
    task: LightningModule, batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.json"
    earlier = {"test/accuracy/spatial": 0.5, "n/test/accuracy/spatial": 2, "val/ece": 0.25, "train/loss": 1.0}
    path.write_text(json.dumps(earlier))
    trainer(MetricsWriter(), Configured("config_test.yaml")).test(task, loader(batches), verbose=False)
    assert set(json.loads(path.read_text())) == {
        "n/test/accuracy", "test/accuracy", "test/loss", "train/loss", "val/ece",
    }  # fmt: skip
    trainer(MetricsWriter(), Configured("config_fit.yaml")).fit(task, loader(batches), loader(batches))
    assert set(json.loads(path.read_text())) == {
        "n/test/accuracy", "test/accuracy", "test/loss", "train/loss", "val/accuracy",
    }  # fmt: skip
    assert read_record(tmp_path) == {
        "metrics.json:test": "config_test.yaml",
        "metrics.json:val": "config_fit.yaml",
    }
    trainer(MetricsWriter()).validate(task, loader(batches), verbose=False)
    assert read_record(tmp_path) == {"metrics.json:test": "config_test.yaml"}, "by whatever command"


def test_predicting_measures_nothing(
    task: LightningModule, batches: list[RetrievalBatch], trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer(MetricsWriter()).validate(task, loader(batches), verbose=False)
    before = (tmp_path / "metrics.json").read_text()
    assert json.loads(before) == {"val/accuracy": 0.25}

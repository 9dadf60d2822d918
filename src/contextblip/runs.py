"""Reads what a run left in its folder: resolved configuration, numbers, answers."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from contextblip.errors import ConfigurationError
from contextblip.groups import Share
from contextblip.run_record import (
    CONFIG,
    METRICS,
    PREDICTIONS,
    config_of_numbers,
    is_tested,
    read_numbers,
    read_record,
)
from contextblip.safe_yaml import load_yaml
from contextblip.worlds import World, asks_for_miniature, is_drawn

DATASETS = {
    "ImageCoDeDataModule": "IMAGECODE",
    "MMVPVLMDataModule": "MMVP-VLM",
    "CocoRetrievalDataModule": "COCO",
    "CaptionDataModule": "captions",
}


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Where it lies.
        config: Resolved configuration of the command that made the numbers, else of the first command.
        metrics: What was measured, by name; ``None`` for what was not finite.
        first_config: Resolved configuration of the folder's first command, which trained if any did.
        config_file: Name of the file that holds `config`.
    """

    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    first_config: Mapping[str, Any] = field(default_factory=dict)
    config_file: str = CONFIG

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return str(self.config.get("experiment") or "")

    @property
    def task(self) -> str:
        """Class name of the task, such as ``ZeroShot``."""
        return _class_name(self.config, "model")

    @property
    def seed(self) -> int | None:
        """The seed of the run, ``None`` where it had none of its own."""
        seed = self.config.get("seed_everything")
        return seed if isinstance(seed, int) and not isinstance(seed, bool) else None

    @property
    def dataset(self) -> str:
        """``IMAGECODE``, ``MMVP-VLM``, ``COCO``, ``captions``, or the class name of another data module."""
        name = _class_name(self.config, "data")
        return DATASETS.get(name, name)

    @property
    def model(self) -> Mapping[str, Any]:
        """Keys of the task."""
        return _init_args(self.config, "model")

    @property
    def data(self) -> Mapping[str, Any]:
        """Keys of the data module."""
        return _init_args(self.config, "data")

    @property
    def world(self) -> World:
        """Whether its images were drawn: by the root's prefix, or by what the drawing left there."""
        root = str(self.data.get("root") or "")
        if asks_for_miniature(root):
            return "miniature"
        found = self.locate(root) if root else None
        return "miniature" if found and is_drawn(found) else "real"

    @property
    def is_tested(self) -> bool:
        """Whether its numbers are those of ``test``; else they are those of validation."""
        return is_tested(self.metrics)

    @property
    def split(self) -> str:
        """Split its numbers belong to: ``valid``, ``test`` or ``mmvp_vlm``."""
        if self.dataset == "MMVP-VLM":
            return "mmvp_vlm"
        if not self.is_tested:
            return "valid"
        return str(self.data.get("test_split") or self.data.get("split") or "valid")

    @property
    def missing_files(self) -> list[str]:
        """What a finished evaluation would have left and this folder lacks."""
        lacking = [] if self.metrics else [METRICS]
        expected = self.is_tested or not self.metrics
        return lacking + ([PREDICTIONS] if expected and not (self.folder / PREDICTIONS).is_file() else [])

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing: numbers, and answers where it was tested."""
        return not self.missing_files

    def share(self, name: str) -> Share | None:
        """Look an accuracy up: that of the test, or of validation where nothing was tested.

        Args:
            name: Such as ``accuracy_video`` or ``pair_accuracy/Color``.

        Returns:
            Value and number of answers, or ``None`` where it was not measured.
        """
        # never validation beside test within one run: they may be different splits
        stage = "test" if self.is_tested else "val"
        value, n = self.metrics.get(f"{stage}/{name}"), self.metrics.get(f"n/{stage}/{name}")
        return None if value is None or not n else Share(float(value), round(n))

    def answering(self) -> "Run":
        """Give the run with the configuration that its answers belong to.

        Returns:
            The run itself, unless its numbers are known to be of another command than its answers.
        """
        name = read_record(self.folder).get(PREDICTIONS, self.config_file)
        if name == self.config_file or not (self.folder / name).is_file():
            return self
        return replace(self, config=_read_config(self.folder / name), config_file=name)

    def predictions(self) -> list[dict[str, Any]]:
        """Read the answers.

        Returns:
            The rows of ``predictions.jsonl``, in order.

        Raises:
            ConfigurationError: There are none, or a line cannot be read.
        """
        path = self.folder / PREDICTIONS
        if not path.is_file():
            raise ConfigurationError(f"{path} not found: `lightning test` or `lightning predict` writes it")
        return list(_json_lines(path))

    def locate(self, name: str) -> Path | None:
        """Find a path that the configuration names, relative to a parent of the run folder or to here.

        Args:
            name: As written.

        Returns:
            Where it lies, or ``None``.
        """
        path = Path(name).expanduser()
        # the root of the file system would turn "data" into /data
        places = [*(parent / path for parent in list(self.folder.absolute().parents)[:-1]), path]
        return next((place for place in places if place.exists()), None)

    def upstream(self) -> "Run | None":
        """Read the run whose checkpoint this one started from.

        Returns:
            That run, or ``None`` where it started from a backbone alone or the folder is gone.
        """
        return self._upstream

    @cached_property
    def _upstream(self) -> "Run | None":
        for source in self.sources():
            # the checkpoint itself may have been cleared away
            checkpoint = Path(source)
            folder = self.locate(str(checkpoint.parent.parent if checkpoint.suffix else checkpoint))
            if folder and folder.resolve() != self.folder.resolve() and (folder / CONFIG).is_file():
                return read_run(folder)
        return None

    def sources(self) -> list[str]:
        """List the checkpoints it says it started from, those of its own folder among them."""
        named = (self.config.get("ckpt_path"), self.model.get("init_from"))
        first = _init_args(self.first_config, "model").get("init_from")
        return list(dict.fromkeys(str(source) for source in (*named, first) if source))


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Args:
        folder: As ``--run_dir`` named it, or ``runs/<experiment>/<version>``.

    Returns:
        The run; its metrics are empty where nothing was measured yet.

    Raises:
        ConfigurationError: It is no run folder, or a file in it cannot be read.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder: give the folder of a run, one with a {CONFIG}")
    if not (folder / CONFIG).is_file():
        raise ConfigurationError(f"{folder} is no run folder, it has no {CONFIG}{_inner_runs(folder)}")
    metrics = _read_metrics(folder)
    first = _read_config(folder / CONFIG)
    name = config_of_numbers(folder, metrics)
    config = first if name == CONFIG else _read_config(folder / name)
    if name.startswith("config_fit"):
        # training that was resumed started where its first command did
        config = config | {"ckpt_path": first.get("ckpt_path")}
    return Run(folder, config, metrics, first, name)


def _inner_runs(folder: Path) -> str:
    inner = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if not inner:
        return ""
    more = f" and {len(inner) - 4} more" if len(inner) > 4 else ""
    return f"; it holds runs: {', '.join(map(str, inner[:4]))}{more}"


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{path} cannot be read as YAML ({reason}); repeat the run") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} holds no keys; repeat the run")
    for part in ("model", "data"):
        if not isinstance(content.get(part), dict) or "class_path" not in content[part]:
            raise ConfigurationError(f"{path} has no {part}.class_path: no resolved configuration of a run")
    return content


def _read_metrics(folder: Path) -> dict[str, float | None]:
    content = read_numbers(folder)
    if not all(value is None or isinstance(value, int | float) for value in content.values()):
        raise ConfigurationError(f"{folder / METRICS} is not one object of names and numbers; repeat the run")
    return content


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigurationError(
                    f"{path}, line {number} is no JSON ({error}); repeat the run"
                ) from error
            if not isinstance(row, dict):
                raise ConfigurationError(f"{path}, line {number} is no object; repeat the run")
            yield row


def _class_name(config: Mapping[str, Any], part: str) -> str:
    return str(config.get(part, {}).get("class_path", "")).rpartition(".")[2]


def _init_args(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = config.get(part, {}).get("init_args") or {}
    return found

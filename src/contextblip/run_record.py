"""`configs.json`: which of a run folder's configurations its numbers and answers belong to."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contextblip.errors import ConfigurationError
from contextblip.replacing import replacing

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

CONFIG, METRICS, PREDICTIONS = "config.yaml", "metrics.json", "predictions.jsonl"
RECORD = "configs.json"


def read_numbers(folder: Path) -> dict[str, Any]:
    """Read a folder's numbers.

    Args:
        folder: A run folder.

    Returns:
        Content of its ``metrics.json``; nothing where it is absent.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    path = folder / METRICS
    return _read_json(path) if path.is_file() else {}


def is_tested(metrics: Mapping[str, object]) -> bool:
    """Tell whether some numbers are those of a test."""
    return any(name.startswith("test/") for name in metrics)


def numbers_key(filename: str, stage: str) -> str:
    """Name the numbers of a stage in the record.

    Args:
        filename: File that holds them.
        stage: ``val`` or ``test``.

    Returns:
        Such as ``metrics.json:test``.
    """
    return f"{filename}:{stage}"


def read_record(folder: Path) -> dict[str, str]:
    """Read which configuration belongs to what.

    Args:
        folder: A run folder.

    Returns:
        Names of configuration files by `numbers_key` or name of the predictions' file; nothing where no
        record was kept.

    Raises:
        ConfigurationError: The record cannot be read.
    """
    path = folder / RECORD
    content = _read_json(path) if path.is_file() else {}
    if not all(isinstance(value, str) for value in content.values()):
        raise ConfigurationError(f"{path} is not one object of names; repeat the run")
    return content


def note(folder: Path, key: str, config: str | None) -> None:
    """Record which configuration something belongs to, in one step.

    Args:
        folder: A run folder.
        key: What.
        config: Name of the file there; ``None`` where it is not known.
    """
    record = read_record(folder)
    if record.get(key) == config:
        return
    kept = {name: value for name, value in record.items() if name != key}
    _write(folder, kept if config is None else kept | {key: config})


def settle(folder: Path) -> None:
    """Record what holds for a folder without a record, before a further configuration is written into it.

    A command that then stops half-way leaves its configuration, and that is not mistaken for the one of the
    numbers that were there.

    Args:
        folder: A run folder.

    Raises:
        ConfigurationError: Its numbers cannot be read.
    """
    if (folder / RECORD).is_file():
        return
    metrics = read_numbers(folder)
    stages = [stage for stage in ("val", "test") if any(name.startswith(f"{stage}/") for name in metrics)]
    record = {numbers_key(METRICS, stage): _guess(folder, stage) for stage in stages}
    if "test" in stages and (folder / PREDICTIONS).is_file():
        record[PREDICTIONS] = _guess(folder, "test")
    if record:
        _write(folder, record)


def config_of_numbers(folder: Path, metrics: Mapping[str, object]) -> str:
    """Find the configuration that a folder's numbers belong to.

    Args:
        folder: A run folder.
        metrics: Its numbers; those of a test, if there are any, come before those of validation.

    Returns:
        Name of a file there: as recorded, else that of the last command that measured such numbers.
    """
    if not metrics:
        begun = _guess(folder, "test")
        return begun if begun != CONFIG else _guess(folder, "val")
    stage = "test" if is_tested(metrics) else "val"
    known = read_record(folder).get(numbers_key(METRICS, stage))
    return known if known is not None and (folder / known).is_file() else _guess(folder, stage)


def current_config(trainer: "Trainer") -> str | None:
    """Name the configuration of the command that runs.

    Args:
        trainer: Has the callback that wrote it, the one of a test after training behind that of ``fit``.

    Returns:
        Name of the file in the run folder, ``None`` where none was written.
    """
    callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it elsewhere
    names = (getattr(callback, "config_name", None) for callback in reversed(callbacks))
    return next((name for name in names if isinstance(name, str)), None)


def _guess(folder: Path, stage: str) -> str:
    """Take the last configuration of a stage's command, as is right unless that command was stopped."""
    command = {"test": "test", "val": "validate"}[stage]
    found = sorted(folder.glob(f"config_{command}*.yaml"), key=_number)
    return found[-1].name if found else CONFIG


def _number(path: Path) -> int:
    """Read the number of a repeated command's configuration."""
    found = re.search(r"_(\d+)$", path.stem)
    return int(found[1]) if found else 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is no JSON ({error}); repeat the run") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} is not one object; repeat the run")
    return content


def _write(folder: Path, record: Mapping[str, str]) -> None:
    with replacing(folder / RECORD) as draft:
        draft.write_text(json.dumps(dict(sorted(record.items())), indent=2) + "\n", encoding="utf-8")

"""Collects what a command is started with; a part that cannot be found out never stops the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from contextblip.cli.processes import warn
from contextblip.errors import ConfigurationError
from contextblip.provenance.command import command_line
from contextblip.provenance.inputs import describe_data, describe_weights
from contextblip.provenance.machine import describe_machine, package_versions
from contextblip.provenance.record import PROVENANCE, add_start

# Keys of tasks that name weights
_WEIGHTS = ("backbone", "init_from", "continue_from")


def record_start(
    path: Path, command: str, commit: str | None, config: Mapping[str, Any], trainer: Trainer
) -> None:
    """Write down what a command is started with, beside its configuration.

    Args:
        path: The configuration's file in the run folder.
        command: fit, validate, test or predict.
        commit: Of the sources, with a plus sign where tracked files differ; ``None`` outside a repository.
        config: The configuration, as plain values.
        trainer: Knows the devices and processes.
    """
    seed, data = config.get("seed_everything"), _init_args(config, "data")
    start = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "config": path.name,
        "line": _guarded(command_line),
        "revision": {
            "commit": commit and commit.removesuffix("+"),
            "dirty": None if commit is None else commit.endswith("+"),
        },
        "packages": _guarded(package_versions),
        "machine": _guarded(lambda: describe_machine(trainer)),
        "seeds": {"seed_everything": seed, "data": data.get("seed")},
        "data": _guarded(lambda: describe_data(str((config.get("data") or {}).get("class_path")), data)),
        "weights": _guarded(lambda: _weights(config, seed)),
    }
    try:
        add_start(path.parent, start)
    except (OSError, TypeError, ConfigurationError) as error:
        warn(f"{path.parent / PROVENANCE} is without this start: {error}")


def _weights(config: Mapping[str, Any], seed: object) -> dict[str, Any]:
    """Fingerprint all weights that the command starts from."""
    model = _init_args(config, "model")
    named = {name: model.get(name) for name in _WEIGHTS} | {"ckpt_path": config.get("ckpt_path")}
    return {name: describe_weights(source, seed) for name, source in named.items() if isinstance(source, str)}


def _guarded(describe: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever is described
    """Describe something, or say why that was not possible."""
    try:
        return describe()
    except Exception as error:  # a drive that is gone, a cache that is broken: the run itself may do without
        return {"unknown": f"{type(error).__name__}: {error}"}


def _init_args(config: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (config.get(section) or {}).get("init_args") or {}
    return found

"""Which settings differ between the runs of two groups, for the reader who asks what was changed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contextblip.runs import Run

# Where things lie, and how fast they are read, changes no answer
_BESIDE = frozenset({"root", "image_root", "num_workers", "eval_batch_size", "predict_split"})
VARIES = "varies"


def differing_settings(first: Sequence[Run], second: Sequence[Run]) -> dict[str, tuple[Any, Any]]:
    """Find the keys of task and data module that differ between two groups of runs.

    Args:
        first: Runs of one group.
        second: Runs of the other.

    Returns:
        Key to the value of each group: ``None`` where it has no such key, `VARIES` where its runs differ.
    """
    settings = [[dict(_flatten(run.config)) for run in group] for group in (first, second)]
    keys = dict.fromkeys(key for group in settings for run in group for key in run)
    values = {key: (_shared(settings[0], key), _shared(settings[1], key)) for key in keys}
    return {key: pair for key, pair in values.items() if pair[0] != pair[1]}


def _flatten(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """List the keys of task and data module that decide answers."""
    for section in ("model", "data"):
        chosen = config.get(section) or {}
        yield f"{section}.class_path", chosen.get("class_path")
        for key, value in (chosen.get("init_args") or {}).items():
            if key not in _BESIDE:
                yield f"{section}.{key}", value


def _shared(runs: Sequence[Mapping[str, Any]], key: str) -> object:
    """Return the value that all runs of a group have."""
    values = [run.get(key) for run in runs]
    return values[0] if all(value == values[0] for value in values) else VARIES


def show_settings(settings: Mapping[str, tuple[Any, Any]], most: int = 8) -> str:
    """Write differing settings on one line.

    Args:
        settings: What `differing_settings` found.
        most: How many are written out.

    Returns:
        Such as ``model.mask_ratio 0.25 -> 0.5, and 3 more``.
    """
    shown = [f"{key} {_short(first)} -> {_short(second)}" for key, (first, second) in settings.items()]
    more = [f"and {len(shown) - most} more"] if len(shown) > most else []
    return ", ".join([*shown[:most], *more])


def _short(value: object) -> str:
    """Write a value; of a class its name alone, and what is missing as a dash."""
    if isinstance(value, str) and value.startswith(("contextblip.", "data_modules.")):
        return value.rpartition(".")[2]
    return "-" if value is None else str(value)

"""Which settings differ between the runs of two groups, and that those of one group do not."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contextblip.errors import ConfigurationError
from contextblip.run_record import CONFIG
from contextblip.runs import Run

# Where things lie, and how fast they are read, changes no answer
_BESIDE = frozenset({"root", "image_root", "num_workers", "eval_batch_size", "predict_split"})
VARIES = "varies"
_LONGEST_CHAIN = 8


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


def refuse_unlike(name: str, group: Sequence[Run]) -> None:
    """Stop where the runs of a group differ in more than their seeds.

    Args:
        name: ``A`` or ``B``.
        group: Its runs.

    Raises:
        ConfigurationError: Two of them differ in the task or in a setting of task or data module.
    """
    first = group[0]
    for other in group[1:]:
        changed = _unlike(first, first.config, other, other.config) or _unlike(
            first, first.first_config, other, other.first_config
        )
        if changed:
            raise ConfigurationError(
                f"{name}: {first.folder} and {other.folder} differ in more than their seeds "
                f"({show_settings(changed, 3)}); give runs of one configuration to each of A and B"
            )


def unlike_sources(name: str, group: Sequence[Run]) -> list[str]:
    """Say where the runs of a group started from runs that differ in more than their seeds.

    Args:
        name: ``A`` or ``B``.
        group: Its runs.

    Returns:
        At most one sentence; sources that are no longer there are passed over.
    """
    first = _sources(group[0])
    for other in group[1:]:
        for ours, theirs in zip(first, _sources(other), strict=False):
            if changed := _unlike(ours, ours.first_config, theirs, theirs.first_config):
                return [
                    f"The runs of {name} are not alike: they started from {ours.folder} and {theirs.folder}, "
                    f"which differ in more than their seeds ({show_settings(changed, 3)})."
                ]
    return []


def _sources(run: Run) -> list[Run]:
    """List the runs that a run started from, the nearest first."""
    found: list[Run] = []
    while len(found) < _LONGEST_CHAIN and (before := (found[-1] if found else run).upstream()) is not None:
        found.append(before)
    return found


def _unlike(
    first: Run, first_config: Mapping[str, Any], other: Run, other_config: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Find what differs between two runs that should differ in their seeds alone."""
    settings = [
        {key: _without_seed(run, key, value) for key, value in _flatten(config)}
        for run, config in ((first, first_config), (other, other_config))
    ]
    keys = dict.fromkeys(key for values in settings for key in values if key != "data.seed")
    pairs = {key: (settings[0].get(key), settings[1].get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _without_seed(run: Run, key: str, value: object) -> object:
    """Name a file of another run by what it is: the folder of that run follows its seed."""
    if not isinstance(value, str):
        return value
    if key == "model.init_from":
        return "a checkpoint"
    if key.endswith(".backbone"):
        parent = Path(value).parent
        found = run.locate(str(parent)) if parent.parts else None
        return Path(value).name if found and (found / CONFIG).is_file() else value
    return value


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

"""The sweep file: stages, what varies, seeds and what is measured; checked before anything is planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from contextblip.cli.arguments import COMMANDS
from contextblip.cli.errors import nearest
from contextblip.errors import ConfigurationError
from contextblip.paper import paper_table
from contextblip.safe_yaml import load_yaml
from contextblip.sweeps.fields import Fields, choose, refuse_repeats

_SWEEP_KEYS = ("name", "title", "paper", "stages", "axes", "variants", "seeds", "measures")
_STAGE_KEYS = ("name", "command", "configs", "arguments", "init_from", "checkpoint")
_AXIS_KEYS = ("key", "values", "label", "stages")
_VARIANT_KEYS = ("name", "stages")
_CHANGE_KEYS = ("configs", "replace_configs", "arguments")


@dataclass(frozen=True)
class Stage:
    """One command of an experiment.

    Attributes:
        name: Names the run folders.
        command: fit, validate, test or predict.
        configs: Files of ``--config``.
        arguments: Further keys and values.
        init_from: Earlier stage whose checkpoint this one starts from.
        checkpoint: Which of its checkpoints, best or last; ``None``: best where the stage keeps one.
    """

    name: str
    command: str
    configs: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class Axis:
    """A key that takes several values.

    Attributes:
        key: As on the command line, e.g. ``model.mask_ratio``.
        values: What it takes in turn.
        label: Its name on the plot's axis.
        stages: The stages it applies to; empty: every one whose task has it.
    """

    key: str
    values: tuple[Any, ...]
    label: str
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """What a variant adds to a stage.

    Attributes:
        configs: Further files.
        replace_configs: Files in place of the stage's own; empty keeps those.
        arguments: Further keys and values.
    """

    configs: tuple[str, ...] = ()
    replace_configs: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """A named row of a table.

    Attributes:
        name: Its name.
        changes: Stages to what is added to them; ``None`` leaves the stage out.
    """

    name: str
    changes: dict[str, Change | None]


@dataclass(frozen=True)
class Sweep:
    """A sweep file's content.

    Attributes:
        name: Names the folder of what it makes.
        title: Heading of table and plot.
        paper: The table of the paper it repeats.
        stages: In order.
        axes: What varies as a grid.
        variants: What varies row by row.
        seeds: Each point runs with every one; ``None`` leaves the experiments' own.
        measures: Stages to the metrics that are kept of them.
    """

    name: str
    title: str
    paper: str | None
    stages: tuple[Stage, ...]
    axes: tuple[Axis, ...]
    variants: tuple[Variant, ...]
    seeds: tuple[int | None, ...]
    measures: dict[str, tuple[str, ...]]


def read_sweeps(path: Path) -> list[Sweep]:
    """Read a sweep file, or all files that it lists under ``sweeps``.

    Args:
        path: The file.

    Returns:
        The sweeps in their order.

    Raises:
        ConfigurationError: A file is missing or something in it cannot be used.
    """
    content = _load(path)
    if isinstance(content, dict) and "sweeps" in content:
        fields = Fields.of(content, str(path), ("name", "title", "sweeps"))
        fields.need("sweeps", list)
        found = [_parse(_load(path.parent / name), path.parent / name) for name in fields.texts("sweeps")]
        refuse_repeats([sweep.name for sweep in found], "sweep", str(path))
        return found
    return [_parse(content, path)]


def _load(path: Path) -> object:
    """Read YAML."""
    if not path.is_file():
        choices = [str(file) for file in sorted(path.parent.glob("*.y*ml"))] if path.parent.is_dir() else []
        choices += [str(file) for file in sorted(Path("experiments/sweeps").glob("*.yaml"))]
        raise ConfigurationError(f"sweep file {path}: no such file{nearest(str(path), choices)}")
    try:
        content: object = load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: no valid YAML: {error}") from error
    return content


def _parse(content: object, path: Path) -> Sweep:
    """Check a file's content."""
    place = str(path)
    fields = Fields.of(content, place, _SWEEP_KEYS)
    name = fields.get("name", str, path.stem)
    if Path(name).name != name or name in ("runs", ".", ".."):
        raise ConfigurationError(f"{place}: name {name!r} must be a plain folder name other than runs")
    stages = _stages(fields)
    names = [stage.name for stage in stages]
    axes = tuple(_axes(fields, names))
    variants = tuple(_variants(fields, names))
    if axes and variants:
        raise ConfigurationError(f"{place}: axes and variants exclude each other; leave one of them out")
    measures = _measures(fields, names)
    return Sweep(
        name=name,
        title=fields.get("title", str, name.replace("_", " ")),
        paper=_paper(fields, has_measures=any(measures.values())),
        stages=stages,
        axes=axes,
        variants=variants,
        seeds=_seeds(fields),
        measures=measures,
    )


def _paper(fields: Fields, *, has_measures: bool) -> str | None:
    """Read which table of the paper belongs to ours."""
    paper: str | None = fields.get("paper", str)
    if paper is None:
        return None
    try:
        paper_table(paper)
    except ConfigurationError as error:
        raise ConfigurationError(f"{fields.place}: paper: {error}") from error
    if not has_measures:
        raise ConfigurationError(
            f"{fields.place}: paper {paper} has nothing to stand beside; say what is measured, "
            "e.g. measures: {zero_shot: [accuracy]}"
        )
    return paper


def _stages(fields: Fields) -> tuple[Stage, ...]:
    """Read the stages; each may start from an earlier one."""
    stages: list[Stage] = []
    for position, value in enumerate(fields.need("stages", list)):
        place = f"{fields.place}: stages[{position}]"
        stage = Fields.of(value, place, _STAGE_KEYS)
        name = stage.need("name", str)
        if not name.replace("_", "").isalnum():
            raise ConfigurationError(f"{place}: name {name!r} must be letters, digits and underscores")
        stage = Fields(f"{fields.place}: stage {name}", stage.values)
        refuse_repeats([*(earlier.name for earlier in stages), name], "stage", fields.place)
        init_from, checkpoint = stage.get("init_from", str), stage.get("checkpoint", str)
        if init_from is not None:
            choose(
                init_from, [earlier.name for earlier in stages], "earlier stage", f"{stage.place}: init_from"
            )
        if checkpoint is not None:
            choose(checkpoint, ("best", "last"), "checkpoint", stage.place)
        stage.need("configs", list)
        stages.append(
            Stage(
                name,
                choose(stage.need("command", str), COMMANDS, "command", stage.place),
                tuple(stage.texts("configs")),
                stage.get("arguments", dict, {}),
                init_from,
                checkpoint,
            )
        )
    return tuple(stages)


def _axes(fields: Fields, stages: list[str]) -> Iterator[Axis]:
    """Read the axes of the grid."""
    keys: list[str] = []
    for position, value in enumerate(fields.get("axes", list, [])):
        axis = Fields.of(value, f"{fields.place}: axes[{position}]", _AXIS_KEYS)
        key = axis.need("key", str).removeprefix("--")
        keys.append(key)
        refuse_repeats(keys, "axis", fields.place)
        values = axis.need("values", list)
        refuse_repeats(values, "value", f"{fields.place}: axis {key}")
        chosen = [
            choose(name, stages, "stage", f"{fields.place}: axis {key}") for name in axis.texts("stages")
        ]
        label = axis.get("label", str, key.rpartition(".")[2].replace("_", " "))
        yield Axis(key, tuple(values), label, tuple(chosen))


def _variants(fields: Fields, stages: list[str]) -> Iterator[Variant]:
    """Read the variants."""
    names: list[str] = []
    for position, value in enumerate(fields.get("variants", list, [])):
        variant = Fields.of(value, f"{fields.place}: variants[{position}]", _VARIANT_KEYS)
        name = variant.need("name", str)
        names.append(name)
        refuse_repeats(names, "variant", fields.place)
        place = f"{fields.place}: variant {name!r}"
        changes: dict[str, Change | None] = {}
        for stage, change in variant.get("stages", dict, {}).items():
            choose(str(stage), stages, "stage", place)
            changes[stage] = None if change is None else _change(change, f"{place}: {stage}")
        if all(stage in changes and changes[stage] is None for stage in stages):
            raise ConfigurationError(f"{place} leaves every stage out")
        yield Variant(name, changes)


def _change(value: object, place: str) -> Change:
    """Read what a variant adds to a stage."""
    fields = Fields.of(value, place, _CHANGE_KEYS)
    return Change(
        tuple(fields.texts("configs")),
        tuple(fields.texts("replace_configs")),
        fields.get("arguments", dict, {}),
    )


def _seeds(fields: Fields) -> tuple[int | None, ...]:
    """Read the seeds."""
    seeds = fields.get("seeds", list, [])
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise ConfigurationError(f"{fields.place}: seeds must be whole numbers from 0, not {seed!r}")
    refuse_repeats(seeds, "seed", fields.place)
    return tuple(seeds) or (None,)


def _measures(fields: Fields, stages: list[str]) -> dict[str, tuple[str, ...]]:
    """Read the metrics kept of each stage."""
    measures = Fields.of(fields.get("measures", dict, {}), f"{fields.place}: measures", stages)
    return {stage: tuple(measures.texts(stage)) for stage in measures.values}

"""Planning: every stage of every point resolved, identified, and shared where it is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contextblip.cli.arguments import spell_out
from contextblip.cli.errors import nearest
from contextblip.cli.hardware import resolve_precision
from contextblip.errors import ConfigurationError
from contextblip.sweeps.definition import Stage, Sweep
from contextblip.sweeps.identity import configuration_digest, digest, identify
from contextblip.sweeps.inputs import miniature_record
from contextblip.sweeps.measures import check_measures
from contextblip.sweeps.plan import SHOWN_DIGITS, Plan, PlannedSweep, Point, Run, Trial, Use, points_of
from contextblip.sweeps.resolving import Resolver, find_value, list_keys, option, task_class
from contextblip.sweeps.run_state import CHECKPOINTS
from contextblip.vision_cache.callback import why_no_cache
from contextblip.worlds import world_of


@dataclass(frozen=True)
class Settings:
    """What the command line adds to sweep files.

    Attributes:
        out: Folder of everything a sweep makes.
        overlays: Folders whose files of the same name follow each configuration.
        values: Keys and values for every stage whose task has them.
        seeds: In place of the files'.
        allow_code: Whether values may name classes of other packages.
    """

    out: Path
    overlays: Sequence[Path] = ()
    values: Mapping[str, Any] | None = None
    seeds: Sequence[int] | None = None
    allow_code: bool = False


def make_plan(sweeps: Sequence[Sweep], settings: Settings) -> Plan:
    """Plan sweeps together, so that they share runs.

    Args:
        sweeps: The files' contents.
        settings: What the command line adds.

    Returns:
        The plan.

    Raises:
        ConfigurationError: A key, value or file cannot be used.
    """
    plan, planner = Plan(), Planner(settings)
    planner.check_overlays([stage for sweep in sweeps for stage in sweep.stages])
    for sweep in sweeps:
        planner.add(plan, sweep)
    return plan


class Planner:
    """Turns sweeps into runs.

    Args:
        settings: What the command line adds.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.resolver = Resolver(allow_code=settings.allow_code)

    def add(self, plan: Plan, sweep: Sweep) -> None:
        """Add a sweep's runs to a plan.

        Args:
            plan: Changed in place.
            sweep: The file's content.

        Raises:
            ConfigurationError: A key, value or file cannot be used.
        """
        if not self.settings.allow_code:  # classes of other packages may have metrics of any name
            check_measures(sweep)
        bases = {stage.name: self.resolver.resolve(self._base_words(stage)) for stage in sweep.stages}
        self._check_keys(sweep, bases)
        self._refuse_idle_values(sweep, bases)
        planned = PlannedSweep(sweep, points_of(sweep), [])
        for point in planned.points:
            for seed in self.settings.seeds or sweep.seeds:
                runs: dict[str, Run] = {}
                for stage in sweep.stages:
                    if point.changes.get(stage.name, "") is not None:
                        runs[stage.name] = self._run(sweep, stage, point, seed, bases[stage.name], runs)
                for name, run in runs.items():
                    shared = plan.runs.setdefault(run.hash, run)
                    use = Use(sweep.name, point.label, seed)
                    shared.used_by.extend([use] if use not in shared.used_by else [])
                    new = [m for m in sweep.measures.get(name, ()) if m not in shared.measures]
                    shared.measures.extend(new)
                planned.trials.append(Trial(point, seed, {name: run.hash for name, run in runs.items()}))
        plan.sweeps.append(planned)

    def check_overlays(self, stages: Sequence[Stage]) -> None:
        """Check that each overlay folder has something to lay over.

        Args:
            stages: All stages.

        Raises:
            ConfigurationError: It is no folder or has none of the files.
        """
        configs = list(dict.fromkeys(config for stage in stages for config in stage.configs))
        for overlay in self.settings.overlays:
            if not overlay.is_dir():
                raise ConfigurationError(f"--overlay {overlay}: no such folder")
            if not any(_laid_over(config, overlay).is_file() for config in configs):
                names = ", ".join(sorted({Path(config).name for config in configs}))
                raise ConfigurationError(f"--overlay {overlay} holds none of {names}")

    def _with_overlays(self, configs: Sequence[str]) -> list[str]:
        """List ``--config`` words; each file is followed by those that the overlays have for it."""
        words: list[str] = []
        for config in configs:
            laid = [_laid_over(config, overlay) for overlay in self.settings.overlays]
            files = [config, *(str(file) for file in laid if file.is_file())]
            words += [word for file in files for word in ("--config", file)]
        return words

    def _base_words(self, stage: Stage) -> list[str]:
        options = [option(key, value) for key, value in stage.arguments.items()]
        flags = ["--allow-code"] if self.settings.allow_code else []
        return [stage.command, *flags, *self._with_overlays(stage.configs), *options]

    def _words(self, stage: Stage, point: Point, base: dict[str, Any]) -> list[str]:
        """Build the command of a stage at a point, without seed and upstream."""
        words = self._base_words(stage)
        given = list((self.settings.values or {}).items())
        words += [option(key, value) for key, value in given if _reaches(key, stage, base)]
        if change := point.changes.get(stage.name):
            words += self._with_overlays(change.configs)
            words += [option(key, value) for key, value in change.arguments.items()]
        for key, value, stages in point.settings:
            if (not stages and find_value(base, spell_out(key))[0]) or stage.name in stages:
                words.append(option(key, value))
        return words

    def _run(
        self,
        sweep: Sweep,
        stage: Stage,
        point: Point,
        seed: int | None,
        base: dict[str, Any],
        earlier: dict[str, Run],
    ) -> Run:
        """Resolve and identify one run."""
        change = point.changes.get(stage.name)
        if change is not None and change.replace_configs:
            stage = replace(stage, configs=change.replace_configs)
            base = self.resolver.resolve(self._base_words(stage))
        words = self._words(stage, point, base)
        config = self.resolver.resolve(words)
        if seed is not None:
            words.append(option("seed_everything", seed))
            config["seed_everything"] = seed
        words += _settle_precision(config)
        upstream, kind = _upstream(sweep, stage, earlier), ""
        checkpoint = None
        if upstream is not None:
            kind = stage.checkpoint or _default_checkpoint(upstream)
            checkpoint = upstream.folder / CHECKPOINTS / f"{kind}.ckpt"
        identity = identify(config, stage.command, f"{upstream.hash} {kind}" if upstream else None)
        found = digest(identity)
        root = str(find_value(config, "data.init_args.root")[1])
        return Run(
            hash=found,
            stage=stage.name,
            folder=self._folder(stage.name, found),
            words=tuple(words),
            identity=identity,
            configuration=configuration_digest(
                identity, f"{upstream.configuration} {kind}" if upstream else None
            ),
            upstream=upstream.hash if upstream else None,
            checkpoint=checkpoint,
            draws=miniature_record(root),
            world=world_of(root),
        )

    def _folder(self, stage: str, found: str) -> Path:
        """Name the folder; another sweep may have run the same under another stage's name."""
        runs = self.settings.out / "runs"
        named = runs / f"{stage}-{found[:SHOWN_DIGITS]}"
        there = sorted(path for path in runs.glob(f"*-{found[:SHOWN_DIGITS]}") if path.is_dir())
        return named if named in there or not there else there[0]

    def _check_keys(self, sweep: Sweep, bases: dict[str, dict[str, Any]]) -> None:
        """Check that axes and ``--set`` name keys that some stage has, and stages can start from others."""
        for axis in sweep.axes:
            having = [name for name in bases if find_value(bases[name], spell_out(axis.key))[0]]
            for name in axis.stages:
                if name not in having:
                    place = f"sweep {sweep.name}: axis {axis.key}: stage {name}"
                    raise _no_such_key(place, axis.key, {name: bases[name]})
            if not having:
                raise _no_such_key(f"sweep {sweep.name}: axis {axis.key}", axis.key, bases)
        for key in self.settings.values or {}:
            if not any(_reaches(key, stage, bases[stage.name]) for stage in sweep.stages):
                if key == "cache":
                    raise ConfigurationError(f"--set cache: no stage of sweep {sweep.name} can use it")
                raise _no_such_key(f"--set {key}", key, bases)
        for stage in sweep.stages:
            if stage.init_from and not find_value(bases[stage.name], "model.init_args.init_from")[0]:
                task = bases[stage.name]["model"]["class_path"]
                raise ConfigurationError(f"sweep {sweep.name}: stage {stage.name}: {task} takes no init_from")

    def _refuse_idle_values(self, sweep: Sweep, bases: dict[str, dict[str, Any]]) -> None:
        """Refuse values of ``--set`` that the sweep's own replace in every stage."""
        for key in self.settings.values or {}:
            having = {name for name in bases if find_value(bases[name], spell_out(key))[0]}
            for axis in sweep.axes:
                if spell_out(axis.key) == spell_out(key) and having <= set(axis.stages or having):
                    raise ConfigurationError(
                        f"--set {key}: sweep {sweep.name} sweeps this key; change the values of its axis"
                    )
            if key == "seed_everything" and (self.settings.seeds or sweep.seeds != (None,)):
                raise ConfigurationError(f"--set {key}: sweep {sweep.name} sets the seeds; say --seeds SEED")


def _laid_over(config: str, overlay: Path) -> Path:
    """Find an overlay's file for a configuration: at the same place below the overlay's parent.

    For ``experiments/ablations/flips.yaml`` it is ``experiments/miniature/ablations/flips.yaml``, there or
    not; for a configuration from elsewhere the file of its name.
    """
    path, parent = Path(config).absolute(), overlay.absolute().parent
    inside = path.is_relative_to(parent) and not path.is_relative_to(overlay.absolute())
    return overlay / (path.relative_to(parent) if inside else path.name)


def _no_such_key(place: str, key: str, bases: dict[str, dict[str, Any]]) -> ConfigurationError:
    choices = sorted({known for base in bases.values() for known in list_keys(base)})
    return ConfigurationError(f"{place}: no task has such a key{nearest(key, choices)}")


def _reaches(key: str, stage: Stage, base: dict[str, Any]) -> bool:
    """Whether a key of ``--set`` is for a stage: others have no such key, or refuse the cache."""
    if key != "cache":
        return find_value(base, spell_out(key))[0]
    task, augment = task_class(base), find_value(base, "data.init_args.augment")[1]
    augments = stage.command == "fit" and bool(augment)
    return task is not None and why_no_cache(task, augments=augments) is None


def _settle_precision(config: dict[str, Any]) -> list[str]:
    """Replace ``auto`` by what this machine is good at, so that runs of all machines are alike.

    Returns:
        The words that say so to the command.
    """
    trainer = config["trainer"]
    if trainer.get("precision") != "auto":
        return []
    trainer["precision"] = resolve_precision("auto", trainer["accelerator"])
    return [option("trainer.precision", trainer["precision"])]


def _upstream(sweep: Sweep, stage: Stage, earlier: dict[str, Run]) -> Run | None:
    """Find the run to start from; a stage that is left out hands its own start on."""
    by_name = {other.name: other for other in sweep.stages}
    name = stage.init_from
    while name is not None and name not in earlier:
        name = by_name[name].init_from
    return None if name is None else earlier[name]


def _default_checkpoint(upstream: Run) -> str:
    """Choose the best checkpoint where the stage keeps exactly one, else the last."""
    kept = upstream.identity.get("checkpoint", {})
    is_named_best = kept.get("filename") is None and kept.get("save_top_k") == 1
    return "best" if kept.get("monitor") is not None and is_named_best else "last"

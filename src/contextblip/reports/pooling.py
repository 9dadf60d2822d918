"""Puts runs together that differ only in their seeds."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from contextblip.errors import ConfigurationError
from contextblip.estimates import mean_and_sd, wilson_of_share
from contextblip.reports.identity import Identity, chain, identify
from contextblip.runs import Run, read_run

# Keys that say where and on what a run ran, not what it did; seeds are what is pooled over
_IGNORED = {
    "": {
        "seed_everything",
        "experiment",
        "run_dir",
        "cache",
        "compile",
        "gradient_checkpointing",
        "ckpt_path",
        "weights_only",
    },
    "checkpoint": {"dirpath", "verbose"},
    "trainer": {
        "accelerator",
        "barebones",
        "callbacks",
        "default_root_dir",
        "devices",
        "enable_autolog_hparams",
        "enable_checkpointing",
        "enable_model_summary",
        "enable_progress_bar",
        "log_every_n_steps",
        "logger",
        "num_nodes",
        "profiler",
        "strategy",
    },
    "data": {"eval_batch_size", "num_workers", "seed"},
}
_PATHS = ("backbone", "init_from", "continue_from")


@dataclass(frozen=True)
class Estimate:
    """An accuracy over one or several seeds.

    Attributes:
        value: Mean over the seeds, in percent.
        n: Number of answers of each.
        low: Lower end of Wilson's 95% interval of the mean's share of ``n``, in percent.
        high: Its upper end.
        sd: Standard deviation over the seeds in points, ``None`` for one.
        seeds: How many runs were pooled.
    """

    value: float
    n: int
    low: float
    high: float
    sd: float | None
    seeds: int


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only in their seeds.

    Attributes:
        letter: Stands for them in tables.
        runs: In the order given.
        identity: What model they evaluated.
    """

    letter: str
    runs: tuple[Run, ...]
    identity: Identity

    @property
    def first(self) -> Run:
        """Speaks for all in what they have in common."""
        return self.runs[0]

    @property
    def folders(self) -> list[str]:
        """Where they lie."""
        return [str(run.folder) for run in self.runs]

    def estimate(self, name: str, divisor: int | None = None) -> Estimate | None:
        """Pool an accuracy.

        Args:
            name: As `Run.share` takes it.
            divisor: Divides the number of right answers instead of n.

        Returns:
            Mean, interval and spread, or ``None`` where it was not measured.

        Raises:
            ConfigurationError: The runs counted different numbers of queries.
        """
        shares = [(run, share) for run in self.runs if (share := run.share(name)) is not None]
        if not shares:
            return None
        (first, (_, n)), *others = shares
        for other, share in others:
            if share.n != n:
                raise ConfigurationError(
                    f"{first.folder} and {other.folder} differ only in seed, but {name} has {n} answers in "
                    f"one, {share.n} in the other: evaluate both on the same queries"
                )
        total = divisor or n
        mean = mean_and_sd([share.correct / total for _, share in shares])
        interval = wilson_of_share(mean.mean, total)
        sd = None if mean.sd is None else 100 * mean.sd
        return Estimate(100 * mean.mean, total, 100 * interval.low, 100 * interval.high, sd, mean.n)

    def describe(self) -> str:
        """Name the runs, their task, backbone and seeds."""
        seeds = seed_words([_seeds(run) for run in self.runs])
        unsure = "; the run that trained its adapter is not at hand" if self.identity.is_unsure else ""
        backbone = Path(str(self.first.model.get("backbone") or "unknown")).name
        return f"{', '.join(self.folders)} ({self.first.task}, backbone {backbone}, {seeds}{unsure})"


def pool(runs: Iterable[Run]) -> list[RunGroup]:
    """Put runs together that differ only in their seeds.

    Args:
        runs: Of tasks that choose candidates; a folder given twice counts once.

    Returns:
        Groups in order of their first run, lettered from a.

    Raises:
        ConfigurationError: Two runs have the same configuration, and the same seed wherever one counts.
    """
    distinct = {run.folder.resolve(): run for run in runs}
    groups: dict[str, list[Run]] = {}
    for run in distinct.values():
        groups.setdefault(signature(run), []).append(run)
    for members in groups.values():
        _refuse_repetition(members)
    return [
        RunGroup(_letter(number), tuple(members), identify(members[0]))
        for number, members in enumerate(groups.values())
    ]


def signature(run: Run) -> str:
    """Return what a run did and started from as text: equal for runs that differ only in their seeds."""
    return json.dumps([_step(step) for step in chain(run)], sort_keys=True, default=str)


def seed_words(seeds: Sequence[tuple[int | None, ...]]) -> str:
    """Name the seeds of pooled runs.

    Args:
        seeds: Of each run: its own, then those of the runs it started from.

    Returns:
        Such as ``seed 42`` or ``seeds 42, 43``; all seeds of a chain where their own do not tell them apart.
    """
    own = [chained[:1] for chained in seeds]
    shown = own if len(set(own)) == len(own) else seeds
    words = ["/".join("none" if seed is None else str(seed) for seed in chained) for chained in shown]
    return f"seed{'s' if len(words) > 1 else ''} {', '.join(words)}"


def _refuse_repetition(members: Sequence[Run]) -> None:
    seen: dict[tuple[int | None, ...], Run] = {}
    for run in members:
        counting = tuple(_seed(step) for step in chain(run) if _draws(step))
        if (other := seen.setdefault(counting, run)) is not run:
            alone = "" if _seeds(other) == _seeds(run) else " (that of an evaluation changes nothing)"
            raise ConfigurationError(
                f"{other.folder} and {run.folder} have the same configuration and seeds{alone}: "
                "give one of them"
            )


def _seeds(run: Run) -> tuple[int | None, ...]:
    return tuple(_seed(step) for step in chain(run))


def _seed(step: Run) -> int | None:
    """Take the seed of the folder's first command: what it drew, later commands only read."""
    return replace(step, config=step.first_config or step.config).seed


def _draws(step: Run) -> bool:
    """Whether a run's seed changes its result: it trained, or it drew weights that no other run trained."""
    if step.task == "ZeroShot":
        return step.model.get("adapter_layers") != [] and not step.sources()
    trained = (step.folder / "checkpoints").is_dir() or any(
        name.startswith("train/") for name in step.metrics
    )
    first = step.first_config or step.config
    return trained or step.config != first or not first.get("ckpt_path")


def _step(run: Run) -> list[Any]:
    last, first = (_without_places(run, config) for config in (run.config, run.first_config or run.config))
    checkpoints = [Path(source).name for source in run.sources()]
    return [run.split, checkpoints, last, *([] if first == last else [first])]


def _without_places(run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what does not change the result; what other runs left is named by what those did."""
    kept = {key: value for key, value in config.items() if key not in _IGNORED[""]}
    for part in ("trainer", "checkpoint", "model", "data"):
        values = kept.get(part) or {}
        values = values.get("init_args", values)
        kept[part] = {key: value for key, value in values.items() if key not in _IGNORED.get(part, ())}
    for part in ("model", "data"):
        for key in _PATHS:
            if isinstance(name := kept[part].get(key), str):
                kept[part][key] = _stable_name(run, name)
    return kept | {"task": run.task, "dataset": run.dataset}


def _stable_name(run: Run, name: str) -> str:
    """Name a file of another run by what lies below that run's folder; its seed may be in the path."""
    parents = Path(name).parents
    for parent in parents[:2]:
        found = run.locate(str(parent)) if parent.parts else None
        if found and (found / "config.yaml").is_file():
            step = read_run(found)
            return f"{step.task}: {Path(name).relative_to(parent)}"
    return name


def _letter(number: int) -> str:
    """Count a, b, ..., z, aa, ab."""
    first, second = divmod(number, len(ascii_lowercase))
    return (ascii_lowercase[first - 1] if first else "") + ascii_lowercase[second]

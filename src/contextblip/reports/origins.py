"""Where runs that stand side by side were not made with the same sources, packages, machine and inputs."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from contextblip.errors import ConfigurationError
from contextblip.provenance.record import PROVENANCE, Start, read_starts
from contextblip.reports.identity import chain
from contextblip.runs import Run

UNKNOWN = "not known"
_SHOWN_DIGITS = 12
_MOST_NAMED = 4
# Part of a start, its key, and what it is called here
_FIELDS = (
    ("revision", "commit", "revision"),
    ("revision", "dirty", "uncommitted changes"),
    ("machine", "precision", "precision"),
    ("machine", "cuda", "CUDA"),
    ("machine", "driver", "GPU driver"),
    ("machine", "processes", "processes"),
)


@dataclass(frozen=True)
class _Origin:
    """What a run was started with.

    Attributes:
        run: Its folder.
        starts: Of the command that is looked at; several where it was resumed.
    """

    run: str
    starts: Sequence[Start]


def differing_origins(runs: Iterable[Run]) -> tuple[str, ...]:
    """Name where runs, or those they started from, were not made with the same things.

    Args:
        runs: Those of one report; one given twice counts once.

    Returns:
        A line a field that differs, with its values and the runs that have each; one more for runs of which
        it is not known. Nothing where all agree. Seeds, command lines and paths are expected to differ.
    """
    runs = list({_name(run): run for run in runs}.values())
    steps = {_name(step): step for run in runs for step in chain(run)}
    records = {name: _read(step.folder) for name, step in steps.items()}
    evaluated = [
        _Origin(name, [start for start in records[name] if start.get("config") == run.config_file])
        for name, run in zip(map(_name, runs), runs, strict=True)
    ]
    lines = _differences("", evaluated, _conditions)
    for data, names in _grouped(runs, lambda run: run.dataset).items():
        lines += _data_differences(f"{data}: ", [origin for origin in evaluated if origin.run in names])
    for task, names in _grouped(steps.values(), lambda step: step.task).items():
        fits = [_Origin(name, [s for s in records[name] if s.get("command") == "fit"]) for name in names]
        lines += _differences(f"training of {task}: ", fits, _conditions)
        lines += _data_differences(f"training of {task}: ", fits)
    unknown = [origin.run for origin in evaluated if not origin.starts]
    unknown += [name for name, starts in records.items() if not starts and name not in unknown]
    if unknown and len(runs) > 1:
        lines.append(f"what {_names(unknown)} was made with is not known: no entry in {PROVENANCE} there")
    return tuple(lines)


def _name(run: Run) -> str:
    """Name a run by its folder, as short as it can be."""
    whole, here = run.folder.absolute(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)


def _read(folder: Path) -> Sequence[Start]:
    """Read the starts of a run; none where they cannot be read, for the numbers do not depend on them."""
    try:
        return read_starts(folder)
    except ConfigurationError:
        return []


def _grouped(runs: Iterable[Run], kind: Callable[[Run], str]) -> dict[str, list[str]]:
    """Put runs of one kind together, those on drawn and on real images apart."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        title = kind(run) if run.world == "real" else f"{kind(run)} (miniature)"
        groups.setdefault(title, []).append(_name(run))
    return groups


def _conditions(start: Start) -> dict[str, str]:
    """Describe revision, packages, machine and backbone."""
    found = {title: _word(_part(start, part).get(key)) for part, key, title in _FIELDS}
    found["hardware"] = _hardware(_part(start, "machine"))
    found |= {name: _word(version) for name, version in _part(start, "packages").items()}
    backbone = _part(_part(start, "weights"), "backbone")
    if "drawn_with_seed" in backbone:
        found["backbone"] = _word(backbone.get("source"))  # seeds stand in the notes of the tables
    elif backbone:
        found["backbone"] = f"sha256 {_word(backbone.get('sha256'))}"
    return found


def _hardware(machine: Mapping[str, object]) -> str:
    gpus = machine.get("gpus")
    names = [str(name) for name in gpus] if isinstance(gpus, list) else []
    counted = [f"{names.count(name)} x {name}" for name in sorted(set(names))]
    return ", ".join(counted) or _word(machine.get("cpu"))


def _images(start: Start) -> dict[str, str]:
    """Describe the images by their number, size and names."""
    images = _part(_part(start, "data"), "images")
    counts = f"{images.get('files')} files of {images.get('bytes')} bytes"
    return {"images": f"{counts} (names and sizes {_word(images.get('sha256'))})" if images else UNKNOWN}


def _annotations(start: Start) -> dict[str, str]:
    """Give the fingerprint of each annotation file by its own name, wherever the root lay."""
    files: dict[str, list[str]] = {}
    for path, digest in _part(_part(start, "data"), "annotations").items():
        files.setdefault(PurePosixPath(path).name, []).append(str(digest))
    return {name: "+".join(sorted(digests)) for name, digests in files.items()}


def _data_differences(title: str, origins: Sequence[_Origin]) -> list[str]:
    """Compare annotation files, all that differ on one line, and images."""
    found = [_annotations(start) for origin in origins for start in origin.starts]
    names = dict.fromkeys(name for files in found for name in files)
    differing = [name for name in names if len({files.get(name) for files in found}) > 1]

    def describe(start: Start) -> dict[str, str]:
        files = _annotations(start)
        digest = hashlib.sha256(str([files.get(name) for name in differing]).encode()).hexdigest()
        shown = f"sha256 {_word(digest)}" if files else UNKNOWN
        return _images(start) | ({f"annotation files ({_names(differing)})": shown} if differing else {})

    return _differences(title, origins, describe)


def _differences(
    title: str, origins: Sequence[_Origin], describe: Callable[[Start], dict[str, str]]
) -> list[str]:
    """Compare what starts say, between runs and between the starts of one.

    Returns:
        A line a field.
    """
    said = {one.run: [describe(start) for start in one.starts] for one in origins if one.starts}
    fields = dict.fromkeys(field for starts in said.values() for start in starts for field in start)
    lines = []
    for field in fields:
        holders: dict[tuple[str, ...], list[str]] = {}
        for run, starts in said.items():
            values = tuple(dict.fromkeys(start.get(field, UNKNOWN) for start in starts))
            holders.setdefault(values, []).append(run)
        if len({value for values in holders for value in values}) > 1:
            parts = [f"{' then '.join(values)} in {_names(held)}" for values, held in holders.items()]
            lines.append(f"{title}{field}: {'; '.join(parts)}")
    return lines


def _part(start: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Take a part of a start; nothing where it could not be found out."""
    found = start.get(name)
    return found if isinstance(found, Mapping) and "unknown" not in found else {}


def _word(value: object) -> str:
    """Write a value shortly."""
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return text[:_SHOWN_DIGITS] if re.fullmatch(r"[0-9a-f]{40,}", text) else text


def _names(names: Sequence[str]) -> str:
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join([*names[:_MOST_NAMED], *more])

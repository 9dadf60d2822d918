"""Broken configuration files: a run, or one line and status 2; no traceback, no hang, no endless memory."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from contextblip.cli import main
from contextblip.cli.parser import class_arguments
from contextblip.cli.run import ContextBLIPCLI
from tests.commands import EXPERIMENTS, ROOT
from tests.reliability.bounds import limited_memory, limited_time
from tests.reliability.mutations import mutate
from tests.test_experiments import FILES, SWEEPS, chains, folder_of, subcommand

DEFAULTS = ROOT / "lightning_cli.yaml"
LARGEST_BUILT = 64  # a model of a billion layers is asked for in good faith; it takes its time


class Case(NamedTuple):
    """A broken file and the command that reads it."""

    broken: Path
    words: list[str]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to run in, where the command stops before it would train; the environment is as before."""
    (tmp_path / "experiments").symlink_to(EXPERIMENTS)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ContextBLIPCLI, "_run_subcommand", build_model)
    before = dict(os.environ)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def build_model(command: ContextBLIPCLI, subcommand: str) -> None:
    """Build the model where that takes milliseconds, and stop there."""
    del subcommand
    given = class_arguments(command.run_config["model"])
    if "tiny" in str(given.get("backbone")) and max(map(largest, given.values()), default=0) <= LARGEST_BUILT:
        command.model.configure_model()


def largest(value: Any) -> float:  # noqa: ANN401  # anything
    if isinstance(value, list | tuple):
        return max(map(largest, value), default=0)
    return abs(value) if isinstance(value, int | float) else 0


def case_of(source: Path, draws: Random, folder: Path, backbone: Path) -> Case:
    """Break a file and choose the command that reads it."""
    content = mutate(source.name, source.read_bytes(), draws)
    defaults = folder / DEFAULTS.name
    defaults.unlink(missing_ok=True)
    if source == DEFAULTS:
        defaults.write_bytes(content)
        base = draws.choice(sorted(EXPERIMENTS.glob("*.yaml")))
        return Case(defaults, [subcommand(base), f"--config={base}"])
    broken = folder / "broken" / source.name
    broken.parent.mkdir(exist_ok=True)
    broken.write_bytes(content)
    if folder_of(source) == SWEEPS:
        return Case(broken, ["sweep", str(broken), "--dry_run"])
    chain = draws.choice(list(chains(source)))
    words = [f"--config={config}" for config in [*chain[:-1], broken]]
    tiny = [f"--model.backbone={backbone}"] if draws.random() < 0.5 else []
    return Case(broken, [subcommand(chain[0]), *words, *tiny])


def complaint(case: Case, capsys: pytest.CaptureFixture[str]) -> str | None:
    """Run a command and say what is wrong with how it ended, if anything."""
    status: object = 0
    capsys.readouterr()
    try:
        with limited_memory(), limited_time():
            main(case.words)
    except SystemExit as stop:
        status = stop.code
    said, told = capsys.readouterr()
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    if "Traceback" in said + told:
        return "a traceback"
    if status == 0:
        return f"status 0, yet {lines}" if lines else None
    if status != 2 or len(lines) != 1 or told.splitlines()[-1:] != lines:
        return f"status {status}: {told[-600:]}"
    return None


@pytest.mark.filterwarnings("ignore")  # Lightning warns of what it can do without
@pytest.mark.parametrize(("cases", "seed"), [(30, 1), pytest.param(1000, 2, marks=pytest.mark.slow)])
def test_broken_configurations_end_in_one_line(
    cases: int, seed: int, workplace: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [*FILES, DEFAULTS]
    found = []
    for number in range(cases):
        draws = Random(f"{seed}/{number}")  # noqa: S311  # broken files, no secrets
        source = sources[number % len(sources)] if cases > len(sources) else draws.choice(sources)
        case = case_of(source, draws, workplace, backbone)
        if said := complaint(case, capsys):
            found.append(f"{seed}/{number} {source.relative_to(ROOT)}: {said}")
    assert not found, "\n".join(found)

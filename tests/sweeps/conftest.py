"""A working directory with the experiments, a small sweep file, and a command that only pretends to train."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from contextblip.sweeps.definition import Sweep, read_sweeps
from contextblip.sweeps.plan import Plan
from contextblip.sweeps.planning import Settings, make_plan
from contextblip.sweeps.sweeping import Options, sweep

FAKE = (sys.executable, str(Path(__file__).with_name("fake_command.py")))
OUT = Path("out")
CONTENT: dict[str, Any] = {
    "name": "small",
    "stages": [
        {"name": "pretrain", "command": "fit", "configs": ["experiments/pretrain.yaml"]},
        {
            "name": "zero_shot",
            "command": "test",
            "configs": ["experiments/zero_shot.yaml"],
            "init_from": "pretrain",
        },
    ],
    "axes": [{"key": "model.mask_ratio", "values": [0.25, 0.5]}],
    "seeds": [42],
    "measures": {"zero_shot": ["accuracy"]},
}

Write = Callable[..., Path]
RunSweep = Callable[..., bool]
PlanOf = Callable[..., Plan]
Starts = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def workplace(checkout: Path) -> Path:
    """Every test works in a folder of its own that looks like the checkout, with weights that none reads."""
    (checkout / "weights").mkdir()
    (checkout / "weights" / "model_base.pth").write_bytes(b"of a fake")
    return checkout


@pytest.fixture
def write(workplace: Path) -> Write:
    """Write a sweep file: the small one with other values for some keys; ``None`` leaves a key out."""

    def to_file(file: str = "small.yaml", **changes: object) -> Path:
        content = {key: value for key, value in {**CONTENT, **changes}.items() if value is not None}
        path = workplace / file
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return to_file


@pytest.fixture
def run_sweep() -> RunSweep:
    """Run a sweep file with the fake command; tells whether all is there."""

    def run(
        file: Path, *, workers: int = 1, results: Path | None = None, settings: Settings | None = None
    ) -> bool:
        console = Console(file=sys.stdout, width=200)
        options = Options(results=results, workers=workers, command=FAKE)
        return sweep(file, settings or Settings(OUT), options, console)

    return run


@pytest.fixture
def plan_of() -> PlanOf:
    """Plan sweep files together."""

    def plan(*files: Path, settings: Settings | None = None) -> Plan:
        sweeps: list[Sweep] = [found for file in files for found in read_sweeps(file)]
        return make_plan(sweeps, settings or Settings(OUT))

    return plan


@pytest.fixture
def starts(workplace: Path) -> Starts:
    """List stages and manners of all starts of the fake command so far, e.g. ``pretrain new``."""

    def read() -> list[str]:
        path = workplace / "starts.txt"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [f"{line.split('-')[0]} {line.split()[-1]}" for line in lines]

    return read

"""`lightning sweep`: a grid or variants of an experiment over seeds, resumed and shared by content."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from contextblip.errors import ConfigurationError
from contextblip.safe_yaml import load_yaml


def add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `sweep` takes.

    Args:
        parser: The verb's parser.
    """
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="sweep file, e.g. experiments/sweeps/mask_ratio.yaml")
    overlay = "folder whose X.yaml follows each config X.yaml, e.g. experiments/miniature; repeatable"
    add("--overlay", type=Path, action="append", default=[], metavar="DIR", help=overlay)
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="for every stage with KEY")
    add("--seeds", type=int, nargs="+", metavar="SEED", help="in place of the file's")
    add(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="runs at once on this machine; GPUs are divided",
    )
    add("--out", type=Path, default=Path("runs/sweeps"), metavar="DIR", help="default: runs/sweeps")
    add("--results", type=Path, metavar="CSV", help="a row for each finished run; default: DIR/results.csv")
    add("--dry_run", action="store_true", help="only say which runs there are and which are left to do")
    add("--allow-code", action="store_true", help="let the files name classes of other packages")
    add(
        "--ray", metavar="ADDRESS", help="run on a Ray cluster: its address, auto, or local to start one here"
    )
    add("--cpus_per_run", type=float, metavar="N", help="of a Ray task; default: 1")
    add("--gpus_per_run", type=float, metavar="N", help="of a Ray task; default: 1 where the cluster has any")


def run_sweep(arguments: argparse.Namespace) -> None:
    """Run a sweep.

    Args:
        arguments: As parsed.

    Raises:
        ConfigurationError: The file, a key or a value cannot be used.
        SystemExit: A run failed; status 1.
    """
    values = dict(map(_key_and_value, arguments.set))
    if arguments.ray is not None and arguments.workers > 1:
        raise ConfigurationError("--workers is for this machine; with --ray say --cpus_per_run")
    for option in ("cpus_per_run", "gpus_per_run"):
        if arguments.ray is None and getattr(arguments, option) is not None:
            raise ConfigurationError(
                f"--{option} is for a Ray cluster; add --ray ADDRESS, or say --workers for this machine"
            )
    from contextblip.sweeps.on_ray import RayOptions, import_ray
    from contextblip.sweeps.planning import Settings
    from contextblip.sweeps.sweeping import Options, sweep

    ray = None
    if arguments.ray is not None:
        import_ray()  # before the plan is made, which takes a while
        cpus = 1.0 if arguments.cpus_per_run is None else arguments.cpus_per_run
        ray = RayOptions(arguments.ray, cpus, arguments.gpus_per_run)
    settings = Settings(
        arguments.out, arguments.overlay, values, arguments.seeds, allow_code=arguments.allow_code
    )
    options = Options(arguments.results, arguments.workers, ray, arguments.dry_run)
    with interruptible():
        complete = sweep(arguments.file, settings, options)
    if not complete:
        raise SystemExit(1)


@contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGTERM, which clusters send before they kill, as Ctrl-C.

    Yields:
        Nothing.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signal module's form
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _count(text: str) -> int:
    """Read a number that is at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _key_and_value(text: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE``."""
    key, equals, value = text.removeprefix("--").partition("=")
    if not equals or not key:
        raise ConfigurationError(f"--set {text}: expected KEY=VALUE, e.g. --set data.root=DATA")
    try:
        return key, load_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {text}: the value is no valid YAML") from error

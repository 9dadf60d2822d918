"""`lightning plan`: which micro-batch and precision reach the global batch on this machine, and how fast."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from contextblip.errors import ConfigurationError

if TYPE_CHECKING:
    from contextblip.planning.experiment import Experiment
    from contextblip.planning.predicting import Profile, Row, Setting

PLAN_EXAMPLE = "lightning plan --config experiments/pretrain.yaml --model.backbone random:base --devices 4"


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `plan` takes beside the keys of `fit`.

    Args:
        parser: The verb's parser.
    """
    add = parser.add_argument
    configs = "experiment and overlays, as of `lightning fit`, of which any other key may follow too"
    add("--config", action="append", default=[], metavar="FILE", help=configs)
    sizes = "micro-batches to measure, two or more; default: 1 2 4, in pre-training 2 4 8"
    add("--sizes", type=_count, nargs="+", metavar="N", help=sizes)
    add("--steps", type=_count, default=3, metavar="N", help="optimiser steps to time at each; default: 3")
    devices = "plan for this many devices a node in place of trainer.devices; one of this machine is measured"
    add("--devices", type=_count, metavar="N", help=devices)
    add("--memory", type=_gib, metavar="GIB", help="plan for devices with this much memory")


def run_plan(arguments: argparse.Namespace) -> None:
    """Measure, then print the table and the fastest setting that fits.

    Args:
        arguments: As parsed; ``keys`` are those of `fit`.

    Raises:
        ConfigurationError: An argument or file cannot be used, or nothing fits.
    """
    from contextblip.planning.experiment import read_experiment
    from contextblip.planning.predicting import choose, predict
    from contextblip.planning.table import keys_of, notes, print_table, title_of
    from contextblip.sweeps.resolving import Resolver

    configs = [word for config in arguments.config for word in ("--config", config)]
    resolver = Resolver(allow_code="--allow-code" in arguments.keys)
    config = resolver.resolve(["fit", *configs, *arguments.keys])
    experiment = read_experiment(config, arguments.sizes, arguments.steps, arguments.devices)
    profiles, setting = _measure(experiment, arguments.memory)
    rows = [row for profile in profiles for row in predict(profile, setting)]
    chosen = choose(rows)
    print_table(rows, title_of(experiment, setting), chosen)
    for note in notes(experiment, setting, profiles, chosen):
        sys.stdout.write(f"{note}\n")
    if chosen is None:
        raise _nothing_fits(rows, setting)
    sys.stdout.write(f"Fastest that fits: {keys_of(chosen, experiment, arguments.devices)}\n")


def _measure(experiment: Experiment, memory: float | None) -> tuple[list[Profile], Setting]:
    """Measure each precision; the device has the least memory that was left in any of them."""
    from contextblip.planning.child import measure_sizes
    from contextblip.planning.memory import GIB
    from contextblip.planning.predicting import Profile, Setting

    profiles, left = [], []
    for precision in experiment.precisions:
        workload = replace(experiment.workload, precision=precision)
        sys.stdout.write(f"Measuring {precision}: micro-batches {', '.join(map(str, workload.sizes))} ...\n")
        sys.stdout.flush()  # it takes a while, also where the output is no terminal
        available, measured = measure_sizes(workload)
        left.append(available)
        if len(measured) < 2:
            first = workload.sizes[len(measured)]
            sys.stdout.write(f"{precision}: micro-batch {first} did not fit into {available / GIB:.1f} GiB\n")
        else:
            profiles.append(Profile(precision, measured, experiment.kind.least))
    if not profiles:
        raise ConfigurationError(
            f"no two of the micro-batches {', '.join(map(str, experiment.workload.sizes))} fit into the "
            f"{min(left) / GIB:.1f} GiB that this machine has left: give smaller --sizes, lower "
            "--model.image_size, or measure on a larger device"
        )
    # processes on a CPU share what there is
    sharing = experiment.devices if experiment.workload.accelerator == "cpu" else 1
    each = min(left) / sharing if memory is None else memory * GIB
    devices = experiment.devices * experiment.nodes
    return profiles, Setting(experiment.global_batch, devices, each, experiment.kind.least)


def _nothing_fits(rows: list[Row], setting: Setting) -> ConfigurationError:
    """Say what the smallest row lacks and what would help."""
    from contextblip.planning.memory import GIB
    from contextblip.planning.predicting import USABLE_SHARE

    smallest = min((row for row in rows if row.trains), key=lambda row: row.memory)
    return ConfigurationError(
        f"nothing fits into {setting.memory / GIB:.1f} GiB a device: micro-batch {smallest.micro_batch} in "
        f"{smallest.precision} needs {smallest.memory / GIB:.1f} GiB; a device with "
        f"{smallest.memory / GIB / USABLE_SHARE:.1f} GiB, a lower --model.image_size or a lower "
        "--data.max_tokens would help"
    )


def _count(text: str) -> int:
    """Read a number that is at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _gib(text: str) -> float:
    """Read an amount of memory."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of memory in GiB above 0")
    return value

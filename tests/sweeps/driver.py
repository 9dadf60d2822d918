"""A sweep in a process of its own, to be killed: driver.py FILE OUT [ADDRESS OF RAY]."""

import sys
from pathlib import Path

from contextblip.cli.sweep_verb import interruptible
from contextblip.sweeps.on_ray import RayOptions
from contextblip.sweeps.planning import Settings
from contextblip.sweeps.sweeping import Options, sweep

file, out, *address = sys.argv[1:]
command = (sys.executable, str(Path(__file__).with_name("fake_command.py")))
ray = RayOptions(address[0], gpus=0) if address else None
with interruptible():
    complete = sweep(Path(file), Settings(Path(out)), Options(command=command, ray=ray))
sys.exit(not complete)

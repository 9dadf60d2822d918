"""A sweep in a process of its own, to be killed: driver.py FILE OUT."""

import sys
from pathlib import Path

from contextblip.cli.sweep_verb import interruptible
from contextblip.sweeps.planning import Settings
from contextblip.sweeps.sweeping import Options, sweep

command = (sys.executable, str(Path(__file__).with_name("fake_command.py")))
with interruptible():
    complete = sweep(Path(sys.argv[1]), Settings(Path(sys.argv[2])), Options(command=command))
sys.exit(not complete)

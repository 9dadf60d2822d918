"""What the tests of sweeps share: how the command that only pretends behaves, and waiting for it."""

import json
import time
from collections.abc import Callable
from pathlib import Path


def behave(**behaviour: object) -> None:
    """Tell the pretended command how to behave from now on; fake_command.py says what it knows."""
    Path("behaviour.json").write_text(json.dumps(behaviour))


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds; the limit only ends a test that would hang."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)

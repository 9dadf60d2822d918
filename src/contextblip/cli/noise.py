"""What Lightning and torch say on every run without news for the user."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from contextblip.cli.errors import one_line

# Each with the reason why it is no news.
WARNINGS = (
    r".*does not have many workers.*",  # num_workers is a key of ours, chosen for the machine
    r".*LeafSpec.* is deprecated.*",  # Lightning 2.6 on torch 2.15, not our call
    r".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
    r".*not supported by the model summary.*",  # the table's estimate of megabytes in bf16
    r".*smaller than the logging interval.*",  # the epoch's mean is logged all the same
    r".*The dirpath has changed from.*",  # a checkpoint of another run, which is what was asked for
)
EVALUATION_WARNINGS = (r".*callbacks used to create the checkpoint need to be provided.*",)
MESSAGES = (
    "💡 Tip",
    "Loading `train_dataloader` to estimate",
    "TPU available",
    "HPU available",
    "GPU available: False",
    "Seed set to",
)


class _QuietFilter(logging.Filter):
    """Drops messages that begin with one of `MESSAGES`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a message is news."""
        message = re.sub(r"^\[rank: \d+\] ", "", record.getMessage())
        return not message.startswith(MESSAGES)


@contextmanager
def quiet(*, evaluating: bool) -> Iterator[None]:
    """Keep known noise from the terminal while a command runs.

    Args:
        evaluating: Whether the command trains nothing, so that what it restores hardly matters.

    Yields:
        Nothing.
    """
    quiet_filter = _QuietFilter()
    format_before, warnings.formatwarning = warnings.formatwarning, _format_warning
    loggers = [logging.getLogger(name) for name in _lightning_loggers()]
    for logger in loggers:
        logger.addFilter(quiet_filter)
    try:
        with warnings.catch_warnings():
            # What one library should no longer ask of another is for their authors
            warnings.filterwarnings(
                "ignore", category=DeprecationWarning, module=r"(lightning|jsonargparse)\."
            )
            for message in WARNINGS + (EVALUATION_WARNINGS if evaluating else ()):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        warnings.formatwarning = format_before
        for logger in loggers:
            logger.removeFilter(quiet_filter)


def _format_warning(message: Warning | str, *_: object, **__: object) -> str:
    """Write a warning as one line, without the library's file and code."""
    return f"warning: {one_line(str(message), limit=1000)}\n"


def _lightning_loggers() -> list[str]:
    """List Lightning's loggers: a filter works only on the logger that a message is given to."""
    return [name for name in logging.root.manager.loggerDict if name.startswith("lightning")]

"""The user's mistakes: each message is one clear line that names the thing, the place and the remedy."""

from signal import Signals


class UserError(Exception):
    """A mistake the user can mend; the command prints its message as one line and exits with status 2."""


class ConfigurationError(UserError):
    """A key or value of the configuration cannot be used."""


class CheckpointError(UserError):
    """A file of weights is missing, of an unknown kind, or does not fit the model."""


class DatasetNotFoundError(UserError):
    """No known layout of the data set lies where it was looked for."""


class DatasetError(UserError):
    """A data set's file is there but its content cannot be used."""


class StoppedError(Exception):
    """A training was asked to stop and has saved where it was.

    Args:
        number: Of the signal.
        step: Optimiser steps done.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by {Signals(number).name} after step {step:,}")
        self.number = number

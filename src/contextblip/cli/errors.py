"""From an exception to the one line that the user sees."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from difflib import get_close_matches

from contextblip.errors import ConfigurationError, UserError

USER_STATUS = 2
FAILURE_STATUS = 1
SIGNALLED_STATUS = 128  # and the number of the signal, as shells report it
INTERRUPTED_STATUS = 130  # what shells report for SIGINT


class ParsingError(ConfigurationError):
    """What jsonargparse said about the arguments: many lines, of which `parsing_errors` makes one.

    Args:
        message: Its words.
        keys: The keys that the parser knows.
    """

    def __init__(self, message: str, keys: list[str]) -> None:
        super().__init__(message)
        self.keys = keys


def nearest(name: str, choices: Iterable[str], before: str = "", cutoff: float = 0.6) -> str:
    """Suggest what may have been meant.

    Args:
        name: What was given.
        choices: What is valid.
        before: Stands before the suggestion.
        cutoff: Least similarity, from 0 to 1.

    Returns:
        ``; did you mean X?``, or nothing where no choice is close.
    """
    by_lower_case = {choice.lower(): choice for choice in choices}
    low = name.lower()
    near = [
        choice for choice in by_lower_case if choice.rpartition(".")[2] == low
    ]  # the section was left out
    near = near or get_close_matches(low, by_lower_case, n=1, cutoff=cutoff)
    near = near or sorted(
        (choice for choice in by_lower_case if len(low) > 2 and choice.startswith(low)), key=len
    )
    return f"; did you mean {before}{by_lower_case[near[0]]}?" if near else ""


def one_line(text: str, limit: int = 400) -> str:
    """Join lines and cut.

    Args:
        text: A message.
        limit: Most characters.

    Returns:
        The message on one line.
    """
    joined = " ".join(text.split())
    return joined if len(joined) <= limit else f"{joined[: limit - 3]}..."


def hidden_mistake(error: BaseException) -> UserError | None:
    """Find the user's mistake behind another exception.

    jsonargparse wraps what a class's own checks of its values say into a list of types that did not fit.

    Args:
        error: What stopped the command.

    Returns:
        The first mistake among its causes, ``None`` where there is none.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, UserError):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def explain(error: BaseException) -> tuple[str, int]:
    """Find the line to print and the exit status.

    Args:
        error: What stopped the command.

    Returns:
        The line without ``error:``, and the status: 2 for mistakes of the user, 1 for all else.
    """
    message = str(error)
    if "DataLoader worker process" in message:  # torch puts the worker's whole traceback into the message
        message = message.strip().splitlines()[-1].split(": ", 1)[-1]
    if isinstance(error, UserError) or type(error).__name__ == "MisconfigurationException":
        return one_line(message, limit=1000), USER_STATUS
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", USER_STATUS
    if "Error(s) in loading state_dict" in message:
        return _explain_state_dict(message), USER_STATUS
    if (
        type(error).__name__ == "OutOfMemoryError"
        or isinstance(error, MemoryError)
        or "can't allocate" in message
    ):
        return f"out of memory; lower --data.batch_size ({one_line(message, 120)})", FAILURE_STATUS
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rpartition('site-packages/')[2]}:{frames[-1].lineno}" if frames else ""
    name = type(error).__name__
    return (
        f"internal error{place}: {name}: {one_line(message)}; run again with --debug for the traceback",
        FAILURE_STATUS,
    )


def _explain_state_dict(message: str) -> str:
    """Shorten torch's list of everything that does not fit to its first entry and a count."""
    shapes = re.findall(
        r"size mismatch for (\S+): copying a param with shape torch\.Size\((.*?)\) from checkpoint, "
        r"the shape in current model is torch\.Size\((.*?)\)",
        message,
    )
    missing = re.findall(r"(?:Missing|Unexpected) key\(s\) in state_dict: (.*?)\.\s", message + " ")
    if shapes:
        name, there, here = shapes[0]
        more = f" and {len(shapes) - 1} more" if len(shapes) > 1 else ""
        return f"the checkpoint does not fit the model: {name} has shape {there} there and {here} here{more}"
    return f"the checkpoint does not fit the model: {one_line('; '.join(missing) or message, 200)}"

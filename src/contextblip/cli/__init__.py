"""The `lightning` command: LightningCLI's fit, validate, test and predict, and the project's own verbs."""

from __future__ import annotations

import sys
from typing import NoReturn

from contextblip import __version__
from contextblip.cli.arguments import COMMANDS, sort_arguments
from contextblip.cli.errors import INTERRUPTED_STATUS, SIGNALLED_STATUS, USER_STATUS, explain, nearest
from contextblip.cli.verbs import VERBS, run_verb
from contextblip.errors import ConfigurationError, StoppedError


def main(args: list[str] | None = None) -> None:
    """Run the command.

    Mistakes end as one line on standard error: status 2 for the user's, 1 for the program's, 130 for Ctrl-C.
    A training that a signal stopped says how to go on, with 128 and the signal's number.
    ``--debug`` anywhere shows the traceback instead.

    Args:
        args: The command line without the program's name; ``None`` takes it from the process.

    Raises:
        SystemExit: The command failed, or was asked for help.
    """
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    try:
        _dispatch([word for word in words if word != "--debug"])
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's own status for Ctrl-C is 1
            _stop("interrupted", INTERRUPTED_STATUS)
        raise
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED_STATUS)
    except StoppedError as stop:
        _stop(f"{stop}; go on with --resume auto", SIGNALLED_STATUS + stop.number)
    except Exception as error:
        if debug:
            raise
        _stop(f"error: {explain(error)[0]}", explain(error)[1])


def _stop(line: str, status: int) -> NoReturn:
    """Print the last line and end; nothing of the exception behind it is shown."""
    sys.stdout.flush()
    sys.stderr.write(f"{line}\n")
    raise SystemExit(status) from None


def _dispatch(words: list[str]) -> None:
    """Hand the words to whom they belong."""
    names = (*COMMANDS, *VERBS)
    arguments = sort_arguments(words, names)
    if arguments is None:
        _without_subcommand(words, names)
    elif arguments.subcommand in VERBS:
        position = words.index(arguments.subcommand)
        run_verb(arguments.subcommand, words[:position] + words[position + 1 :])
    elif arguments.flags & {"--help", "-h"} and not arguments.configs and not arguments.options:
        from contextblip.cli.help import subcommand_help

        sys.stdout.write(subcommand_help(arguments.subcommand))
    else:
        from contextblip.cli.run import run

        run(arguments)


def _without_subcommand(words: list[str], names: tuple[str, ...]) -> None:
    """Answer what needs no subcommand, else say which there are."""
    from contextblip.cli.help import main_help

    if "--version" in words:
        sys.stdout.write(f"contextblip {__version__}\n")
    elif not words or {"--help", "-h"} & set(words):
        sys.stdout.write(main_help())
        if not words:
            raise SystemExit(USER_STATUS)
    else:
        listed = f"; commands: {', '.join(names)}"
        if words[0].startswith("-"):
            raise ConfigurationError(f"no command given{listed}")
        raise ConfigurationError(f"no command {words[0]!r}{nearest(words[0], names) or listed}")

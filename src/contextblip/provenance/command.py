"""The command line as it was typed, without the secrets on it."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

MASK = "***"
# Words of this project that are no secrets
_OURS = frozenset({"itm_token", "mask_token_row", "max_tokens", "tokenizer"})
_SECRET_NAME = re.compile(
    r"token|secret|passw|pwd|credential|api_?key|(?:^|_)key(?:$|_)|auth(?!or)", re.IGNORECASE
)
# Of services that mark their keys: Hugging Face, GitHub, GitLab, OpenAI and its like, AWS, Slack
_SECRET_VALUE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{30,}|gh[opsu]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[\w-]{10,})"
)
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+(?=@)")
# A key of an inline object, as JSON or YAML, and its value
_INLINE = re.compile(r"""(["']?)([\w.-]+)\1(\s*:\s*)("[^"]*"|'[^']*'|[^\s,}\]"']+)""")


def command_line() -> str:
    """Return the command line of this process.

    Returns:
        The program's name and its words, quoted for a shell, on one line; secrets are ``***``.
    """
    words = [Path(sys.argv[0]).name, *mask_secrets(sys.argv[1:])]
    return " ".join(shlex.join(words).splitlines())


def is_secret_name(name: str) -> bool:
    """Tell whether the value of a key is to be hidden.

    Args:
        name: Dotted name of the key.

    Returns:
        True where its last part speaks of a token, key, password or the like, and is no key of this project.
    """
    last = name.rpartition(".")[2].replace("-", "_").lower()
    return last not in _OURS and _SECRET_NAME.search(last) is not None


def mask_secrets(words: list[str]) -> list[str]:
    """Hide what looks like a secret.

    Args:
        words: A command line without the program's name.

    Returns:
        As many words: values of keys that `is_secret_name` tells, of such keys in inline objects, user names
        and passwords in addresses, and known forms of keys are replaced by ``***``.
    """
    masked = []
    value_follows = False
    for word in words:
        key, equals, _ = word.partition("=")
        is_option = word.startswith("-")
        if is_option and is_secret_name(key.lstrip("-")):
            masked.append(f"{key}={MASK}" if equals else word)
        else:
            masked.append(MASK if value_follows and not is_option else _mask_within(word))
        value_follows = is_option and not equals and is_secret_name(key.lstrip("-"))
    return masked


def _mask_within(word: str) -> str:
    """Hide the parts of a word that look like secrets."""
    word = _IN_ADDRESS.sub(MASK, _SECRET_VALUE.sub(MASK, word))
    return _INLINE.sub(
        lambda found: (
            f"{found[1]}{found[2]}{found[1]}{found[3]}{MASK}" if is_secret_name(found[2]) else found[0]
        ),
        word,
    )

"""``--cache``: the key of the command line and what it switches on."""

from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser

from contextblip.vision_cache.callback import VisionCache

# In a YAML file a bare `off` is False, which a sweep hands on as `false`
_OFF = ("off", "false")


def add_cache_key(parser: LightningArgumentParser) -> None:
    """Add the key.

    Args:
        parser: Parser of one subcommand.
    """
    parser.add_argument(
        "--cache",
        type=str | Literal[False] | None,
        default=None,
        help="Folder that keeps the frozen ViT's states for later runs; null or off: none.",
    )


def cache_callbacks(cache: str | Literal[False] | None) -> list[Callback]:
    """Make what the key asks for.

    Args:
        cache: Its value.

    Returns:
        Nothing where it is off.
    """
    if not cache or cache.lower() in _OFF:
        return []
    return [VisionCache(Path(cache).expanduser())]

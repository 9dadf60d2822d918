"""Checkpoints that are whole or not there, written aside and then renamed; none runs code when read."""

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from contextblip.errors import CheckpointError
from contextblip.replacing import replacing


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints of one file, of which no half is ever found under their name."""

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint without running anything stored in it.

        Args:
            path: Where it lies.
            map_location: As in `torch.load`; ``None``: the CPU.
            weights_only: Always true, said outright: torch's environment variable lifts a default only.

        Returns:
            Content.
        """
        del weights_only
        where = map_location or (lambda storage, _: storage)  # as Lightning's default
        content: dict[str, Any] = super().load_checkpoint(path, where, weights_only=True)
        return content

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401
    ) -> None:
        """Write a checkpoint beside its place, flush it to the disk and let it take that place.

        Args:
            checkpoint: Content.
            path: Where to; addresses of other file systems are left to Lightning.
            storage_options: As in Lightning.

        Raises:
            CheckpointError: The disk is full or refuses; what stood there before is as it was.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft, draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            _flush_folder(path.parent)
        except (OSError, RuntimeError) as error:  # torch wraps what the disk said
            reason = _refusal(error)
            if reason is None:
                raise
            raise CheckpointError(
                f"{path} cannot be written: {reason}; the checkpoints before it are whole. Free room and "
                "go on with --resume auto"
            ) from error


def _flush_folder(folder: Path) -> None:
    """Flush the rename itself, where the system lets folders be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(error: BaseException) -> str | None:
    """Find what the system said, down the chain of causes; ``None`` where it was no refusal of the disk."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found.strerror or str(found)
        found = found.__cause__ or found.__context__
    return None


def is_whole(path: Path) -> bool:
    """Read a checkpoint through and compare every part with its checksum.

    Args:
        path: A file that `torch.save` wrote, or the folder of a sharded one.

    Returns:
        Whether nothing is missing or changed; of a folder, whether it was written to its end.
    """
    if path.is_dir():
        return (path / ".metadata").is_file()  # which torch writes last
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError):
        return False


def newest_whole(paths: Iterable[Path]) -> tuple[Path | None, list[Path]]:
    """Find the newest checkpoint that is whole.

    Args:
        paths: Candidates.

    Returns:
        The file, or ``None`` where none is whole, and the newer ones, which are damaged.
    """
    damaged: list[Path] = []
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if is_whole(path):
            return path, damaged
        damaged.append(path)
    return None, damaged

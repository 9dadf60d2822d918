"""Tensors by name in safetensors files of one folder, which several processes may read and write at once."""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from contextblip.errors import ConfigurationError
from contextblip.replacing import replacing

# To be raised whenever the ViT's arithmetic changes: states of before are then no longer those of now
METADATA = {"format": "contextblip vision states", "version": "1"}
_SUFFIX = ".safetensors"
_OPEN_SHARDS = 16


class StateStore:
    """States of images in shards, one a call of `write`.

    A shard appears under its final name when it is whole, and under a name that no other process chooses. The
    headers alone are read until a tensor is asked for. Of a tensor that stands in two shards, since two
    processes computed it at the same time, the first by name counts, so that every run reads the same one.

    Args:
        folder: Of one ViT and precision; made with the first shard.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[str, str] = {}  # tensor -> file name
        self._seen: set[str] = set()
        # of this store alone: the files of another may have the same names
        self._open = lru_cache(maxsize=_OPEN_SHARDS)(self._open_shard)
        self.refresh()

    def __len__(self) -> int:
        """Tensors that can be read."""
        return len(self._shards)

    @property
    def size(self) -> int:
        """Bytes of all shards that can be read."""
        shards = set(self._shards.values())
        return sum(path.stat().st_size for path in self._paths() if path.name in shards)

    def refresh(self) -> None:
        """Take in shards that have come since; those that cannot be used are passed over with one warning."""
        faults = []
        for path in self._paths():
            if path.name in self._seen:
                continue
            self._seen.add(path.name)
            try:
                names = _read_names(path)
            except (SafetensorError, OSError, ValueError) as error:
                faults.append(f"{path.name}: {error}")
                continue
            for name in names:
                self._shards[name] = min(path.name, self._shards.get(name, path.name))
        if faults:
            warnings.warn(
                f"vision cache {self.folder}: {len(faults)} file(s) passed over, which may be deleted; what "
                f"they held is computed again ({faults[0]})",
                stacklevel=2,
            )

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read what is there.

        Args:
            names: Tensors that are wanted.

        Returns:
            Those that are there, on the CPU, in the dtype that they were written in.
        """
        by_shard = defaultdict(list)
        for name in names:
            if name in self._shards:
                by_shard[self._shards[name]].append(name)
        found: dict[str, Tensor] = {}
        for shard, wanted in by_shard.items():
            try:
                opened = self._open(shard)
                found |= {name: opened.get_tensor(name) for name in wanted}
            except (SafetensorError, OSError) as error:  # it was deleted since
                self._forget(shard, error)
        return found

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Write a shard.

        Args:
            tensors: By name, on the CPU; none of them shares its memory with another.

        Raises:
            ConfigurationError: The disk is full or the folder is none.
        """
        name = f"{uuid4().hex}{_SUFFIX}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / name) as draft:
                save_file(dict(tensors), draft, METADATA)
        except (SafetensorError, OSError) as error:
            raise ConfigurationError(
                f"cache: {self.folder} cannot be written to ({error}); make room, name another folder, or "
                "leave the states out with --cache off"
            ) from error
        self._seen.add(name)
        self._shards |= dict.fromkeys(tensors, name)

    def _paths(self) -> list[Path]:
        """List the shards by name, without drafts."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.glob(f"*{_SUFFIX}") if not path.name.startswith("."))

    def _open_shard(self, shard: str) -> Any:  # noqa: ANN401  # safetensors has no types
        return safe_open(self.folder / shard, framework="pt")

    def _forget(self, shard: str, error: Exception) -> None:
        """Leave out a shard that can no longer be read."""
        self._shards = {name: place for name, place in self._shards.items() if place != shard}
        warnings.warn(
            f"vision cache {self.folder}: {shard} can no longer be read, what it held is computed again "
            f"({error})",
            stacklevel=3,
        )


def _read_names(path: Path) -> list[str]:
    """Read the names in a shard's header, which safetensors compares with the length of the file."""
    with safe_open(path, framework="pt") as shard:
        if shard.metadata() != METADATA:
            raise ValueError("not written by this version of the cache")
        return list(shard.keys())

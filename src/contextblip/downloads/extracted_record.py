"""What came out of an archive: every file's path and size, kept beside the files and compared with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class ExtractedRecord:
    """An archive's files once they were extracted.

    Attributes:
        archive_size: Bytes of the archive.
        folders: Size by name by folder; all archives' folders stand in the same one.
    """

    archive_size: int
    folders: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, archive: Path, sizes: Mapping[str, int]) -> ExtractedRecord:
        """Describe an archive.

        Args:
            archive: It lies there still.
            sizes: Bytes of each file by its path inside.

        Returns:
            The record.
        """
        folders: dict[str, dict[str, int]] = {}
        for name, size in sizes.items():
            path = PurePosixPath(name)
            folders.setdefault(str(path.parent), {})[path.name] = size
        return cls(archive.stat().st_size, folders)

    @classmethod
    def read(cls, archive: Path, folder: Path) -> ExtractedRecord | None:
        """Read what was recorded of an archive, which may be gone; ``None`` where nothing was."""
        try:
            content = json.loads(_place(archive, folder).read_text(encoding="utf-8"))
            return cls(
                int(content["size"]), {str(name): dict(files) for name, files in content["folders"].items()}
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, archive: Path, folder: Path) -> None:
        """Record it below the folder that was extracted to."""
        place = _place(archive, folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        content = {"size": self.archive_size, "folders": self.folders}
        draft = place.with_suffix(".draft")
        draft.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
        draft.replace(place)

    def lacking(self, folder: Path) -> list[str]:
        """List the files that are missing or of another size.

        Args:
            folder: Where the archive was extracted to.

        Returns:
            Their paths inside the archive.
        """
        paths = []
        for name, sizes in self.folders.items():
            found = _sizes(folder / name)
            paths += [
                str(PurePosixPath(name, file)) for file, size in sizes.items() if found.get(file) != size
            ]
        return paths


def _sizes(folder: Path) -> dict[str, int]:
    """List a folder at once, which is quick for a hundred thousand photos."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _place(archive: Path, folder: Path) -> Path:
    return folder / ".contextblip" / "extracted" / f"{archive.name}.json"

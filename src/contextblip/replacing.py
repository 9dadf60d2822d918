"""Files that take another's place in one step: a reader sees the old one or the whole new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a draft beside a file, which takes its place if all goes well and is removed otherwise.

    Args:
        path: The file; its folder is there.

    Yields:
        Path of the draft, with the file's ending; the body writes it.
    """
    draft = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

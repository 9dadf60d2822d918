"""Annotations as memory-mapped Arrow tables, made once and kept in the folder of the ``datasets`` library."""

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from lightning.pytorch.utilities import rank_zero_info

from data_modules.caption_data.images import CaptionedImage, CaptionSource, Split

if TYPE_CHECKING:  # a second of imports that other modules need not pay
    from datasets import Dataset as Table

log = logging.getLogger(__name__)

# raised whenever what is read from the same file changes, so that no older table is used
READER_VERSION = 1
# smaller annotations are read in less time than a table takes to be looked up
KEPT_FROM = 16 * 2**20
FOLDER = "contextblip-captions"
SCHEMA = pa.schema([("image_id", pa.int64()), ("path", pa.string()), ("captions", pa.list_(pa.string()))])
_BATCH = 1000


@dataclass
class _LeftOut:
    """Blank captions and images without any other."""

    blank: int = 0
    bare: int = 0


def caption_table(source: CaptionSource, split: Split) -> "Table":
    """Open the table of a split, one row an image with a caption; made first where there is none yet.

    Large annotations are kept as a file below ``datasets.config.HF_DATASETS_CACHE``, named after paths,
    sizes and times of the annotation files, so that a changed file is read anew. Where that folder cannot be
    written the table stays in memory.

    Args:
        source: The source.
        split: Which split.

    Returns:
        ``datasets.Dataset`` with the columns ``image_id`` (equal for the same photo in every source),
        ``path`` (as annotated) and ``captions``, in file order; blank captions are left out.

    Raises:
        DatasetNotFoundError: The source has no such split.
        DatasetError: An annotation file cannot be used.
    """
    from datasets import Dataset as Table

    if is_kept(source, split):
        path = _table_file(source, split)
        try:
            if not _is_whole(path):
                rank_zero_info(f"{source.name} {split}: reading its annotations, once; kept as {path}")
                _keep(source, split, path)
            return Table.from_file(str(path))
        except OSError as error:
            log.warning(
                "%s %s: cannot keep annotations in %s (%s), so each process and each start reads them anew; "
                "set HF_DATASETS_CACHE to a folder with space that can be written",
                source.name, split, path.parent, error,
            )  # fmt: skip
    buffer = pa.BufferOutputStream()
    _write(source, split, buffer)
    return Table.from_buffer(buffer.getvalue())


def is_kept(source: CaptionSource, split: Split) -> bool:
    """Tell whether the annotations of a split are large enough for a table on disk.

    Args:
        source: The source.
        split: Which split.

    Returns:
        Whether they are.

    Raises:
        DatasetNotFoundError: The source has no such split.
    """
    return sum(path.stat().st_size for path in source.require(split)) >= KEPT_FROM


def _table_file(source: CaptionSource, split: Split) -> Path:
    from datasets import config

    files = []
    for path in source.require(split):
        state = path.stat()
        files.append([str(path.resolve()), state.st_size, state.st_mtime_ns])
    content = json.dumps([READER_VERSION, source.name, source.layout, split, files])
    digest = hashlib.sha256(content.encode()).hexdigest()[:24]
    name = re.sub(r"\W+", "-", f"{source.name} {source.layout} {split}".lower())
    return Path(config.HF_DATASETS_CACHE) / FOLDER / f"{name}-{digest}.arrow"


def _is_whole(path: Path) -> bool:
    """Tell whether a table is there and was not damaged since."""
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            return bool(reader.schema.equals(SCHEMA)) and all(True for _ in reader)
    except (OSError, pa.ArrowInvalid):
        return False


def _keep(source: CaptionSource, split: Split, path: Path) -> None:
    """Write a table beside its place and move it there whole: processes that do so at once do no harm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}-", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        with pa.OSFile(name, "wb") as sink:
            _write(source, split, sink)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write(source: CaptionSource, split: Split, sink: Any) -> None:  # noqa: ANN401  # pyarrow is not typed
    counts = _LeftOut()
    images = _with_captions(source.read(split), counts)
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        while batch := list(islice(images, _BATCH)):
            columns = {
                "image_id": [image_number(image.key) for image in batch],
                "path": [image.path for image in batch],
                "captions": [image.captions for image in batch],
            }
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=SCHEMA))
    if counts.blank or counts.bare:
        rank_zero_info(
            f"{source.name} {split}: left out {counts.blank:,} empty captions "
            f"and {counts.bare:,} images without any"
        )


def _with_captions(images: Iterator[CaptionedImage], counts: _LeftOut) -> Iterator[CaptionedImage]:
    for image in images:
        kept = [caption for caption in image.captions if caption.strip()]
        counts.blank += len(image.captions) - len(kept)
        if kept:
            yield CaptionedImage(image.key, image.path, kept)
        else:
            counts.bare += 1


def image_number(key: str) -> int:
    """Number an image by its key: the same in every process, stage and mixture."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1

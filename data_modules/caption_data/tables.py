"""Annotations as memory-mapped Arrow tables, made once and kept in the folder of the ``datasets`` library."""

import hashlib
import json
import logging
import os
import re
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
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
READER_VERSION = 2
# smaller annotations are read in less time than a table takes to be looked up
KEPT_FROM = 16 * 2**20
FOLDER = "contextblip-captions"
SCHEMA = pa.schema([("image_id", pa.int64()), ("path", pa.string()), ("captions", pa.list_(pa.string()))])
_BATCH = 1000
# what ends a kept table: the format itself takes one that is cut between two batches for whole
_SEAL = b"contextblip"
_PART_SUFFIX = ".part"
_STALE_SECONDS = 24 * 3600


@dataclass
class _Counts:
    """Images of a table, and what was left out of it: blank captions, images without any other."""

    images: int = 0
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
            counts = _ensure(source, split, path)
            table = Table.from_file(str(path))
        except OSError as error:
            log.warning(
                "%s %s: cannot keep annotations in %s (%s), so each process and each start reads them anew; "
                "set HF_DATASETS_CACHE to a folder with space that can be written",
                source.name, split, path.parent, error,
            )  # fmt: skip
        else:
            _report(source, split, counts)
            return table
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, SCHEMA) as writer:
        counts = _write(source, split, writer)
    _report(source, split, counts)
    return Table.from_buffer(buffer.getvalue())


def keep_table(source: CaptionSource, split: Split) -> None:
    """Make the table of a split of large annotations, where there is none yet; `caption_table` then opens it.

    Args:
        source: The source.
        split: Which split.

    Raises:
        DatasetNotFoundError: The source has no such split.
        DatasetError: An annotation file cannot be used.
    """
    if is_kept(source, split):
        with suppress(OSError):  # said where the table is opened
            _ensure(source, split, _table_file(source, split))


def _ensure(source: CaptionSource, split: Split, path: Path) -> _Counts:
    """Make a table unless it is there and whole."""
    if (counts := _sealed(path)) is None:
        rank_zero_info(f"{source.name} {split}: reading its annotations, once; kept as {path}")
        counts = _keep(source, split, path)
    return counts


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


def _sealed(path: Path) -> _Counts | None:
    """Read what a table says of itself; ``None`` where there is none or it was cut or damaged since."""
    images = end = 0
    seal = None
    try:
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_stream(file)
            if not reader.schema.equals(SCHEMA):
                return None
            while seal is None:
                end = file.tell()
                batch, metadata = reader.read_next_batch_with_custom_metadata()
                images += len(batch)
                seal = None if metadata is None else metadata.get(_SEAL)
            said = json.loads(seal)
            file.seek(0)
            checksum = zlib.crc32(file.read_buffer(end))
            counts = _Counts(**said["counts"])
            return counts if (counts.images, checksum) == (images, said["crc32"]) else None
    except (OSError, pa.ArrowInvalid, StopIteration, ValueError, KeyError, TypeError):
        return None


def _keep(source: CaptionSource, split: Split, path: Path) -> _Counts:
    """Write a table beside its place and move it there whole: processes that do so at once do no harm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale_parts(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}-", suffix=_PART_SUFFIX)
    os.close(handle)
    part = Path(name)
    try:
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
            counts = _write(source, split, writer)
            with pa.memory_map(name) as written:
                checksum = zlib.crc32(written.read_buffer(sink.tell()))
            seal = json.dumps({"counts": asdict(counts), "crc32": checksum})
            writer.write_batch(pa.RecordBatch.from_pylist([], schema=SCHEMA), custom_metadata={_SEAL: seal})
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return counts


def _remove_stale_parts(path: Path) -> None:
    """Remove what processes that were killed while they wrote the table left behind."""
    for part in path.parent.glob(f"{path.stem}-*{_PART_SUFFIX}"):
        with suppress(OSError):  # another process's, or removed by it in between
            if part.stat().st_mtime < time.time() - _STALE_SECONDS:
                part.unlink()


def _write(source: CaptionSource, split: Split, writer: Any) -> _Counts:  # noqa: ANN401  # pyarrow is not typed
    counts = _Counts()
    images = _with_captions(source.read(split), counts)
    while batch := list(islice(images, _BATCH)):
        columns = {
            "image_id": [image_number(image.key) for image in batch],
            "path": [image.path for image in batch],
            "captions": [image.captions for image in batch],
        }
        writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=SCHEMA))
    return counts


def _report(source: CaptionSource, split: Split, counts: _Counts) -> None:
    if counts.blank or counts.bare:
        rank_zero_info(
            f"{source.name} {split}: left out {counts.blank:,} empty captions "
            f"and {counts.bare:,} images without any"
        )


def _with_captions(images: Iterator[CaptionedImage], counts: _Counts) -> Iterator[CaptionedImage]:
    for image in images:
        kept = [caption for caption in image.captions if caption.strip()]
        counts.blank += len(image.captions) - len(kept)
        counts.images += bool(kept)
        if kept:
            yield CaptionedImage(image.key, image.path, kept)
        else:
            counts.bare += 1


def image_number(key: str) -> int:
    """Number an image by its key: the same in every process, stage and mixture."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1

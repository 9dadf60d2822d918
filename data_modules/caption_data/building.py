"""From caption sources to the rows of each split: held-out images, image files, groups, reports."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from contextblip.errors import DatasetNotFoundError
from data_modules.caption_data.images import CaptionImageFinder
from data_modules.caption_data.rows import CaptionRows, caption_counts
from data_modules.caption_data.separation import SplitTables, report_splits, splits_to_read, training_rows
from data_modules.caption_data.sources import CaptionSource, Split
from data_modules.caption_data.tables import keep_table
from data_modules.loaders import Order

if TYPE_CHECKING:  # a second of imports that other modules need not pay
    from datasets import Dataset as Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Part:
    """The images of one source in one split."""

    source: CaptionSource
    table: "Table"
    rows: Order
    groups: Order
    files: list[str]


@dataclass(frozen=True)
class RowBuilder:
    """Build the rows of splits from several sources; none is trained on a photo that another evaluates on.

    Attributes:
        sources: In order, by their names in the configuration, which may repeat.
        image_roots: From such a name and its source to the folders below which its images may lie.
        val_fraction: Share of images held out where a source has no validation split.
        group_size: Consecutive images that form a group.
        max_unreadable: Share of a source's training images that may be missing.
    """

    sources: Sequence[tuple[str, CaptionSource]]
    image_roots: Callable[[str, CaptionSource], list[Path]]
    val_fraction: float
    group_size: int
    max_unreadable: float

    def keep_tables(self, splits: Sequence[Split]) -> None:
        """Read the large annotations that splits need, so that they are kept as tables."""
        for _, source in self.sources:
            for split in splits_to_read(source, splits):
                keep_table(source, split)

    def build(self, splits: Sequence[Split]) -> list[CaptionRows]:
        """Build splits; each source's annotations are opened and its folders listed once.

        Args:
            splits: Which.

        Returns:
            The rows of each split, source by source, in file order.

        Raises:
            DatasetNotFoundError: A source has no such split, or images are missing.
            DatasetError: An annotation file cannot be used.
        """
        parts: dict[Split, list[_Part]] = {split: [] for split in splits}
        opened = [SplitTables(source, self.val_fraction, self.group_size) for _, source in self.sources]
        for number, (name, source) in enumerate(self.sources):
            report_splits(source, self.val_fraction, trains="train" in splits)
            finder = CaptionImageFinder(source.name, self.image_roots(name, source))
            for split in splits:
                rows = training_rows(number, opened) if split == "train" else opened[number].rows(split)
                parts[split].append(self._part(opened[number], rows, split, finder))
        return [_join(parts[split], split) for split in splits]

    def _part(self, tables: SplitTables, rows: Order, split: Split, finder: CaptionImageFinder) -> _Part:
        table = tables.table(split)
        paths = table.data.column("path").take(pa.array(rows)).to_pylist()
        share = self.max_unreadable if split == "train" else None
        files = _find_files(f"{tables.source.name} {split}", finder, paths, share)
        return _Part(tables.source, table, rows, rows // self.group_size, files)


def _find_files(
    name: str, finder: CaptionImageFinder, paths: Sequence[str], share: float | None
) -> list[str]:
    """Resolve annotated paths; a few missing training images get a file that fails when loaded."""
    found = [finder.find(path) for path in paths]
    missing = [path for path, file in zip(paths, found, strict=True) if file is None]
    if not missing:
        return list(map(str, found))
    message = f"{name}: {len(missing):,} of {len(paths):,} images not found, first {missing[0]}"
    if share is None or len(missing) > share * len(paths):
        more = "" if share is None else f", more than --data.max_unreadable {share:g} allows"
        raise DatasetNotFoundError(
            f"{message}{more}: looked below {', '.join(map(str, finder.roots))}; set --data.image_root "
            "to the folder that holds them"
        )
    _warn(f"{message}; other rows replace theirs")
    place = finder.roots[0] if finder.roots else Path()
    return [
        str(place / _below(path) if file is None else file) for path, file in zip(paths, found, strict=True)
    ]


def _below(path: str) -> PurePosixPath:
    """Take an annotated path as one below a folder: opening it must not lead out of there."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return PurePosixPath(*(part for part in parts if part not in ("/", "//", ".", "..")))


@rank_zero_only
def _warn(message: str) -> None:
    log.warning(message)


def _join(parts: Sequence[_Part], split: Split) -> CaptionRows:
    """Put the sources of a split after one another, in one table that stays on disk."""
    from datasets import concatenate_datasets

    tables = [part.table for part in parts]
    first = np.cumsum([0, *(len(table) for table in tables)])
    first_group = np.cumsum([0, *(int(part.groups.max(initial=-1)) + 1 for part in parts)])
    counts = [caption_counts(part.table)[part.rows] for part in parts]
    for part, count in zip(parts, counts, strict=True):
        if not len(count):
            continue
        rank_zero_info(
            f"{part.source.name} ({part.source.layout}, {part.source.folder}) {split}: "
            f"{len(count):,} images, {count.sum():,} captions"
        )
    count = np.concatenate(counts)
    ids = [part.table.data.column("image_id").to_numpy()[part.rows] for part in parts]
    return CaptionRows(
        table=concatenate_datasets(tables).select_columns("captions"),
        sources=tuple(part.source.name for part in parts),
        files=pa.array([file for part in parts for file in part.files], pa.string()),
        table_row=np.concatenate([part.rows + start for part, start in zip(parts, first, strict=False)]),
        image_ids=np.concatenate(ids),
        groups=np.concatenate([p.groups + start for p, start in zip(parts, first_group, strict=False)]),
        image_sources=np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts]),
        image=np.repeat(np.arange(len(count)), count),
        position=np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count),
    )

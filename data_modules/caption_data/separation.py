"""Which images of a source are trained on: none that any source evaluates on, under whatever name."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from data_modules.caption_data.images import CaptionSource, Split
from data_modules.caption_data.sources import hold_out
from data_modules.caption_data.tables import caption_table
from data_modules.loaders import Order

if TYPE_CHECKING:  # a second of imports that other modules need not pay
    from datasets import Dataset as Table

log = logging.getLogger(__name__)


class SplitTables:
    """The tables of one source, each opened once, and which of their rows a split has.

    Args:
        source: The source.
        val_fraction: Share of its training images held out where it has no validation file.
        group_size: Consecutive images that are held out together.
    """

    def __init__(self, source: CaptionSource, val_fraction: float, group_size: int) -> None:
        self.source = source
        self.val_fraction = val_fraction
        self.group_size = group_size
        self._tables: dict[Split, Table] = {}

    def table(self, split: Split) -> "Table":
        """Open the table that holds a split's images; held-out ones stand in the training table.

        Raises:
            DatasetNotFoundError: The source has no such split.
            DatasetError: An annotation file cannot be used.
        """
        stored = file_split(self.source, split)
        if stored not in self._tables:
            self._tables[stored] = caption_table(self.source, stored)
        return self._tables[stored]

    def rows(self, split: Split) -> Order:
        """Rows of the table that a split has, in file order, before any is left out."""
        table = self.table(split)
        if split == "test" or "val" in self.source.splits:
            return np.arange(len(table))
        return hold_out(len(table), self.val_fraction, self.group_size)[split]

    def ids(self, split: Split) -> Order:
        """Number of each image of a split, the same for one photo in all sources."""
        numbers: Order = self.table(split).data.column("image_id").to_numpy()[self.rows(split)]
        return numbers


def file_split(source: CaptionSource, split: Split) -> Split:
    """Return the split whose annotation file holds a split's images.

    Args:
        source: The source.
        split: Which split.

    Returns:
        The split itself, or ``train`` where validation images are held out of it.
    """
    return "train" if split == "val" and "val" not in source.splits else split


def splits_to_read(source: CaptionSource, splits: Sequence[Split]) -> list[Split]:
    """List the annotation files that splits of a mixture need: training needs those evaluated on too.

    Args:
        source: The source.
        splits: Which splits are built.

    Returns:
        Splits of the source that have a file, each once.
    """
    wanted = list(splits)
    if "train" in splits:
        wanted += ["val", *(split for split in source.splits if split == "test")]
    return list(dict.fromkeys(file_split(source, split) for split in wanted))


def training_rows(number: int, sources: Sequence[SplitTables]) -> Order:
    """Choose the images of a source that are trained on, and log how many are not.

    Left out are those of any source's validation split, held out or from a file, and of any source's test
    split: half of Visual Genome's photos are COCO's, those that COCO is validated and tested on included.

    Args:
        number: Place of the source among all.
        sources: All of the mixture.

    Returns:
        Rows of its training table, in file order.
    """
    own = sources[number]
    rows, ids = own.rows("train"), own.ids("train")
    evaluated = np.zeros(len(rows), dtype=bool)
    places = []
    for other in sources:
        if other is own and own.source.disjoint:
            continue
        found: list[str] = []
        for split in splits_to_evaluate(other.source):
            shared = np.isin(ids, other.ids(split))
            found += [split] if shared.any() else []
            evaluated |= shared
        if found:
            places.append(f"{other.source.name}'s {' or '.join(found)} split")
    if places:
        rank_zero_info(
            f"{own.source.name} train: left out {np.count_nonzero(evaluated):,} images that are in "
            f"{' or '.join(places)}"
        )
    return rows[~evaluated]


def splits_to_evaluate(source: CaptionSource) -> tuple[Split, ...]:
    """Return the splits of a source that are never trained on: test only where there is a file of it."""
    return ("val", "test") if "test" in source.splits else ("val",)


def report_splits(source: CaptionSource, val_fraction: float, *, trains: bool) -> None:
    """Log what is to be known of a source's splits.

    Args:
        source: The source.
        val_fraction: Share of its training images held out where it has no validation file.
        trains: Whether its training images are trained on.
    """
    where = f"{source.name} ({source.layout}, {source.folder})"
    if "val" not in source.splits:
        share = f"{100 * val_fraction:g}% of its training images is held out"
        if source.val_name:
            _warn(f"{where} has no {source.val_name}: {share} instead")
        else:
            rank_zero_info(f"{where} has no validation file: {share}")
    if trains and source.caution:
        _warn(f"{where}: {source.caution}")


@rank_zero_only
def _warn(message: str) -> None:
    """Warn, once over all processes."""
    log.warning(message)

"""The published data sets: their files, counts and licences, and what lists and downloads them."""

from data_modules.catalogue.commands import (
    dataset_folder,
    download_dataset,
    expected,
    find_entry,
    print_catalogue,
)
from data_modules.catalogue.entries import DATASETS, DatasetEntry, ExpectedCount, RoundedCounts

__all__ = [
    "DATASETS",
    "DatasetEntry",
    "ExpectedCount",
    "RoundedCounts",
    "dataset_folder",
    "download_dataset",
    "expected",
    "find_entry",
    "print_catalogue",
]

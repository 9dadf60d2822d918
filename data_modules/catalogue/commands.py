"""What `lightning data list` and `download` do: the data sets, their files and their published counts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contextblip.downloads import download_all, missing_files
from contextblip.downloads.meters import size_words
from contextblip.downloads.remote_files import copy_list, sum_words
from contextblip.errors import ConfigurationError
from data_modules.catalogue.entries import DATASETS, DatasetEntry, ExpectedCount, RoundedCounts

_WIDTH = 100  # columns where the output goes to no terminal


def find_entry(name: str) -> DatasetEntry:
    """Look a data set up.

    Args:
        name: As on the command line.

    Returns:
        Its entry.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if name not in DATASETS:
        raise ConfigurationError(f"no data set {name!r}; {_choices(name, tuple(DATASETS))}")
    return DATASETS[name]


def expected(name: str, layout: str) -> dict[str, int | tuple[int, ...]]:
    """Return the published counts.

    Args:
        name: The data set.
        layout: One of its layouts, in any case; what follows a comma is not part of the name.

    Returns:
        Count by label, such as ``train texts``. Where several editions are in use, all their counts; ask
        with ``in``, for some were published only to the thousand (`RoundedCounts`).

    Raises:
        ConfigurationError: There is no such data set or layout.
    """
    layouts = find_entry(name).layouts
    key = layout.partition(",")[0].strip().lower()
    if key not in layouts:
        raise ConfigurationError(f"{name} has no layout {layout!r}; {_choices(key, tuple(layouts))}")
    return {count.label: count.count for count in layouts[key]}


def dataset_folder(name: str, root: Path) -> Path:
    """Return where a data set's files go.

    That is the root if it is named after the data set or holds files of it, else a folder in the root.

    Args:
        name: The data set.
        root: The data set's own folder or a parent.

    Returns:
        The folder.
    """
    entry = find_entry(name)
    named = root.resolve().name.lower().replace("-", "_") == name
    holds = any((root / file.path).is_file() for file in entry.files)
    return root if named or holds else root / name


def download_dataset(
    name: str,
    root: Path,
    *,
    parts: Sequence[str] | None = None,
    mirror: str | None = None,
    dry_run: bool = False,
) -> None:
    """Download a data set, extract what is read extracted, and say what comes next.

    Args:
        name: The data set.
        root: Its own folder or a parent.
        parts: Which; by default what training and evaluation need.
        mirror: Folder or URL to take all files from instead.
        dry_run: Only say what would be copied where.

    Raises:
        ConfigurationError: There is no such data set or part.
        DownloadError: A file cannot be had, is not the published one, or there is no room.
        DatasetError: An archive is damaged or not safe to extract.
    """
    entry, folder = find_entry(name), dataset_folder(name, root)
    chosen = tuple(entry.default_parts if parts is None else parts)
    for part in chosen:
        if part not in entry.parts:
            raise ConfigurationError(f"{name} has no part {part!r}; {_choices(part, tuple(entry.parts))}")
    files = entry.files_of(chosen)
    out = sys.stdout
    if dry_run:
        missing = missing_files(files, folder)
        there = f"{len(files) - len(missing)} of {len(files)} files are there already\n"
        out.write(f"{copy_list(missing, folder, mirror)}\n{there}")
        return
    out.write(f"{entry.title} ({', '.join(chosen)}) into {folder}; licence: {entry.licence}\n")
    paths = download_all(files, folder, mirror=mirror)
    size = sum(path.stat().st_size for path in paths if path.is_file())
    out.writelines(f"note: {file.path}: {file.note}\n" for file in files if file.note)
    out.write(f"{size_words(size)} in {folder}; next: lightning data verify {name} --root {root}\n")


def print_catalogue() -> None:
    """Print the data sets with their parts, published counts, licences and notes."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for entry in DATASETS.values():
        console.print(Text.assemble((entry.name, "bold"), f"  {entry.title}: {entry.what}"))
        console.print(_details(entry))
        console.print()
    command = "lightning data download NAME --root DIR [--parts PART ...] [--mirror URL] [--dry_run]"
    console.print(Text(f"* unless parts are named.  {command}"), soft_wrap=True)


def _details(entry: DatasetEntry) -> Table:
    """Draw what there is to say of a data set."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for part, files in entry.parts.items():
        hosts = ", ".join(dict.fromkeys(_host(url) for file in files for url in file.urls))
        mark = "*" if part in entry.default_parts else ""
        table.add_row(Text(f"  part {part}{mark}"), Text(f"{sum_words(files)}, from {hosts}"))
    for layout, counts in entry.layouts.items():
        table.add_row(Text(f"  layout {layout}"), Text(", ".join(map(_count_words, counts))))
    unknown = any(file.likely_size is None for file in entry.files_of(entry.default_parts))
    more = " and what is of unknown size" if unknown else ""
    disk = f"about {size_words(entry.disk)}{more}, with archives and what is extracted of them"
    table.add_row("  disk", disk)
    table.add_row("  licence", Text(entry.licence))
    table.add_row("  homepage", Text(entry.homepage))
    for note in entry.notes:
        table.add_row("  note", Text(note))
    return table


def _count_words(count: ExpectedCount) -> str:
    numbers = (count.count,) if isinstance(count.count, int) else count.count
    about = "about " if isinstance(numbers, RoundedCounts) else ""
    return f"{about}{' or '.join(f'{number:,}' for number in numbers)} {count.label}"


def _host(url: str) -> str:
    """Name where a file comes from."""
    scheme, _, rest = url.partition("://")
    return "the Hugging Face hub" if scheme == "hf" else rest.partition("/")[0]


def _choices(given: str, choices: Sequence[str]) -> str:
    near = get_close_matches(given, choices, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}"

"""Archives that explode while they are listed, before a byte of theirs is written."""

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from contextblip.downloads.extraction import extract
from contextblip.errors import DatasetError

LARGE = 64 * 2**20


def bomb(path: Path, kind: bytes, *, first: bool) -> Path:
    """Write a small archive with a header of many bytes, which tarfile would read whole."""
    with gzip.open(path, "wb") as file:
        if not first:
            info = tarfile.TarInfo("fine.txt")
            file.write(info.tobuf(tarfile.GNU_FORMAT))
        head = tarfile.TarInfo("header")
        head.type, head.size = kind, LARGE
        file.write(head.tobuf(tarfile.GNU_FORMAT))
        for _ in range(LARGE // 2**20):
            file.write(bytes(2**20))
        file.write(tarfile.TarInfo("last.txt").tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert path.stat().st_size < LARGE / 100
    return path


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_headers_without_end_are_not_read(kind: bytes, first: bool, tmp_path: Path) -> None:
    archive = bomb(tmp_path / "x.tar.gz", kind, first=first)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=r"x\.tar\.gz: refused: a header has 67,108,864 bytes"):
            extract(archive, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LARGE / 4
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_long_names_are_read(tmp_path: Path) -> None:
    name = "/".join(["a" * 90] * 4)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        archive = tmp_path / f"{form}.tar"
        with tarfile.open(archive, "w", format=form) as file:
            info = tarfile.TarInfo(name)
            info.size = 3
            file.addfile(info, io.BytesIO(b"abc"))
        assert (extract(archive, tmp_path / str(form)) / name).read_bytes() == b"abc"


def test_a_hole_counts_as_what_it_would_write(tmp_path: Path) -> None:
    """A sparse member of a terabyte takes a few bytes in the archive."""
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("sparse")
        info.pax_headers = {"GNU.sparse.size": str(2**40), "GNU.sparse.map": "0,0"}
        file.addfile(info, io.BytesIO())
    with pytest.raises(DatasetError, match=r"x\.tar: would extract to more than .* bytes"):
        extract(archive, tmp_path / "out")

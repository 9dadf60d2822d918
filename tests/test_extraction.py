"""Archives extracted without trusting them: what must be refused, and what an interruption leaves."""

import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import contextblip.downloads.extraction
from contextblip.downloads.extraction import extract, is_extracted, lacking_files
from contextblip.downloads.meters import DownloadError
from contextblip.errors import DatasetError

GOOD = {"images/a.jpg": b"a" * 3000, "images/deep/b.jpg": b"b", "notes.txt": b""}
Write = Callable[[Path, Mapping[str, bytes]], Path]


def write_zip(path: Path, content: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images/", b"")
        for name, data in content.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as given: the constructor would mend some names
            file.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


def write_tar(path: Path, content: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the content of all files, our own notes aside."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".contextblip" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def spy_on_writing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of the members that are written."""
    written, plain = [], contextblip.downloads.extraction._write

    def spy(*given: object) -> None:
        written.append(given[1].name)  # type: ignore[attr-defined]  # a member of the archive
        plain(*given)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(contextblip.downloads.extraction, "_write", spy)
    return written


@pytest.mark.parametrize(
    ("write", "name"), [(write_zip, "x.zip"), (write_tar, "x.tar"), (write_tar, "x.tar.gz")]
)
def test_extracts_beside_what_is_there(tmp_path: Path, write: Write, name: str) -> None:
    archive, folder = write(tmp_path / name, GOOD), tmp_path / "out"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "mine.jpg").write_bytes(b"mine")
    assert not is_extracted(archive, folder)
    assert extract(archive, folder) == folder
    assert files_below(folder) == {**GOOD, "images/mine.jpg": b"mine"}
    assert is_extracted(archive, folder)


def test_done_once_it_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_zip(tmp_path / "x.zip", GOOD)
    extract(archive, tmp_path)
    with monkeypatch.context() as patch:
        patch.delattr(contextblip.downloads.extraction, "_extract_members")
        extract(archive, tmp_path)
        archive.unlink()
        extract(archive, tmp_path)  # deleted to save room
    (tmp_path / "notes.txt").unlink()
    with pytest.raises(DatasetError, match=r"x\.zip: no such archive; download it again"):
        extract(archive, tmp_path)


@pytest.mark.parametrize(("write", "name"), [(write_zip, "x.zip"), (write_tar, "x.tar.gz")])
def test_only_what_lacks_is_extracted_again(
    tmp_path: Path, write: Write, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, folder = write(tmp_path / name, GOOD), tmp_path / "out"
    extract(archive, folder)
    (folder / "images" / "a.jpg").write_bytes(b"cut")
    shutil.rmtree(folder / "images" / "deep")
    (folder / "images" / "mine.jpg").write_bytes(b"mine")
    assert lacking_files(archive, folder) == ["images/a.jpg", "images/deep/b.jpg"]
    written = spy_on_writing(monkeypatch)
    extract(archive, folder)
    assert written == ["images/a.jpg", "images/deep/b.jpg"]
    assert files_below(folder) == {**GOOD, "images/mine.jpg": b"mine"}
    assert is_extracted(archive, folder)


def test_what_was_extracted_by_hand_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, folder = write_zip(tmp_path / "x.zip", GOOD), tmp_path / "out"
    for name in ("images/a.jpg", "images/deep/b.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(GOOD[name])
    written = spy_on_writing(monkeypatch)
    extract(archive, folder)
    assert written == ["notes.txt"]
    archive.unlink()
    assert is_extracted(archive, folder)


def test_a_record_of_another_form_counts_as_none(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "x.zip", GOOD)
    extract(archive, tmp_path)
    (record,) = (tmp_path / ".contextblip" / "extracted").iterdir()
    for content in ("{", "[]", '{"size": 1}', '{"size": 1, "folders": [""]}'):
        record.write_text(content)
        assert lacking_files(archive, tmp_path) is None
    extract(archive, tmp_path)
    assert is_extracted(archive, tmp_path)


def test_another_edition_is_not_mistaken_for_the_one_there(tmp_path: Path) -> None:
    extract(write_zip(tmp_path / "x.zip", {"a": b"one"}), tmp_path)
    extract(write_zip(tmp_path / "x.zip", {"a": b"two", "b": b""}), tmp_path)
    assert (tmp_path / "a").read_bytes() == b"two"


def test_another_archive_of_that_name_is_extracted(tmp_path: Path) -> None:
    extract(write_zip(tmp_path / "x.zip", GOOD), tmp_path)
    extract(write_zip(tmp_path / "x.zip", {**GOOD, "more.txt": b"more"}), tmp_path)
    assert (tmp_path / "more.txt").read_bytes() == b"more"


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "C:/evil", "a\\..\\evil"])  # noqa: S108
def test_paths_that_lead_out_are_refused(tmp_path: Path, write: Write, name: str) -> None:
    archive, folder = write(tmp_path / "x.archive", {"fine.txt": b"", name: b"evil"}), tmp_path / "out"
    with pytest.raises(DatasetError) as stop:
        extract(archive, folder)
    assert str(stop.value).startswith(f"{archive}: refused: {name!r} ")
    assert str(stop.value).endswith("; nothing was extracted")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_tars_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as file:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        file.addfile(info)
    with pytest.raises(DatasetError, match="'link' is a link or a device; nothing was extracted"):
        extract(archive, tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


def test_links_of_zips_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DatasetError, match="'link' is a link or a device"):
        extract(archive, tmp_path / "out")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "x.zip", {"secret": b"x"})
    content = bytearray(archive.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match="'secret' is encrypted"):
        extract(archive, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_occur_twice_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", "1")
        file.writestr("./a", "2")
    with pytest.raises(DatasetError, match=r"'\./a' occurs twice"):
        extract(archive, tmp_path / "out")


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_bombs_are_refused(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path / "x.gz", {"zeros": bytes(5_000_000)})
    with pytest.raises(DatasetError, match="would extract to more than .* it is not the published archive"):
        extract(archive, tmp_path / "out")
    assert files_below(tmp_path / "out") == {}
    with monkeypatch.context() as patch:
        patch.setattr(contextblip.downloads.extraction, "MAX_RATIO", 2_000)
        extract(archive, tmp_path / "out")
    assert (tmp_path / "out" / "zeros").stat().st_size == 5_000_000
    monkeypatch.setattr(contextblip.downloads.extraction, "MAX_MEMBERS", 2)
    with pytest.raises(DatasetError, match="or 2 files"):
        extract(write(tmp_path / "y.gz", GOOD), tmp_path / "out")


@pytest.mark.parametrize(
    ("write", "damage"),
    [
        (write_zip, lambda content: content.replace(b"PK\x01\x02", b"PK\x01\x03")),
        (write_zip, lambda content: content[:90] + bytes([content[90] ^ 255]) + content[91:]),
        (write_tar, lambda content: content[: len(content) // 2]),
    ],
)
def test_damaged_archives_are_named(tmp_path: Path, write: Write, damage: Callable[[bytes], bytes]) -> None:
    archive = write(tmp_path / "x.gz", {"a": bytes(range(256)) * 20})
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(DatasetError, match=r"x\.gz: damaged \(.*\); delete it and download it again"):
        extract(archive, tmp_path / "out")
    assert not is_extracted(archive, tmp_path / "out")


def test_no_archive_at_all(tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_text("<html>Not found</html>")
    with pytest.raises(DatasetError, match=r"page\.zip: no zip and no tar, or cut short; delete it"):
        extract(tmp_path / "page.zip", tmp_path / "out")


@pytest.mark.parametrize(("write", "name"), [(write_zip, "x.zip"), (write_tar, "x.tar.gz")])
def test_an_interruption_is_gone_on_from(
    tmp_path: Path, write: Write, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, folder = write(tmp_path / name, GOOD), tmp_path / "out"
    written = []
    plain = contextblip.downloads.extraction._write

    def interrupted(*given: object) -> None:
        written.append(given[1].name)  # type: ignore[attr-defined]  # a member of the archive
        if len(written) == 2:
            raise KeyboardInterrupt
        plain(*given)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(contextblip.downloads.extraction, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(archive, folder)
    assert not (folder / "images").exists()  # nothing half done is seen
    extract(archive, folder)
    assert written == ["images/a.jpg", "images/deep/b.jpg", "images/deep/b.jpg", "notes.txt"]
    assert files_below(folder) == GOOD


def test_room_is_checked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path, needed: int, what: str) -> None:
        raise DownloadError(f"{what}: needs {needed}")

    monkeypatch.setattr(contextblip.downloads.extraction, "check_space", full)
    with pytest.raises(DownloadError, match=r"x\.zip: needs \d+"):
        extract(write_zip(tmp_path / "x.zip", GOOD), tmp_path / "out")
    assert files_below(tmp_path / "out").keys() == {".extracting-x.zip/.archive.json"}

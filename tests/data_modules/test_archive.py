"""Images read straight from a zip archive: same bytes, no shared handles, clear errors."""

import multiprocessing
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contextblip.errors import DatasetError
from data_modules import archive as archive_module
from data_modules.archive import ArchivedFolder, ArchivedImage, ImageArchive
from data_modules.images import readable_image

Content = dict[str, bytes]


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Write an archive."""

    def write(content: Content, packing: int = zipfile.ZIP_STORED, name: str = "a.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", packing) as archive:
            for member, data in content.items():
                archive.writestr(member, data)
        return tmp_path / name

    return write


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read(pack: Callable[..., Path], packing: int) -> None:
    content = {"s/img1.jpg": b"one" * 1000, "s/img0.jpg": b"", "deep/er/t/img7.jpg": b"\x00\xff" * 70_000}
    archive = ImageArchive.open(pack(content, packing), "IMAGECODE")
    assert len(archive) == 3
    assert {name: archive.read(name) for name in content} == content
    assert list(archive.folders()) == [("deep/er/t", ["img7.jpg"]), ("s", ["img0.jpg", "img1.jpg"])]


def test_folders_hold_together_what_sorting_by_path_mixes(pack: Callable[..., Path]) -> None:
    archive = ImageArchive.open(pack(dict.fromkeys(["a/z", "a/b/x", "a/c", "a.b/q", "top"], b"")), "D")
    assert list(archive.folders()) == [("", ["top"]), ("a", ["c", "z"]), ("a.b", ["q"]), ("a/b", ["x"])]


def test_a_local_header_of_unusual_length(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("s/img0.jpg")
    # an extra field of 2,000 bytes, as tools that align their members write
    member.extra = (0xD935).to_bytes(2, "little") + (2000).to_bytes(2, "little") + b"\0" * 2000
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as writer:
        writer.writestr(member, b"pixels")
    assert ImageArchive.open(tmp_path / "b.zip", "D").read("s/img0.jpg") == b"pixels"


def test_offsets_beyond_four_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.truncate(5 * 1024**3)  # a hole, which takes no room on disk
    with zipfile.ZipFile(path, "a") as writer:
        writer.writestr("s/img0.jpg", b"far away")
    archive = ImageArchive.open(path, "D")
    assert archive.read("s/img0.jpg") == b"far away"
    assert int(archive._table["offset"][0]) > 2**32


def test_more_members_than_a_plain_zip_can_count(pack: Callable[..., Path]) -> None:
    names = [f"s{number // 10}/img{number % 10}.jpg" for number in range(66_000)]
    archive = ImageArchive.open(pack(dict.fromkeys(names, b"")), "D")
    assert len(archive) == 66_000
    assert sum(len(files) for _, files in archive.folders()) == 66_000
    assert archive.names.nbytes + archive._table.nbytes < 66_000 * 100


def test_of_two_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as writer:
        writer.writestr("s/img0.jpg", b"old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            writer.writestr("s/img0.jpg", b"new")
    archive = ImageArchive.open(tmp_path / "a.zip", "D")
    assert (len(archive), archive.read("s/img0.jpg")) == (1, b"new")


def test_names_that_leave_the_folder_and_links_are_never_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = zipfile.ZipInfo("s/img1.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    bad = [
        "../img0.jpg",
        "/etc/img0.jpg",
        "s/../../img0.jpg",
        "C:/img0.jpg",
        "s\\..\\img2.jpg",
        "s//img3.jpg",
    ]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as writer:
        writer.writestr(link, "/etc/passwd")
        for name in [*bad, "__MACOSX/s/img0.jpg", "x" * 600 + "/img0.jpg", "s/img0.jpg"]:
            writer.writestr(name, b"x")
        writer.mkdir("s/empty")
    archive = ImageArchive.open(tmp_path / "a.zip", "D")
    assert list(archive.folders()) == [("s", ["img0.jpg"])]
    assert archive.ignored == len(bad) + 2  # the link and the long name
    ImageArchive.open(tmp_path / "a.zip", "another")
    assert caplog.messages == [
        f"8 members of {tmp_path / 'a.zip'} are left out: they are links or their names are unsafe; "
        "download it again if images are missing"
    ]
    with pytest.raises(FileNotFoundError):
        archive.read("../img0.jpg")


def test_names_need_not_be_ascii(pack: Callable[..., Path]) -> None:
    archive = ImageArchive.open(pack({"видео-é/img0.jpg": b"x"}), "D")
    ((folder, files),) = archive.folders()
    assert ArchivedFolder(archive, folder).joinpath(files[0]).read() == b"x"


@pytest.mark.parametrize("keep", [0, 30, 200, -1])
def test_what_is_no_complete_archive_is_named(pack: Callable[..., Path], keep: int) -> None:
    path = pack({"s/img0.jpg": b"x" * 1000})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError) as error:
        ImageArchive.open(path, "IMAGECODE")
    assert str(error.value) == (
        f"IMAGECODE: {path} is no complete zip archive (File is not a zip file); download it again"
    )


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"D: .*a\.zip cannot be opened \(No such file or directory\)"):
        ImageArchive.open(tmp_path / "a.zip", "D")


def broken(archive: ImageArchive, name: str = "s/img0.jpg") -> str:
    with pytest.raises(DatasetError) as error, readable_image(ArchivedImage(archive, name), "D, set s"):
        pass
    message = str(error.value)
    assert message.startswith(f"D, set s: cannot read image {name} in {archive.path} (")
    return message


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_fails_its_checksum(pack: Callable[..., Path], packing: int) -> None:
    path = pack({"s/img0.jpg": os.urandom(1000), "s/img1.jpg": b"whole"}, packing)
    archive = ImageArchive.open(path, "D")
    data = bytearray(path.read_bytes())
    data[500] ^= 0xFF
    path.write_bytes(data)
    assert "it is damaged: " in broken(archive)
    assert archive.read("s/img1.jpg") == b"whole"


def test_an_archive_cut_or_replaced_after_it_was_opened(pack: Callable[..., Path]) -> None:
    path = pack({"s/img0.jpg": b"x" * 100, "s/img1.jpg": b"y" * 100})
    archive = ImageArchive.open(path, "D")
    whole = path.read_bytes()
    path.write_bytes(b"?" * len(whole))
    assert "it was changed" in broken(archive, "s/img1.jpg")
    path.write_bytes(whole[:120])
    assert "it was cut or replaced" in broken(archive, "s/img1.jpg")


def test_a_file_that_changed_is_opened_anew(pack: Callable[..., Path]) -> None:
    first = ImageArchive.open(pack({"s/img0.jpg": b"x"}), "D")
    assert ImageArchive.open(first.path, "D") is first
    assert ImageArchive.open(pack({"s/img0.jpg": b"longer"}), "D").read("s/img0.jpg") == b"longer"


def test_bombs_are_refused(pack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    archive = ImageArchive.open(pack({"s/img0.jpg": b"\0" * 10_000}, zipfile.ZIP_DEFLATED), "D")
    monkeypatch.setattr(archive_module, "MAX_MEMBER_BYTES", 9_999)
    assert "(it has 10,000 bytes, more than the limit of 9,999)" in broken(archive)


def test_a_member_larger_than_announced_is_not_unpacked(pack: Callable[..., Path]) -> None:
    archive = ImageArchive.open(pack({"s/img0.jpg": b"\0" * 1_000_000}, zipfile.ZIP_DEFLATED), "D")
    archive._table["size"] = 10
    assert "(it is damaged: its length or checksum" in broken(archive)


def test_other_packings_are_named(pack: Callable[..., Path]) -> None:
    archive = ImageArchive.open(pack({"s/img0.jpg": b"x" * 100}, zipfile.ZIP_BZIP2), "D")
    assert "packed by method 12, only stored and deflated ones are read; extract" in broken(archive)
    archive._table["flags"] |= 1
    assert "(it is encrypted)" in broken(archive)


def test_missing_member(pack: Callable[..., Path]) -> None:
    assert "(no such file)" in broken(ImageArchive.open(pack({"s/img0.jpg": b"x"}), "D"), "s/img1.jpg")


def test_a_pickle_holds_the_path_alone(pack: Callable[..., Path]) -> None:
    content = {f"s/img{number}.jpg": b"x" for number in range(1000)}
    image = ArchivedImage(ImageArchive.open(pack(content), "D"), "s/img7.jpg")
    pickled = pickle.dumps(image)
    assert len(pickled) < 500
    assert pickle.loads(pickled).read() == b"x"  # noqa: S301  # our own bytes


def _report(archive: ImageArchive, names: list[str], answers: "multiprocessing.Queue[object]") -> None:
    inherited = archive._reader
    answers.put({name: archive.read(name) for name in names})
    own = archive._reader
    answers.put((inherited is own, own is not None and own.pid == os.getpid()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_process_opens_the_file_for_itself(pack: Callable[..., Path], method: str) -> None:
    content = {f"s/img{number}.jpg": bytes([number]) * 5000 for number in range(50)}
    archive = ImageArchive.open(pack(content, zipfile.ZIP_DEFLATED), "D")
    archive.read("s/img0.jpg")  # so that there is a handle to inherit
    mine = archive._reader
    context = multiprocessing.get_context(method)
    answers: multiprocessing.Queue[object] = context.Queue()
    workers = [
        context.Process(target=_report, args=(archive, list(content), answers))  # type: ignore[attr-defined]
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=60) for _ in range(4)]
    for worker in workers:
        worker.join()
    assert [answer for answer in found if isinstance(answer, dict)] == [content] * 2
    assert [answer for answer in found if isinstance(answer, tuple)] == [(False, True)] * 2
    assert archive._reader is mine
    assert archive.read("s/img1.jpg") == content["s/img1.jpg"]


def test_real_images_have_the_same_pixels_as_extracted_ones(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "imagecode" / "image-sets"
    files = [file for folder in sorted(root.iterdir())[:4] for file in sorted(folder.iterdir())]
    with zipfile.ZipFile(tmp_path / "image-sets.zip", "w") as writer:
        for file in files:
            writer.write(file, f"image-sets/{file.parent.name}/{file.name}")
    archive = ImageArchive.open(tmp_path / "image-sets.zip", "IMAGECODE")
    assert len(archive) == len(files) == 40
    for file in files:
        packed = ArchivedImage(archive, f"image-sets/{file.parent.name}/{file.name}")
        with readable_image(packed, "IMAGECODE") as image, Image.open(file) as expected:
            assert np.array_equal(np.asarray(image), np.asarray(expected))

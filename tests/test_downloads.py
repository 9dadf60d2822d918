"""Downloads from folders and the hub: verified, recorded, listed offline, and each failure as one line."""

import hashlib
import json
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

import contextblip.downloads.fetching
from contextblip.downloads import DownloadError, RemoteFile, download, download_all, missing_files, part_path
from contextblip.downloads.hub_files import HubFile
from contextblip.downloads.remote_files import copy_list
from contextblip.downloads.transfers import note_path

CONTENT = bytes(range(256)) * 64


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Publish a file in another folder, with a blank in its name."""
    path = tmp_path / "published" / "the data.raw"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def test_files_are_gone_on_with_too(source: Path, tmp_path: Path) -> None:
    part = part_path(tmp_path / "data.raw")
    part.write_bytes(b"seen ")  # not what lies there: shows that it was kept
    tag = f"mtime {source.stat().st_mtime_ns}"
    note_path(part).write_text(json.dumps({"url": source.as_uri(), "size": len(CONTENT), "tag": tag}))
    path = download(RemoteFile("data.raw", (source.as_uri(),)), tmp_path)
    assert path.read_bytes() == b"seen " + CONTENT[5:]


def test_a_file_that_lies_there_is_checked_not_replaced(source: Path, tmp_path: Path) -> None:
    (tmp_path / "data.raw").write_bytes(b"mine")
    remedy = f"delete {tmp_path / 'data.raw'} and download it again"
    with pytest.raises(DownloadError, match=f"has 4 bytes, but 9 were published; {remedy}"):
        download(RemoteFile("data.raw", (source.as_uri(),), 9), tmp_path)
    assert (tmp_path / "data.raw").read_bytes() == b"mine"


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / ".contextblip").mkdir()
    (tmp_path / ".contextblip" / "sha256.json").write_text("{")
    (tmp_path / "data.raw").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"sha256.json: no valid JSON .*; delete it"):
        download(RemoteFile("data.raw", ()), tmp_path)


def test_mirrors_are_tried_in_order(source: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.bin"
    urls = (absent.as_uri(), "ftp://x/y", source.as_uri())
    assert download(RemoteFile("data.raw", urls), tmp_path / "a").read_bytes() == CONTENT
    with pytest.raises(DownloadError) as stop:
        download(RemoteFile("data.raw", urls[:2]), tmp_path / "b")
    assert str(stop.value) == (
        f"data.raw could not be had: {absent.as_uri()} (No such file or directory: {absent}); "
        "ftp://x/y (a URL begins with one of https, http, file, hf); "
        f"put a copy at {tmp_path / 'b' / 'data.raw'} or name one with --mirror"
    )
    assert not stop.value.unreachable


def test_from_a_mirror_by_path_or_by_name(tmp_path: Path) -> None:
    file = RemoteFile("sub/data.raw", ("https://example.invalid/published%20name.bin",))
    usb = tmp_path / "usb"
    (usb / "sub").mkdir(parents=True)
    (usb / "sub" / "data.raw").write_bytes(b"by path")
    (usb / "data.raw").write_bytes(b"by name")
    assert download(file, tmp_path / "a", mirror=str(usb)).read_bytes() == b"by path"
    (usb / "sub" / "data.raw").unlink()
    assert download(file, tmp_path / "b", mirror=usb.as_uri()).read_bytes() == b"by name"
    (usb / "data.raw").rename(usb / "published name.bin")
    assert download(file, tmp_path / "c", mirror=str(usb)).read_bytes() == b"by name"
    with pytest.raises(DownloadError, match="--mirror nowhere: no such folder; give a folder, or a URL"):
        download(file, tmp_path / "d", mirror="nowhere")


def test_offline_nothing_is_asked_and_all_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for way in ("fetch_from_hub", "fetch"):
        monkeypatch.delattr(contextblip.downloads.fetching, way)  # asking for anything would fail otherwise
    hub = RemoteFile("b/c d.jpg", ("hf://datasets/ORG/NAME/images/c d.jpg",))
    files = [RemoteFile("data.raw", ("http://x/data.raw", "https://x/y"), len(CONTENT)), hub]
    with pytest.raises(DownloadError) as stop:
        download_all(files, tmp_path)
    assert str(stop.value) == (
        "HF_HUB_OFFLINE is set and 2 of 2 files are missing: copy them as listed above, name a copy with "
        "--mirror FOLDER, or unset HF_HUB_OFFLINE"
    )
    assert capsys.readouterr().out.splitlines() == [
        "What is missing, and where it belongs:",
        "http://x/data.raw  (16,384 bytes)",
        "  or https://x/y",
        f"  -> {tmp_path / 'data.raw'}",
        "https://huggingface.co/datasets/ORG/NAME/resolve/main/images/c%20d.jpg  (size unknown)",
        f"  -> {tmp_path / 'b' / 'c d.jpg'}",
        "2 files, 16.4 kB and 1 of unknown size",
    ]
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        download(files[0], tmp_path)
    (tmp_path / "data.raw").write_bytes(CONTENT)
    assert download_all(files[:1], tmp_path) == [tmp_path / "data.raw"]  # copied as listed


def test_offline_a_mirror_serves(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source.rename(source.parent / "data.raw")
    file = RemoteFile("data.raw", ("https://x/y",))
    (path,) = download_all([file], tmp_path, mirror=source.parent.as_uri())
    assert path.read_bytes() == CONTENT


def test_without_a_network_the_rest_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "there.bin"
    there.write_bytes(b"there")
    # nothing listens on port 9 of this machine
    files = [RemoteFile("a", (there.as_uri(),)), RemoteFile("b", ("http://127.0.0.1:9/b",))]
    with pytest.raises(DownloadError, match="Connection refused") as stop:
        download_all(files, tmp_path)
    assert stop.value.unreachable
    listed = capsys.readouterr().out.splitlines()[-3:]
    assert listed == [
        "http://127.0.0.1:9/b  (size unknown)",
        f"  -> {tmp_path / 'b'}",
        "1 file, size unknown",
    ]
    assert missing_files(files, tmp_path) == files[1:]


def test_what_lacks_of_an_archive_is_extracted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, root = tmp_path / "published.zip", tmp_path / "data"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("annotations/captions.json", "[1,2,3]")
        content.writestr("annotations/more.json", "[1]")
    file = RemoteFile("a.zip", (archive.as_uri(),), extract_to=".")
    download_all([file], root)
    captions, more = root / "annotations" / "captions.json", root / "annotations" / "more.json"
    captions.write_text("[1,2")
    more.unlink()
    download_all([file], root)
    assert (captions.read_text(), more.read_text()) == ("[1,2,3]", "[1]")
    assert "a.zip: 2 of its extracted files are missing or of another size, first annotations/" in (
        printed := capsys.readouterr().out
    )
    assert printed.splitlines()[-1].endswith("; extracted again")
    (root / "a.zip").unlink()  # extracted: it may go
    download_all([file], root)
    assert capsys.readouterr().out == ""
    captions.write_text("[1,2")
    assert missing_files([file], root) == [file]
    download_all([file], root)
    assert captions.read_text() == "[1,2,3]"
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith("first annotations/captions.json; fetched and extracted again")
    assert second == "to fetch: 1 file, size unknown; 0 of 1 are there already"


def test_room_on_the_disk_is_checked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(contextblip.downloads.fetching, "fetch")
    huge = RemoteFile("data.raw", ("https://x/y",), 10**18)
    with pytest.raises(DownloadError, match=r"needs 1,000,000 TB, but .* make room or choose another --root"):
        download_all([huge], tmp_path)


def test_the_hub_is_asked_through_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def give(repo: str, name: str, **rest: object) -> str:
        asked.append((repo, name, rest))
        path = Path(str(rest["local_dir"])) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"from the hub")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", give)
    file = RemoteFile("here.zip", ("hf://datasets/ORG/NAME@abc/sub/there.zip",), 12, sha256(b"from the hub"))
    download_all([file], tmp_path)
    assert (tmp_path / "here.zip").read_bytes() == b"from the hub"
    staging = tmp_path / ".contextblip" / "hub"
    rest = {"repo_type": "dataset", "revision": "abc", "local_dir": staging}
    assert asked == [("ORG/NAME", "sub/there.zip", rest)]
    assert not staging.exists()
    wrong = RemoteFile("other.zip", ("hf://ORG/NAME/other.zip",), 13)
    with pytest.raises(DownloadError, match="has 12 bytes, but 13 were published; it was not kept"):
        download(wrong, tmp_path)


def test_what_the_hub_says_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [
        OSError("404: no such entry\nmore lines"),
        LocalEntryNotFoundError("please check\neverything"),
    ]

    def refuse(*_: object, **__: object) -> str:
        raise failures.pop(0)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(DownloadError, match=r"resolve/main/a\.bin \(404: no such entry\);") as stop:
        download(RemoteFile("a.bin", ("hf://ORG/NAME/a.bin",)), tmp_path)
    assert not stop.value.unreachable
    with pytest.raises(DownloadError) as stop:
        download(RemoteFile("a.bin", ("hf://ORG/NAME/a.bin",)), tmp_path)
    assert "https://huggingface.co/ORG/NAME/resolve/main/a.bin (the hub cannot be reached);" in str(
        stop.value
    )
    assert stop.value.unreachable


def test_addresses_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HubFile.parse("hf://ORG/NAME@r/a/b.c") == HubFile("ORG/NAME", "a/b.c", "model", "r")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert HubFile.parse("hf://datasets/O/N/x").url == "https://mirror.example/datasets/O/N/resolve/main/x"


def test_the_list_names_the_mirror(tmp_path: Path) -> None:
    listed = copy_list([RemoteFile("a/b", ("https://x/y",), about=2_000)], tmp_path, "https://m/p/")
    assert listed.splitlines()[0] == "https://m/p/a/b  (2.00 kB)"

"""Files without a published hash: a wrong one is told by its form and size, and never trusted."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from contextblip.downloads import DownloadError, RemoteFile, download
from contextblip.downloads.file_forms import form_fault, shows_its_end

PAGE = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"
JPEG, PNG, PICKLE = b"\xff\xd8\xff\xe0...", b"\x89PNG\r\n\x1a\n...", b"\x80\x02\x8a\x0a"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("data.pkl", bytes(range(256)))
    return content.getvalue()


def fault(tmp_path: Path, name: str, content: bytes, *, parse: bool = False) -> str:
    path = tmp_path / "x.part"
    path.write_bytes(content)
    return form_fault(path, name, parse=parse)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'\xef\xbb\xbf\n[{"a": 1}]\n\n'),
        ("a.json", b" {} "),
        ("a.zip", zipped()),
        ("a.pth", zipped()),
        ("a.pth", PICKLE),
        ("a.bin", PICKLE),
        ("A.JPG", JPEG),
        ("a.jpg", PNG),  # converted by its host, not renamed
        ("a.png", PNG),
        ("a.csv", b"id,statement\n1,a <b> c"),
        ("a.yaml", b"- {}\n"),
        ("a.txt", b"[PAD]\n"),
        ("a", b"anything"),
    ],
)
def test_good_forms(tmp_path: Path, name: str, content: bytes) -> None:
    assert fault(tmp_path, name, content, parse=True) == ""


@pytest.mark.parametrize("name", ["a.json", "a.zip", "a.pth", "a.bin", "a.jpg", "a.csv", "a.yaml", "a.txt"])
def test_a_login_page_and_nothing_are_no_file(tmp_path: Path, name: str) -> None:
    assert "is a web page" in fault(tmp_path, name, PAGE)
    assert fault(tmp_path, name, b"") == "is empty"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"Not found", "is no JSON: it begins with neither"),
        ("a.json", b'[{"a": 1}, {"a"', "is cut short: its JSON has no end"),
        ("a.json", b'[{"a": 1}', "is cut short: its JSON has no end"),
        ("a.zip", zipped()[:-30], "is no zip, or cut short"),
        ("a.zip", b"Not found", "is no zip, or cut short"),
        ("a.pth", zipped()[:200], "is no zip, or cut short"),
        ("a.bin", b"version https://git-lfs", "holds no weights"),
        ("a.png", b"GIF89a", "is neither a JPEG nor a PNG"),
    ],
)
def test_wrong_forms(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    assert words in fault(tmp_path, name, content)


def test_json_that_ends_by_chance_is_parsed_on_demand(tmp_path: Path) -> None:
    cut = b'[{"caption": ["a"]'
    assert fault(tmp_path, "a.json", cut) == ""
    assert "no valid JSON" in fault(tmp_path, "a.json", cut, parse=True)


def test_which_forms_show_their_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(zipped())
    assert [shows_its_end(path, name) for name in ("a.json", "a.zip", "a.pth", "a.csv")] == [True] * 3 + [
        False
    ]
    path.write_bytes(PICKLE)
    assert not shows_its_end(path, "a.pth")


def test_a_page_is_not_kept_and_blocks_nothing(tmp_path: Path) -> None:
    source, root = tmp_path / "published.json", tmp_path / "data"
    file = RemoteFile("vg.json", (source.as_uri(),))
    source.write_bytes(PAGE)
    with pytest.raises(DownloadError, match=r"is a web page, .* and not the file; it was not kept"):
        download(file, root)
    assert not [path for path in root.rglob("*") if path.is_file()]
    source.write_bytes(b"[1]")
    assert download(file, root).read_bytes() == b"[1]"


def test_a_copy_by_hand_passes_the_same_check(tmp_path: Path) -> None:
    path = tmp_path / "vg.json"
    path.write_bytes(b"[1, 2")
    with pytest.raises(DownloadError) as stop:
        download(RemoteFile("vg.json", ()), tmp_path)
    assert str(stop.value) == (
        f"{path} is cut short: its JSON has no end; delete {path} and download it again"
    )
    assert not (tmp_path / ".contextblip").exists()
    path.write_bytes(b"[1, 2]")
    assert download(RemoteFile("vg.json", ()), tmp_path) == path


def test_the_size_is_compared_roughly(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 100)
    for about in (51, 199):
        download(RemoteFile("a.txt", (), about=about), tmp_path)
        (tmp_path / ".contextblip" / "sha256.json").unlink()
    for about in (49, 2_010):
        with pytest.raises(DownloadError, match=r"has 100 B, but about .*B were expected; delete"):
            download(RemoteFile("a.txt", (), about=about), tmp_path)


def test_a_published_hash_needs_no_form(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"odd")
    file = RemoteFile("a.json", (), sha256=hashlib.sha256(b"odd").hexdigest(), about=1_000)
    assert download(file, tmp_path).read_bytes() == b"odd"


def test_deleted_and_fetched_anew_it_is_first_use_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, root = tmp_path / "published.json", tmp_path / "data"
    file = RemoteFile("vg.json", (source.as_uri(),))
    source.write_bytes(b"[1]")
    path = download(file, root)
    path.write_bytes(b"[12]")
    with pytest.raises(DownloadError, match="was recorded when it was first seen") as stop:
        download(file, root)
    assert f"delete {path} and download it again, or remove its entry from {root}" in str(stop.value)
    source.write_bytes(b"[3]")
    path.unlink()  # the remedy works
    capsys.readouterr()
    assert download(file, root).read_bytes() == b"[3]"
    assert "vg.json is another file than was recorded before it was deleted" in capsys.readouterr().out
    record = json.loads((root / ".contextblip" / "sha256.json").read_text())
    assert record["vg.json"]["size"] == 3
    download(file, root)
    assert capsys.readouterr().out == ""

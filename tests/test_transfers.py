"""Transfers from a server on this machine: gone on with where that is safe, else begun anew."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import contextblip.downloads.meters
from contextblip.downloads import DownloadError, RemoteFile, download, part_path
from contextblip.downloads.hash_record import HashRecord
from contextblip.downloads.transfers import note_path

CONTENT = bytes(range(256)) * 4096  # a megabyte


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Served:
    """What a server on this machine offers, and what was asked of it."""

    address: str
    content: dict[str, bytes]
    ranges: bool = True
    tag: str = '"one"'
    cut_at: int | None = None
    cuts: int = 0
    redirect: str | None = None
    lengths: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0


def _handler(served: list[Served]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the server looks for this name
            state, asked = served[0], self.headers.get("Range")
            state.requests.append((self.path, asked))
            content = state.content.get(self.path)
            if state.redirect is not None:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
            elif content is None:
                self.send_error(404)
            else:
                self._send(state, content, asked)

        def _send(self, state: Served, content: bytes, asked: str | None) -> None:
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start:
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if state.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            end = len(content)
            if state.cuts > 0 and state.cut_at is not None:
                state.cuts, end = state.cuts - 1, state.cut_at
            state.sent += max(0, end - start)
            self.wfile.write(content[start:end])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            pass

    return Handler


@pytest.fixture
def served() -> Iterator[Served]:
    states: list[Served] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(states))
    states.append(Served(f"http://127.0.0.1:{server.server_port}", {"/data.raw": CONTENT}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield states[0]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def remote(served: Served, **rest: str) -> RemoteFile:
    return RemoteFile("data.raw", (f"{served.address}/data.raw",), **rest)  # type: ignore[arg-type]  # only texts are given


def begin(root: Path, url: str, count: int, tag: str = '"one"', size: int = len(CONTENT)) -> Path:
    """Leave what an interrupted download leaves."""
    part = part_path(root / "data.raw")
    part.write_bytes(CONTENT[:count])
    note_path(part).write_text(json.dumps({"url": url, "size": size, "tag": tag}))
    return part


def test_downloads_records_and_never_fetches_twice(served: Served, tmp_path: Path) -> None:
    path = download(remote(served), tmp_path)
    assert path.read_bytes() == CONTENT
    record = json.loads((tmp_path / ".contextblip" / "sha256.json").read_text())
    assert record["data.raw"]["sha256"] == sha256(CONTENT)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".contextblip", "data.raw"]
    download(remote(served), tmp_path)
    assert len(served.requests) == 1


@pytest.mark.parametrize("tag", ['"one"', 'W/"weak"'])
def test_an_interrupted_download_goes_on(served: Served, tmp_path: Path, tag: str) -> None:
    served.tag = tag
    begin(tmp_path, f"{served.address}/data.raw", 700_000, tag)
    assert download(remote(served), tmp_path).read_bytes() == CONTENT
    assert served.requests == [("/data.raw", "bytes=700000-")]
    assert served.sent == len(CONTENT) - 700_000


def test_a_connection_that_breaks_off_is_taken_up_again(served: Served, tmp_path: Path) -> None:
    served.cut_at, served.cuts = 600_000, 1
    assert download(remote(served), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in served.requests] == [None, "bytes=600000-"]
    assert served.sent == len(CONTENT)


def test_a_connection_that_always_breaks_off_gives_up(served: Served, tmp_path: Path) -> None:
    served.cut_at, served.cuts, served.ranges = 600_000, 100, False
    with pytest.raises(DownloadError, match=r"the connection broke off \(600,000 of 1,048,576 bytes came\)"):
        download(remote(served), tmp_path)
    assert part_path(tmp_path / "data.raw").stat().st_size == 600_000
    assert not (tmp_path / "data.raw").exists()


def test_a_changed_remote_starts_over(served: Served, tmp_path: Path) -> None:
    served.tag = '"two"'
    served.content["/data.raw"] = CONTENT[::-1]
    begin(tmp_path, f"{served.address}/data.raw", 700_000)
    assert download(remote(served), tmp_path).read_bytes() == CONTENT[::-1]
    assert [asked for _, asked in served.requests] == ["bytes=700000-", None]


def test_a_server_without_ranges_starts_over(served: Served, tmp_path: Path) -> None:
    served.ranges = False
    begin(tmp_path, f"{served.address}/data.raw", 700_000)
    assert download(remote(served), tmp_path).read_bytes() == CONTENT
    assert served.sent == len(CONTENT)


def test_without_any_proof_that_it_is_the_same_it_starts_over(served: Served, tmp_path: Path) -> None:
    served.tag = ""
    begin(tmp_path, f"{served.address}/data.raw", 700_000, tag="")
    assert download(remote(served), tmp_path).read_bytes() == CONTENT
    assert served.requests == [("/data.raw", None)]
    (tmp_path / "data.raw").unlink()
    begin(tmp_path, f"{served.address}/data.raw", 700_000, tag="")
    download(remote(served, sha256=sha256(CONTENT)), tmp_path)  # the hash will tell
    assert served.requests[1:] == [("/data.raw", "bytes=700000-")]


def test_another_mirrors_part_is_not_gone_on_with(served: Served, tmp_path: Path) -> None:
    begin(tmp_path, "http://elsewhere/data.raw", 700_000)
    assert download(remote(served), tmp_path).read_bytes() == CONTENT
    assert served.requests == [("/data.raw", None)]


def test_ctrl_c_keeps_what_came(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(contextblip.downloads.meters.Meter, "advance", interrupt)
        patch.setattr("contextblip.downloads.transfers._CHUNK", 300_000)
        with pytest.raises(KeyboardInterrupt):
            download(remote(served), tmp_path)
    assert part_path(tmp_path / "data.raw").stat().st_size == 300_000
    download(remote(served), tmp_path)
    assert served.requests[1:] == [("/data.raw", "bytes=300000-")]


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"sha256": "0" * 64}, f"has sha256 {sha256(CONTENT)}, but {'0' * 64} was published"),
        ({"md5": "0" * 32}, f"but {'0' * 32} was published"),
        ({"size": 12}, "offers 1,048,576 bytes, but 12 were published"),
    ],
)
def test_a_wrong_file_is_refused(served: Served, tmp_path: Path, known: dict[str, str], words: str) -> None:
    with pytest.raises(DownloadError) as stop:
        download(remote(served, **known), tmp_path)
    message = str(stop.value)
    assert words in message
    assert f"data.raw could not be had: {served.address}/data.raw (" in message
    assert message.endswith(f"put a copy at {tmp_path / 'data.raw'} or name one with --mirror")
    assert not any(path.is_file() for path in tmp_path.iterdir())


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_redirects_to_another_scheme_are_not_followed(served: Served, tmp_path: Path, target: str) -> None:
    served.redirect = target
    with pytest.raises(DownloadError, match="not allowed|not followed"):
        download(remote(served), tmp_path)
    assert not (tmp_path / "data.raw").exists()


def test_redirects_to_the_same_scheme_are_followed(served: Served, tmp_path: Path) -> None:
    served.content["/elsewhere"] = b"there"
    first = Served("", {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler([first]))
    first.redirect = f"{served.address}/elsewhere"
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/x"
    assert download(RemoteFile("x", (url,)), tmp_path).read_bytes() == b"there"
    thread.join()
    server.server_close()


def test_a_cut_reply_without_a_length_is_refused(served: Served, tmp_path: Path) -> None:
    served.lengths, whole = False, b'[{"image": "a.jpg", "caption": ["x"]}]'
    file = RemoteFile("vg.json", (f"{served.address}/vg.json",))
    for cut in (whole[:-1], whole[:-2]):  # the second ends as JSON may
        served.content["/vg.json"] = cut
        with pytest.raises(DownloadError, match="is cut short"):
            download(file, tmp_path)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    served.content["/vg.json"] = whole
    assert download(file, tmp_path).read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "trusted", "words"),
    [("vg.json", True, "it is whole by its form"), ("a.csv", False, "whether it is whole cannot be told")],
)
def test_only_what_is_whole_is_trusted(
    served: Served,
    tmp_path: Path,
    name: str,
    trusted: bool,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served.lengths, served.content[f"/{name}"] = False, b"[1]"
    file = RemoteFile(name, (f"{served.address}/{name}",))
    path = download(file, tmp_path)
    assert f"warning: {name} came without a length; {words}" in capsys.readouterr().out
    assert (HashRecord(tmp_path).trusted(name) is not None) == trusted
    path.write_bytes(b"[1, 2]")  # put there by hand
    if trusted:
        with pytest.raises(DownloadError, match="was recorded when it was first seen"):
            download(file, tmp_path)
    else:
        download(file, tmp_path)
        assert HashRecord(tmp_path).trusted(name) == sha256(b"[1, 2]")


def test_a_known_size_stands_for_the_length(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.lengths = False
    url = f"{served.address}/data.raw"
    download(RemoteFile("data.raw", (url,), len(CONTENT)), tmp_path)
    assert "warning" not in capsys.readouterr().out
    with pytest.raises(DownloadError, match="has 1,048,576 bytes, but 12 were published; it was not kept"):
        download(RemoteFile("other.raw", (url,), 12), tmp_path)


def test_answers_of_a_server_are_handed_on(served: Served, tmp_path: Path) -> None:
    address = f"{served.address}/gone"
    with pytest.raises(DownloadError) as stop:
        download(RemoteFile("data.raw", (address,)), tmp_path)
    assert f"{address} (HTTP 404 Not Found)" in str(stop.value)
    assert not stop.value.unreachable


def test_from_a_mirror_on_a_server(served: Served, tmp_path: Path) -> None:
    file = RemoteFile("sub/data.raw", ("https://example.invalid/never",))
    assert download(file, tmp_path, mirror=served.address).read_bytes() == CONTENT
    assert [path for path, _ in served.requests] == ["/sub/data.raw", "/data.raw"]

"""The catalogue of data sets: what is published, downloads from a folder, and the counts to expect."""

import hashlib
import json
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from contextblip.downloads import DownloadError
from contextblip.downloads.hub_files import HubFile
from contextblip.downloads.remote_files import RemoteFile
from contextblip.errors import ConfigurationError
from data_modules.catalogue import (
    DATASETS,
    DatasetEntry,
    ExpectedCount,
    commands,
    dataset_folder,
    download_dataset,
    expected,
    print_catalogue,
)
from data_modules.imagecode_files import ARCHIVE, PHENOMENA_FILE, PROPOSITION_FILES, SPLIT_FILES


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DatasetEntry:
    """Publish two files and an archive of photos in the folder ``published``."""
    published = tmp_path / "published"
    published.mkdir()
    (published / "texts.json").write_text("{}")
    (published / "more.json").write_text("[]")
    with zipfile.ZipFile(published / "photos.zip", "w") as file:
        file.writestr("photos/1.jpg", b"one")
    remote = {
        name: RemoteFile(name, ((published / name).as_uri(),), extract_to=extract_to, note=note)
        for name, extract_to, note in (
            ("texts.json", None, ""),
            ("more.json", None, "seldom needed"),
            ("photos.zip", "images", ""),
        )
    }
    entry = DatasetEntry(
        "toy",
        "Toy",
        "for tests",
        "https://example.invalid",
        "CC0",
        {"texts": (remote["texts.json"],), "photos": (remote["photos.zip"],), "more": (remote["more.json"],)},
        ("texts", "photos"),
        {"official": (ExpectedCount("texts", 1),)},
    )
    monkeypatch.setitem(DATASETS, "toy", entry)
    return entry


@pytest.mark.usefixtures("toy")
def test_download_extracts_and_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    download_dataset("toy", root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Toy (texts, photos) into {root / 'toy'}; licence: CC0"
    size = 2 + (root / "toy" / "photos.zip").stat().st_size
    assert lines[-1] == f"{size} B in {root / 'toy'}; next: lightning data verify toy --root {root}"
    assert (root / "toy" / "images" / "photos" / "1.jpg").read_bytes() == b"one"
    assert not (root / "toy" / "more.json").exists()
    recorded = json.loads((root / "toy" / ".contextblip" / "sha256.json").read_text())
    assert recorded["texts.json"]["sha256"] == hashlib.sha256(b"{}").hexdigest()
    download_dataset("toy", root, parts=["more"])
    assert "note: more.json: seldom needed" in capsys.readouterr().out
    (root / "toy" / "photos.zip").unlink()  # extracted: it may go
    (tmp_path / "published" / "photos.zip").unlink()
    download_dataset("toy", root)


@pytest.mark.usefixtures("toy")
def test_download_from_a_mirror(tmp_path: Path) -> None:
    copy = tmp_path / "usb"
    (tmp_path / "published").rename(copy)
    with pytest.raises(DownloadError, match=r"texts\.json could not be had: .*name one with --mirror"):
        download_dataset("toy", tmp_path / "a")
    download_dataset("toy", tmp_path / "a", mirror=copy.as_uri())
    assert (tmp_path / "a" / "toy" / "texts.json").read_text() == "{}"


def test_dry_run_lists_what_is_missing(
    toy: DatasetEntry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.json").write_text("{}")
    download_dataset("toy", tmp_path, dry_run=True)
    assert capsys.readouterr().out.splitlines() == [
        f"{toy.parts['photos'][0].urls[0]}  (size unknown)",
        f"  -> {tmp_path / 'photos.zip'}",
        "1 file, size unknown",
        "1 of 2 files are there already",
    ]
    assert [path.name for path in tmp_path.iterdir() if path.name != "published"] == ["texts.json"]


def test_where_files_go(tmp_path: Path) -> None:
    assert dataset_folder("imagecode", tmp_path) == tmp_path / "imagecode"
    assert dataset_folder("visual_genome", tmp_path / "visual-genome") == tmp_path / "visual-genome"
    (tmp_path / "valid_data.json").write_text("{}")
    assert dataset_folder("imagecode", tmp_path) == tmp_path


def test_mistakes_name_the_nearest_choice(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no data set 'imagcode'; did you mean imagecode?"):
        download_dataset("imagcode", tmp_path)
    with pytest.raises(ConfigurationError, match="coco has no part 'karpaty'; did you mean karpathy?"):
        download_dataset("coco", tmp_path, parts=["2014", "karpaty"])
    with pytest.raises(ConfigurationError, match="mmvp_vlm has no part '7'; there are questions, images"):
        download_dataset("mmvp_vlm", tmp_path, parts=["7"])
    with pytest.raises(ConfigurationError, match="coco has no layout 'own'; there are official 2017, off"):
        expected("coco", "own")


def test_published_counts() -> None:
    imagecode = expected("imagecode", "official, images in image-sets.zip")
    assert [imagecode[f"{split} sets"] for split in SPLIT_FILES] == [7_317, 1_039, 1_046]
    assert [imagecode[f"{split} texts"] for split in SPLIT_FILES] == [16_594, 2_302, 2_306]
    assert imagecode["images"] == 10 * (7_317 + 1_039 + 1_046)
    karpathy = expected("coco", "Karpathy")
    assert (karpathy["train images"], karpathy["train texts"]) == (113_287, 566_747)
    assert expected("mmvp_vlm", "official")["images"] == 270


def test_splits_of_coco_add_up() -> None:
    for layout in ("official 2017", "official 2014", "karpathy"):
        counts = expected("coco", layout)
        for what in ("images", "texts"):
            splits = [count for label, count in counts.items() if label.endswith(f" {what}")]
            assert sum(count for count in splits if isinstance(count, int)) == counts[what]


@pytest.mark.parametrize(
    ("count", "fits"),
    [(769_000, True), (768_600, True), (820_900, True), (821_774, True), (767_000, False), (822_500, False)],
)
def test_either_edition_of_visual_genome_is_accepted(count: int, fits: bool) -> None:
    texts = expected("visual_genome", "BLIP")["train texts"]
    assert isinstance(texts, tuple)
    assert (count in texts) == fits
    assert list(texts) == [769_000, 821_000]


@pytest.mark.parametrize("name", ["coco", "visual_genome", "imagecode", "mmvp_vlm"])
def test_entries_are_well_formed(name: str) -> None:
    entry = DATASETS[name]
    assert entry.name == name
    assert set(entry.default_parts) <= entry.parts.keys()
    for file in entry.files:
        assert file.urls
        for url in file.urls:
            assert urlsplit(url).scheme in ("https", "http", "hf")
            if url.startswith("hf://"):
                assert len(HubFile.parse(url).repository.split("/")) == 2
        assert file.sha256 is None or len(file.sha256) == 64
        assert not Path(file.path).is_absolute()
        assert ".." not in Path(file.path).parts
        # what comes unencrypted must be checked
        assert file.sha256 is not None or not any(url.startswith("http://") for url in file.urls)


def test_files_are_those_that_the_data_modules_read() -> None:
    paths = {file.path for file in DATASETS["imagecode"].files}
    assert paths >= {*SPLIT_FILES.values(), PHENOMENA_FILE, ARCHIVE, PROPOSITION_FILES["test"][0]}
    assert paths & set(PROPOSITION_FILES["valid"])
    images = [file.path for file in DATASETS["mmvp_vlm"].parts["images"]]
    assert (len(images), len(set(images))) == (270, 270)
    assert "MLLM_VLM Images/Spatial/149.jpg" in images
    assert (images[0], images[-1]) == (
        "MLLM_VLM Images/Orientation/1.jpg",
        "MLLM_VLM Images/Camera Perspective/270.jpg",
    )


def test_parts_that_share_a_file() -> None:
    entry = DATASETS["visual_genome"]
    # without it nothing tells which photos are COCO's too
    assert "image_data.json.zip" in {file.path for file in entry.files_of(["images", "blip"])}
    paths = [file.path for file in entry.files]
    assert len(paths) == len(set(paths))
    assert entry.disk == 2 * (1_780_854 + 127_377_968 + 9_731_705_982 + 5_471_658_058)


def test_notes_say_what_a_part_lacks() -> None:
    assert any("coco.json was not published alone" in note for note in DATASETS["coco"].notes)
    assert any("rests on the order" in note for note in DATASETS["mmvp_vlm"].notes)


def test_the_table_is_readable_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_catalogue()
    out = capsys.readouterr().out
    assert all(f"{name}  " in out for name in DATASETS)
    assert "part karpathy*" in out
    assert "about 769,000 or 821,000 train texts" in " ".join(out.split())
    assert "\x1b[" not in out
    assert max(map(len, out.splitlines()[:-1])) <= commands._WIDTH

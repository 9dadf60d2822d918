"""Annotations kept as Arrow tables."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from contextblip.errors import DatasetError
from data_modules.caption_data import tables as caption_tables
from data_modules.caption_data.images import CaptionedImage, CaptionSource
from data_modules.caption_data.sources import locate_blip_json
from data_modules.caption_data.tables import SCHEMA, caption_table, image_number, keep_table


class Counting:
    """A source whose readings are counted."""

    def __init__(self, path: Path) -> None:
        self.located = locate_blip_json(path)
        self.readings = 0
        self.source = CaptionSource(
            self.located.name, self.located.layout, path.parent, (), self.located.files, self._read
        )

    def _read(self, *arguments: Any) -> Any:  # noqa: ANN401  # hands on
        self.readings += 1
        return self.located.reader(*arguments)


def write(path: Path, captions: list[str]) -> Path:
    path.write_text(json.dumps([{"image": f"{n // 2}.jpg", "caption": c} for n, c in enumerate(captions)]))
    return path


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    return Counting(write(tmp_path / "x.json", ["one", "two", "three"]))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder of the library, and tables even of tiny files."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(caption_tables, "KEPT_FROM", 0)
    return tmp_path / "cache" / caption_tables.FOLDER


def test_small_annotations_leave_nothing_behind(
    counting: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table = caption_table(counting.source, "train")
    assert table["captions"][:] == [["one", "two"], ["three"]]
    assert table["path"][:] == ["0.jpg", "1.jpg"]
    assert not (tmp_path / "cache").exists()


def test_large_annotations_are_read_once_and_then_mapped(counting: Counting, cache: Path) -> None:
    first = caption_table(counting.source, "train")
    second = caption_table(counting.source, "train")
    assert counting.readings == 1
    assert first[:] == second[:] == {
        "image_id": [image_number("0.jpg"), image_number("1.jpg")],
        "path": ["0.jpg", "1.jpg"],
        "captions": [["one", "two"], ["three"]],
    }  # fmt: skip
    (kept,) = cache.iterdir()  # no part is left
    assert second.cache_files == [{"filename": str(kept)}]


@pytest.mark.usefixtures("cache")
def test_a_changed_file_is_read_anew(counting: Counting, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    caption_table(counting.source, "train")
    size, times = path.stat().st_size, path.stat().st_mtime_ns
    write(path, ["one", "two", "threw"])
    assert path.stat().st_size == size
    os.utime(path, ns=(times, times + 1))  # a nanosecond is enough
    assert caption_table(counting.source, "train")["captions"][:] == [["one", "two"], ["threw"]]
    assert counting.readings == 2
    caption_table(counting.source, "train")
    assert counting.readings == 2


@pytest.mark.usefixtures("cache")
def test_another_reader_makes_its_own_table(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    caption_table(counting.source, "train")
    monkeypatch.setattr(caption_tables, "READER_VERSION", caption_tables.READER_VERSION + 1)
    caption_table(counting.source, "train")
    assert counting.readings == 2


def test_a_damaged_table_is_made_again(counting: Counting, cache: Path) -> None:
    expected = caption_table(counting.source, "train")[:]
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"x" * len(content)):
        kept.write_bytes(damaged)
        assert caption_table(counting.source, "train")[:] == expected
    assert counting.readings == 4


@pytest.mark.usefixtures("cache")
def test_a_table_that_lacks_batches_or_was_changed_is_made_again(
    counting: Counting, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caption_tables, "_BATCH", 1)
    expected = caption_table(counting.source, "train")[:]
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    with pa.memory_map(str(kept)) as file:
        ends = [file.tell() for _ in pa.ipc.open_stream(file)]
    assert len(ends) == 3  # two images, and what seals the table
    changed = content.replace(b"three", b"threw")
    assert changed != content
    for damaged in (*(content[:end] for end in ends[:2]), changed):
        kept.unlink()
        kept.write_bytes(damaged)
        assert caption_table(counting.source, "train")[:] == expected
    assert counting.readings == 4
    kept.unlink()
    kept.write_bytes(content[: ends[2]])  # only the mark of the end is gone: nothing is lost
    assert caption_table(counting.source, "train")[:] == expected
    assert counting.readings == 4


def test_parts_that_a_killed_process_left_are_removed_after_a_day(counting: Counting, cache: Path) -> None:
    caption_table(counting.source, "train")
    (kept,) = cache.iterdir()
    kept.unlink()
    old, new, other = (cache / name for name in (f"{kept.stem}-a.part", f"{kept.stem}-b.part", "x-c.part"))
    for part in (old, new, other):
        part.touch()
    for part in (old, other):
        os.utime(part, (0, 0))
    caption_table(counting.source, "train")
    assert set(cache.iterdir()) == {kept, new, other}


def test_a_table_is_kept_before_it_is_opened(counting: Counting, cache: Path) -> None:
    keep_table(counting.source, "train")
    assert len(list(cache.iterdir())) == 1
    caption_table(counting.source, "train")
    assert counting.readings == 1


def test_a_folder_that_cannot_be_written_is_said_once_a_table(
    counting: Counting, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir()
    cache.write_text("in the way")
    with caplog.at_level(logging.WARNING, "data_modules.caption_data.tables"):
        table = caption_table(counting.source, "train")
    assert table["captions"][:] == [["one", "two"], ["three"]]
    (message,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert message.startswith(f"BLIP json x.json train: cannot keep annotations in {cache} (")
    assert message.endswith("set HF_DATASETS_CACHE to a folder with space that can be written")


def test_a_full_disk_leaves_no_part(
    counting: Counting, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = pa.OSFile

    class Full:
        def __init__(self, *arguments: Any) -> None:  # noqa: ANN401  # hands on
            self.file = opened(*arguments)

        def __enter__(self) -> Any:  # noqa: ANN401  # pyarrow is not typed
            raise OSError(28, "No space left on device")

        def __exit__(self, *_: object) -> None:
            self.file.close()

    monkeypatch.setattr(pa, "OSFile", Full)
    assert caption_table(counting.source, "train")["captions"][:] == [["one", "two"], ["three"]]
    assert "No space left on device" in caplog.text
    assert list(cache.iterdir()) == []


def test_broken_annotations_are_no_problem_of_the_folder(
    counting: Counting, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.json").write_text('[{"image": "0.jpg", "caption": "one"}, {"image"')
    with pytest.raises(DatasetError, match=r"x\.json is not valid JSON \(cut off"):
        caption_table(counting.source, "train")
    assert "HF_DATASETS_CACHE" not in caplog.text
    assert list(cache.iterdir()) == []


def test_blank_captions_and_bare_images_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "x.json", ["one", " ", "", "\t", "three "])
    with caplog.at_level(logging.INFO):
        table = caption_table(locate_blip_json(path), "train")
    assert table["captions"][:] == [["one"], ["three "]]
    assert table["path"][:] == ["0.jpg", "2.jpg"]
    assert "BLIP json x.json train: left out 3 empty captions and 1 images without any" in caplog.text


@pytest.mark.usefixtures("cache")
def test_what_was_left_out_is_said_at_every_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = locate_blip_json(write(tmp_path / "x.json", ["one", " ", "", "\t", "three "]))
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            caption_table(source, "train")
        assert "x.json train: left out 3 empty captions and 1 images without any" in caplog.text
    assert "reading its annotations" not in caplog.text


def test_batches_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_tables, "_BATCH", 4)
    images = [CaptionedImage(f"k{n}", f"{n}.jpg", [f"c{n}"] * (n % 3 + 1)) for n in range(11)]
    path = write(tmp_path / "x.json", ["one"])
    source = CaptionSource("X", "some", tmp_path, (), {"train": (path,)}, lambda _files, _split: iter(images))
    table = caption_table(source, "train")
    assert table.data.schema.equals(SCHEMA)
    assert table["path"][:] == [image.path for image in images]
    assert table["captions"][:] == [image.captions for image in images]


def test_numbers_of_images_never_change() -> None:
    # checkpoints and logs of one run are read by another
    assert image_number("coco/9") == 6722993126086113726
    assert image_number("coco/9") != image_number("visual_genome/9")

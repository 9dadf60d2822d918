"""The store: whole shards or none, files that are no shards, and how much there will be."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from contextblip.errors import ConfigurationError
from contextblip.vision_cache import StateStore
from contextblip.vision_cache.sizes import SizeCheck
from contextblip.vision_cache.store import METADATA


class Usage(NamedTuple):
    """What `shutil.disk_usage` says."""

    total: int
    used: int
    free: int


def test_tensors_come_back_with_their_type(tmp_path: Path) -> None:
    written = {"a/1": torch.randn(3, 2), "b/12": torch.randn(3, 2).bfloat16()}
    StateStore(tmp_path / "new").write(written)
    store = StateStore(tmp_path / "new")
    read = store.read(["b/12", "c/1", "a/1"])
    assert set(read) == set(written)
    assert len(store) == 2
    assert all(read[name].dtype == written[name].dtype for name in read)
    assert all(torch.equal(read[name], written[name]) for name in read)
    assert not [path for path in (tmp_path / "new").iterdir() if path.name.startswith(".")]


def test_what_is_no_shard_is_passed_over_with_one_warning(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.write({"a/1": torch.ones(400)})
    (whole,) = tmp_path.iterdir()
    store.write({"b/1": torch.ones(400)})
    cut = next(path for path in tmp_path.iterdir() if path != whole)
    cut.write_bytes(cut.read_bytes()[:-100])
    (tmp_path / "empty.safetensors").touch()
    save_file({"a/1": torch.zeros(2)}, tmp_path / "0.safetensors")  # another program's, first by name
    save_file({"a/1": torch.zeros(2)}, tmp_path / "1.safetensors", {**METADATA, "version": "0"})
    (tmp_path / ".7.draft.safetensors").write_bytes(b"half")  # of a writer at work
    with pytest.warns(UserWarning, match="4 file.s. passed over") as warned:
        store = StateStore(tmp_path)
    assert len(warned) == 1
    assert store.size == whole.stat().st_size
    assert torch.equal(store.read(["a/1", "b/1"])["a/1"], torch.ones(400))
    store.refresh()  # warnings are errors: what was told is not told again
    store.write({"b/1": torch.ones(400)})
    assert set(store.read(["a/1", "b/1"])) == {"a/1", "b/1"}


def test_a_shard_that_is_deleted_meanwhile_is_missing(tmp_path: Path) -> None:
    StateStore(tmp_path).write({"a/1": torch.ones(2), "a/2": torch.ones(2)})
    store = StateStore(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.warns(UserWarning, match="can no longer be read") as warned:
        assert store.read(["a/1", "a/2"]) == {}
    assert len(warned) == 1
    assert len(store) == 0


def test_of_two_copies_the_first_by_name_counts(tmp_path: Path) -> None:
    for name, value in (("b", 1.0), ("a", 2.0), ("c", 3.0)):
        save_file({"x/1": torch.tensor([value])}, tmp_path / f"{name}.safetensors", METADATA)
    assert StateStore(tmp_path).read(["x/1"])["x/1"] == 2


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/x cannot be written to .* --cache off"):
        StateStore(tmp_path / "file" / "x").write({"a/1": torch.ones(2)})


def check(store: StateStore, images: int | None) -> list[str]:
    lines: list[str] = []
    SizeCheck(store, images, lines.append)(4, torch.ones(197, 768))
    return lines


def test_the_size_is_told_before_the_first_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 60 * 10**9))
    store = StateStore(tmp_path / "none" / "yet")
    # 20,000 x 4 x 197 x 768 x 4 bytes
    assert check(store, 20_000) == [
        f"Vision cache {store.folder}: at most 48.4 GB (20,000 images x 4 layers x 197 tokens x 768 x 4 "
        "bytes); 60.0 GB free"
    ]
    assert "2.42 MB an image" in check(store, None)[0]
    store.write({"a/1": torch.ones(1000)})  # 4,000 bytes and a header
    assert ", 4.14 kB are there; " in check(store, 20_000)[0]


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 48_400_000_000))
    with pytest.raises(ConfigurationError, match=r"at most 48\.4 GB .*has 48\.4 GB free; .*--cache off"):
        check(StateStore(tmp_path), 20_000)
    assert check(StateStore(tmp_path), 19_990)

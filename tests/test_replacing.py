"""A file is the old one or the whole new one, and no draft is left."""

from pathlib import Path

import pytest

from contextblip.replacing import replacing


def test_a_draft_takes_the_files_place(tmp_path: Path) -> None:
    file = tmp_path / "plot.png"
    file.write_text("old")
    with replacing(file) as draft:
        draft.write_text("new")
        assert draft.suffix == ".png"
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(file) as draft:  # noqa: PT012  # half a write
        draft.write_text("ne")
        raise OSError("disk full")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]

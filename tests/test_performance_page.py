"""The page shows what was measured, and nothing else."""

from pathlib import Path

import pytest

from benchmarks import performance_page
from contextblip.errors import ConfigurationError


def test_the_page_shows_the_committed_results() -> None:
    assert performance_page.stale(performance_page.PAGE.read_text(encoding="utf-8")) == []


def test_other_numbers_are_found_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    text = performance_page.PAGE.read_text(encoding="utf-8")
    table = performance_page.tables()["steps"]
    page.write_text(text.replace(table, table.replace("zero-shot", "zero-short")), encoding="utf-8")
    monkeypatch.setattr(performance_page, "PAGE", page)
    with pytest.raises(SystemExit, match=r"^page.md: other numbers than measured: steps$"):
        performance_page.main(["--check"])
    performance_page.main([])
    assert page.read_text(encoding="utf-8") == text


def test_a_page_without_markers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    monkeypatch.setattr(performance_page, "PAGE", page)
    with pytest.raises(ConfigurationError, match=r"steps:begin"):
        performance_page.main([])

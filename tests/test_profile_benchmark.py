"""The profile names the operations that took longest and goes into a page, between its own markers."""

from pathlib import Path

import pytest
import torch

from benchmarks import profile_steps
from benchmarks.markers import find_between, marker_pair
from benchmarks.sides import Outputs, Side
from contextblip.models import PRESETS
from tests.conftest import TINY_BACKBONE

BEGIN, END = marker_pair("profile")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the miniature be smaller still."""
    monkeypatch.setitem(PRESETS, "miniature", TINY_BACKBONE)


def test_operations_of_one_run_the_longest_first() -> None:
    left = torch.randn(300, 300)
    prepared: list[None] = []

    def run() -> Outputs:
        for _ in range(3):
            torch.mm(left, left)
        return Outputs(left.add(1))

    heads, *rows = profile_steps.profiled(Side(run, lambda: prepared.append(None)))
    assert heads == ["operation", "calls", "self CPU, ms", "share, %"]
    found = {row[0]: row for row in rows}
    assert found["`aten::mm`"][1] == "3"  # of the second run alone
    assert found["`aten::add`"][1] == "1"
    assert len(prepared) == 2
    shares = [float(row[3]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 100.5


def test_tables_go_between_the_markers_of_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter <!-- table:begin -->\n", encoding="utf-8")
    words = ["--size", "miniature", "--threads", "1"]
    profile_steps.main([*words, "--cases", "zero-shot", "pre-training", "--into", str(page)])
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n\n{BEGIN}\n\nZero-shot, bf16, miniature size\n\n| operation | calls |")
    assert text.endswith(f"{END}\n\nafter <!-- table:begin -->\n")
    tables = find_between(text, "profile")
    assert tables is not None
    assert tables.count("\n| `") == 2 * profile_steps.TOP
    assert "old" not in tables
    assert "Pre-training, bf16" in tables
    profile_steps.main([*words, "--cases", "zero-shot", "--precision", "fp32"])
    assert capsys.readouterr().out.startswith("Zero-shot, fp32, miniature size\n\n| operation")


def test_a_page_without_markers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile_steps, "write_tables", lambda *_: "tables\n")
    with pytest.raises(SystemExit) as stop:
        profile_steps.main(["--into", str(tmp_path / "none.md")])
    assert stop.value.code == 2
    assert f"none.md has no {BEGIN} followed by {END}" in capsys.readouterr().err

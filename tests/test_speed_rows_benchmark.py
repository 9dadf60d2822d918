"""The rows of the speed benchmark: what each key measures, peak memory, goals, and the file they go into."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import peak, speed, stock
from benchmarks.cases import CASES, Case
from benchmarks.inputs import write_backbone
from benchmarks.sides import PRECISIONS, Outputs, Side
from contextblip.errors import ConfigurationError
from contextblip.models import PRESETS
from tests.conftest import TINY_BACKBONE

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the miniature be smaller still."""
    monkeypatch.setitem(PRESETS, "miniature", TINY_BACKBONE)


def run_main(tmp_path: Path, *words: str) -> Rows:
    results = tmp_path / "new" / "results.json"
    speed.main(["--size", "miniature", "--results", str(results), *words])
    rows: Rows = json.loads(results.read_text())
    return rows


def test_rows_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cases", "pre-training", "zero-shot", "--rounds", "1", "--threads", "1", "--skip_memory")
    rows = run_main(tmp_path, *words)
    assert [(row["case"], row["precision"]) for row in rows] == [
        (name, precision) for name in ("pre-training", "zero-shot") for precision in PRECISIONS
    ]
    printed = capsys.readouterr().out
    for row in rows:
        peer = CASES[row["case"]].peer
        absent = "stock" if peer == "plain" else "plain"
        assert tuple(row) == speed.KEYS
        assert row["speedup"] == pytest.approx(row[f"{peer}_s"] / row["ours_s"])
        assert row[f"{absent}_s"] is None
        assert row["goal"] is None  # goals are those of the real size
        assert all(row[key] is None for key in speed.KEYS if key.endswith("_mb"))
        assert f"{row['speedup']:.2f}" in printed


def test_each_key_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def times(name: str, backbone: Path, rounds: int, *, with_goals: bool) -> Rows:
        size = json.loads((backbone / "config.json").read_text())["vision_config"]["image_size"]
        seen.append((name, rounds, with_goals, size, torch.get_num_threads()))
        return [dict.fromkeys(speed.KEYS) | {"case": name, "precision": "fp32", "ours_s": 1, "speedup": 1}]

    def peak_of(*words: object) -> float:
        seen.append(words[:3])
        return 1.0

    monkeypatch.setattr(speed, "_times", times)
    monkeypatch.setattr(speed, "table_of", lambda _: "")
    monkeypatch.setattr(speed, "peak_mb", peak_of)
    side, threads = TINY_BACKBONE.image_size, torch.get_num_threads()
    run_main(tmp_path, "--cases", "stage one", "--rounds", "7", "--threads", "1")
    assert seen == [
        ("stage one", 7, False, side, 1),
        ("stage one", "peer", "fp32"),
        ("stage one", "ours", "fp32"),
    ]
    seen.clear()
    run_main(tmp_path, "--skip_memory")
    assert seen == [(name, 5, False, side, 2) for name in CASES]
    assert torch.get_num_threads() == threads


def test_other_sizes_never_go_into_the_committed_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        speed.main(["--size", "miniature", "--skip_memory"])
    assert stop.value.code == 2
    assert "results.json holds results of the real size" in capsys.readouterr().err


def test_a_mismatch_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stock, "_grounded", lambda input_ids, _: input_ids)
    with pytest.raises(SystemExit) as stop:
        run_main(tmp_path, "--cases", "zero-shot", "--threads", "1", "--skip_memory")
    assert stop.value.code == 1
    assert "the sides do different work: zero-shot, fp32" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_peer_is_measured_once_and_ours_in_each_precision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, ...]] = []

    def measured(case: str, which: str, precision: str, *_: object) -> float:
        asked.append((case, which, precision))
        return 100.0 * len(asked)

    rows: Rows = [
        dict.fromkeys(speed.KEYS) | {"case": name, "precision": precision}
        for name in ("stage one", "stage two")
        for precision in PRECISIONS
    ]
    monkeypatch.setattr(speed, "peak_mb", measured)
    speed._add_memory(rows, tmp_path, 1)
    assert [row["ours_peak_mb"] for row in rows] == [200.0, 300.0, 500.0, 600.0]
    assert [row["stock_peak_mb"] for row in rows] == [100.0, 100.0, None, None]
    assert [row["plain_peak_mb"] for row in rows] == [None, None, 400.0, 400.0]


def side_of(megabytes: int) -> Side:
    return Side(lambda: Outputs(torch.ones(megabytes * 250_000).sum()))


PEAKS = """
import torch
from benchmarks.peak import measure
from benchmarks.sides import Outputs, Side

def side_of(megabytes):
    return Side(lambda: Outputs(torch.ones(megabytes * 250_000).sum()))

side_of(200)()  # an earlier and higher peak, which must not count
print(measure(side_of(20)), measure(side_of(80)))
"""


def test_peak_memory_is_that_of_the_run_alone() -> None:
    # as the benchmark itself: in a process of its own, where no other test's memory comes and goes
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    small, large = map(float, done.stdout.split())
    assert large - small == pytest.approx(60, abs=15)


def test_memory_is_measured_in_another_process(tmp_path: Path) -> None:
    backbone = write_backbone("miniature", tmp_path / "backbone")
    assert 100 < peak.peak_mb("zero-shot", "ours", "fp32", backbone, 1) < 5000


def test_a_failure_of_that_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback\nKilled\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ConfigurationError, match="memory of zero-shot, peer: Killed; --skip_memory leaves"):
        peak.peak_mb("zero-shot", "peer", "fp32", tmp_path, 1)


@pytest.mark.parametrize("which", ["ours", "peer"])
def test_a_process_builds_one_side_only(
    which: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    built: list[str] = []

    def build(name: str) -> Side:
        built.append(name)
        return side_of(1)

    case = Case("stock", {}, lambda *_: build("ours"), lambda _: build("peer"))
    monkeypatch.setattr(peak, "CASES", {"zero-shot": case})
    peak.main(["zero-shot", which, "fp32", str(tmp_path), str(torch.get_num_threads())])
    assert built == [which]
    assert float(capsys.readouterr().out) > 10


def row(**changes: float | None) -> dict[str, Any]:
    values = {
        "case": "zero-shot",
        "precision": "fp32",
        "ours_s": 1.0,
        "stock_s": 3.0,
        "speedup": 3.0,
        "goal": 2.5,
    }
    peaks = {"ours_peak_mb": 900.0, "stock_peak_mb": 1000.0}
    return dict.fromkeys(speed.KEYS) | values | peaks | changes


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, []),
        ({"speedup": 2.4}, ["zero-shot, fp32: 2.40 < 2.5 times"]),
        ({"ours_peak_mb": 1001.0}, ["zero-shot, fp32: 1,001 > 1,000 MB"]),
        ({"ours_peak_mb": None, "stock_peak_mb": None}, []),
        ({"speedup": 0.1, "goal": None}, []),
    ],
)
def test_missed_goals_are_named(changes: dict[str, Any], lines: list[str]) -> None:
    assert speed.missed([row(**changes)]) == lines


@pytest.mark.skipif(not speed.RESULTS.is_file(), reason="nothing measured yet")
def test_the_committed_results_are_of_all_cases() -> None:
    rows: Rows = json.loads(speed.RESULTS.read_text())
    assert [(row["case"], row["precision"]) for row in rows] == [(c, p) for c in CASES for p in PRECISIONS]
    for row in rows:
        assert tuple(row) == speed.KEYS
        assert row["goal"] == CASES[row["case"]].goals[row["precision"]]

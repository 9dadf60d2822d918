"""`make bench` says which goal was missed, and fails then."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import annotations, data, images


def results(ratio: float, memory: float) -> dict[str, Any]:
    return {
        "images": [
            {"case": "training", "plain_images_per_s": 1.0, "ours_images_per_s": ratio, "ratio": ratio},
            {"case": "evaluation", "plain_images_per_s": 1.0, "ours_images_per_s": 1.0, "ratio": 1.0},
        ],
        "annotations": [
            {"measure": "workers", "value": memory, "unit": "MiB", "goal": 60.0},
            {"measure": "disk", "value": 1e6, "unit": "MiB", "goal": None},
        ],
    }


@pytest.mark.parametrize(
    ("ratio", "memory", "lines"),
    [(1.6, 45.0, 0), (1.4, 45.0, 1), (1.6, 61.0, 1), (1.4, 61.0, 2)],
)
def test_missed_goals_are_named_and_fail(
    ratio: float, memory: float, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = results(ratio, memory)
    assert len(data.missed(found)) == lines
    monkeypatch.setattr(images, "run", lambda *_: found["images"])
    monkeypatch.setattr(annotations, "run", lambda *_, **__: found["annotations"])
    monkeypatch.setattr("sys.argv", ["data", "--results", str(tmp_path / "data.json")])
    if lines:
        with pytest.raises(SystemExit, match="missed: "):
            data.main()
    else:
        data.main()
    assert json.loads((tmp_path / "data.json").read_text())["images"] == found["images"]  # kept all the same


def test_the_committed_figures_meet_the_goals() -> None:
    assert data.missed(json.loads(data.RESULTS.read_text())) == []

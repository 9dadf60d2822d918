"""A soak sees growing memory and files for what they are, in real processes too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import soak

LEAK = "import time; kept = []\nfor _ in range(30): kept.append(bytearray(2 << 20)); time.sleep(0.05)"
LEAVES_OPEN = "import time; kept = []\nfor _ in range(30): kept.append(open('/dev/null')); time.sleep(0.05)"


def samples(mb_a_minute: float, files_a_minute: float = 0.0, count: int = 100) -> list[soak.Sample]:
    return [
        soak.Sample(
            minute, 1000 + mb_a_minute * minute + 20 * (minute % 2), 40 + int(files_a_minute * minute), 3
        )
        for minute in range(count)
    ]


@pytest.mark.parametrize(
    ("mb", "files", "flat"), [(0.0, 0.0, True), (0.9, 0.0, True), (1.2, 0.0, False), (0.0, 0.1, False)]
)
def test_growth_is_told_from_ups_and_downs(mb: float, files: float, flat: bool) -> None:
    verdict = soak.judge(samples(mb, files))
    assert verdict["mb_per_minute"] == pytest.approx(mb, abs=0.05)
    assert verdict["flat"] is flat


def test_a_look_at_a_checkpoint_being_written_is_no_growth() -> None:
    seen = samples(0.0)
    seen[80] = seen[80]._replace(files=42)
    verdict = soak.judge(seen)
    assert verdict["flat"]
    assert (verdict["files_first_half_most"], verdict["files_second_half_most"]) == (40, 42)


def test_the_warm_up_does_not_count() -> None:
    warm = [soak.Sample(minute, 100.0 * minute, 1, 1) for minute in range(10)]
    verdict = soak.judge([*warm, *(sample for sample in samples(0.0) if sample.minutes >= 10)])
    assert verdict["flat"]
    assert verdict["mb_first"] >= 1000


def test_a_process_that_leaks_is_seen() -> None:
    seen = soak.watch([sys.executable, "-c", LEAK], every_s=0.05)
    assert max(sample.mb for sample in seen) - seen[len(seen) // 4].mb > 5
    assert all(sample.processes == 1 for sample in seen)


def test_files_left_open_and_children_are_seen() -> None:
    words = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LEAVES_OPEN!r}])"
    seen = soak.watch([sys.executable, "-c", words], every_s=0.05)
    assert max(sample.processes for sample in seen) == 2
    assert max(sample.files for sample in seen) - seen[len(seen) // 4].files > 3


def test_a_training_that_fails_is_no_result() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        soak.watch([sys.executable, "-c", "raise SystemExit(3)"], every_s=0.01)


def test_results_are_written_drawn_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "watch", lambda *_: samples(2.0))
    words = ["--minutes", "99", "--results", str(tmp_path / "soak.json"), "--figure", str(tmp_path / "s.png")]
    with pytest.raises(SystemExit) as stopped:
        soak.main(words)
    assert stopped.value.code == 1
    assert "+2.0" in capsys.readouterr().out
    results = json.loads((tmp_path / "soak.json").read_text())
    assert results["command"] == "python -m benchmarks.soak --minutes 99 --stage pretrain"
    assert len(results["samples_seen"]) == 100
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width > picture.height > 400


def test_the_command_trains_for_the_time_asked_for(tmp_path: Path) -> None:
    words = soak.command("finetune", 61.5, tmp_path)
    assert words[words.index("--trainer.max_time") + 1] == "00:01:01:30"
    assert "experiments/miniature/finetune.yaml" in words

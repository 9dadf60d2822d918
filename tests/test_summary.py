import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from contextblip.errors import ConfigurationError
from contextblip.summary import percent, print_summary, summarize


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    for number, stage in enumerate(("zero_shot", "stage_one", "stage_two"), start=1):
        (tmp_path / stage).mkdir()
        metrics = {"test/accuracy": 0.1 * number, "n/test/accuracy": 400.0, "test/accuracy_video": 0.05}
        (tmp_path / stage / "metrics.json").write_text(
            json.dumps({**metrics, "n/test/accuracy_video": 300.0})
        )
    (tmp_path / "mmvp").mkdir()
    (tmp_path / "mmvp" / "metrics.json").write_text(
        json.dumps({"test/pair_accuracy": 0.4, "n/test/pair_accuracy": 135.0})
    )
    return tmp_path


def test_summary_has_fractions_and_counts(chain: Path) -> None:
    console = Console(file=StringIO(), width=120)
    print_summary(chain, console)
    written = json.loads((chain / "summary.json").read_text())
    assert written == summarize(chain)
    assert written["stage_two"]["all"] == pytest.approx(0.3)
    assert written["stage_two"]["n"] == 400
    assert written["stage_two"]["static"] is None, "nothing static was counted"
    assert written["mmvp"] == {"average": 0.4, "n_pairs": 135}
    assert isinstance(console.file, StringIO)
    assert "30.0 [26-35] (400)" in console.file.getvalue()


def test_interval_is_wilsons() -> None:
    # 95%: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = 0.5, n = 100, z = 1.96
    assert percent(0.5, 100) == "50.0 [40-60] (100)"
    assert percent(None, 0) == "-"


def test_a_missing_stage_is_named(chain: Path) -> None:
    (chain / "stage_one" / "metrics.json").unlink()
    with pytest.raises(ConfigurationError, match="stage_one/metrics.json not found: run `lightning test`"):
        summarize(chain)

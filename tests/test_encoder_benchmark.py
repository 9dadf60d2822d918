"""The encoder's operations are those of the ViT's equations, and its share is taken round by round."""

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
import torch

from benchmarks import encoder_peak
from contextblip.models import PRESETS, BackboneConfig
from tests.conftest import TINY_BACKBONE

KEYS = ("precision", "images_per_s", "gflops", "mm_gflops", "peak_gflops", "share", "goal")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the miniature be smaller still."""
    monkeypatch.setitem(PRESETS, "miniature", TINY_BACKBONE)


def operations(config: BackboneConfig) -> int:
    """Two operations for each product of the ViT (Dosovitskiy et al., 2020) and BLIP's projection."""
    width, tokens = config.vision_width, 1 + config.num_patches
    attention = tokens * width * 3 * width + 2 * tokens**2 * width + tokens * width**2
    block = attention + 2 * tokens * width * config.vision_mlp_width
    embedding = config.num_patches * config.patch_values * width
    return 2 * (embedding + config.vision_layers * block + width * config.projection_width)


def test_operations_rows_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "encoder.json"
    encoder_peak.main(["--size", "miniature", "--rounds", "1", "--threads", "1", "--results", str(path)])
    results = json.loads(path.read_text())
    assert results["gflop_per_image"] == pytest.approx(operations(TINY_BACKBONE) / 1e9)
    assert (results["size"], results["machine"]["threads"]) == ("miniature", 1)
    assert results["command"] == "python -m benchmarks.encoder_peak --rounds 1 --size miniature --threads 1"
    printed = capsys.readouterr().out
    for row, precision in zip(results["encoder"], ("fp32", "bf16"), strict=True):
        assert tuple(row) == KEYS
        assert (row["precision"], row["goal"]) == (precision, None)
        assert row["gflops"] == pytest.approx(row["images_per_s"] * results["gflop_per_image"])
        assert f"{row['share']:.0%}" in printed


def test_a_machine_that_gets_slower_changes_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = ((1.0, 500.0), (60.0, 100.0), (6.0, 10.0), (30.0, 50.0))
    # the encoder, then either library's product of either size
    rates = iter([rate for own, peak in rounds for rate in (own, 0.8 * peak, peak, 0.9 * peak, 0.1)] * 2)
    monkeypatch.setattr(encoder_peak, "_gflops", lambda *_: next(rates))
    rows = encoder_peak.run(rounds=3, size="miniature", threads=1)["encoder"]
    for row in rows:  # the first round warms up
        assert row["share"] == pytest.approx(0.6)
        assert (row["gflops"], row["mm_gflops"], row["peak_gflops"]) == (30.0, 45.0, 50.0)


def test_a_product_is_repeated_until_it_has_done_as_much_as_the_encoder() -> None:
    calls: list[None] = []
    encoder_peak._gflops(lambda: calls.append(None), flops=10, at_least=99)
    assert len(calls) == 10
    encoder_peak._gflops(lambda: calls.append(None), flops=200, at_least=99)
    assert len(calls) == 11


def test_each_precision_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[str, int]] = []

    def products(side: int, dtype: torch.dtype) -> list[tuple[Callable[[], None], int]]:
        assert torch.get_num_threads() == 1
        return [(lambda: used.append((str(dtype), side)), 2 * side**3)]

    monkeypatch.setattr(encoder_peak, "_products", products)
    encoder_peak.run(rounds=1, size="miniature", threads=1)
    sides = encoder_peak.SIDES["miniature"]
    turns = [turn for turn, _ in groupby(used)]  # each is repeated for as long as the encoder runs
    assert turns == [(name, side) for name in ("torch.float32", "torch.bfloat16") for side in [*sides] * 2]


def test_missed_goals_are_named_and_other_sizes_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"precision": "fp32", "share": 0.89, "goal": 0.9},
        {"precision": "bf16", "share": 0.7, "goal": 0.7},
        {"precision": "bf16", "share": 0.1, "goal": None},
    ]
    assert encoder_peak.missed({"encoder": rows}) == ["encoder, fp32: 89% < 90% of the peak"]
    with pytest.raises(SystemExit) as stop:
        encoder_peak.main(["--size", "miniature"])
    assert stop.value.code == 2
    assert "encoder.json holds results of the real size" in capsys.readouterr().err

"""The comparison of attention is fair, and what it printed is what stands in the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import attention
from contextblip.models.attention import attend

TINY = attention.Shape(sequences=2, heads=2, queries=3, keys=5, width=4)
Pass = Callable[[], tuple[torch.Tensor, ...]]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 0.0), (torch.bfloat16, 0.05)])
def test_both_ways_do_the_same_work(precision: torch.dtype, tolerance: float, backward: bool) -> None:
    fused = attention.make_step(F.scaled_dot_product_attention, TINY, precision, backward=backward)()
    ours = attention.make_step(attend, TINY, precision, backward=backward)()
    gradients = [(2, 3, 8), (2, 5, 8), (2, 5, 8)] if backward else []
    assert [tuple(tensor.shape) for tensor in ours] == [(2, 3, 8), *gradients]
    for found, expected in zip(ours, fused, strict=True):
        assert found.dtype == precision
        assert expected.any()
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_a_machine_that_gets_slower_changes_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    order: list[str] = []

    def working(name: str, seconds: float) -> Pass:
        def step() -> tuple[torch.Tensor, ...]:
            order.append(name)
            clock["now"] += seconds if len(order) <= 8 else 10 * seconds
            return ()

        return step

    monkeypatch.setattr("time.process_time", lambda: clock["now"])
    row = attention.compare(working("fused", 3.0), working("ours", 2.0), rounds=6)
    assert row["ratio"] == pytest.approx(1.5)
    turns = [tuple(order[start : start + 2]) for start in range(0, len(order), 2)]
    assert turns == [("ours", "fused"), ("fused", "ours")] * 3 + [("ours", "fused")]  # the first warms up


def test_warming_up_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    passes: list[None] = []

    def step() -> tuple[torch.Tensor, ...]:
        passes.append(None)
        clock["now"] += 0.004 if len(passes) > 2 else 100.0
        return ()

    monkeypatch.setattr("time.process_time", lambda: clock["now"])
    row = attention.compare(step, step, rounds=1)
    assert (row["fused_ms"], row["ours_ms"]) == (pytest.approx(4.0), pytest.approx(4.0))


def test_what_is_printed_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attention, "SHAPES", {"tiny": TINY})
    monkeypatch.setattr(
        "sys.argv", ["attention", "--rounds", "2", "--results", str(tmp_path / "new" / "a.json")]
    )
    attention.main()
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "new" / "a.json").read_text())
    assert written["command"] == "python -m benchmarks.attention --rounds 2"
    rows = [(row["precision"], row["backward"]) for row in written["attention"]]
    assert rows == [(name, backward) for name in attention.PRECISIONS for backward in (False, True)]
    for row in written["attention"]:
        assert row["shape"] == list(TINY)
        assert f"{row['ratio']:.2f}" in printed
    assert printed.count("2×2×3×5×4") == 4


def test_one_thread_while_measuring_and_the_former_number_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[int] = []

    def count_threads(*_: object) -> attention.Row:
        used.append(torch.get_num_threads())
        return {}

    monkeypatch.setattr(attention, "SHAPES", {"tiny": TINY})
    monkeypatch.setattr(attention, "compare", count_threads)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        attention.run(rounds=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert used == [1] * 4


def test_the_committed_figures_are_of_all_shapes_and_bear_the_choice_out() -> None:
    rows = json.loads(attention.RESULTS.read_text())["attention"]
    measured = [(row["case"], tuple(row["shape"]), row["precision"], row["backward"]) for row in rows]
    assert measured == [
        (case, shape, name, backward)
        for name in attention.PRECISIONS
        for backward in (False, True)
        for case, shape in attention.SHAPES.items()
    ]
    assert all(row["ratio"] > 1 for row in rows if row["precision"] == "bf16" and row["backward"])
    images = [row for row in rows if row["precision"] == "bf16" and row["case"].endswith("ViT")]
    assert all(row["ratio"] > 1 for row in images)

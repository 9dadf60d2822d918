"""Cost beside operations: images once a set, pairs once a query; re-ranking scores the pairs it says."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks import scaling
from benchmarks.flops import count_flops
from benchmarks.inputs import write_backbone
from benchmarks.ours import ready
from contextblip.models import PRESETS
from contextblip.reranking import PairChunk
from contextblip.tasks import ZeroShot
from contextblip.tasks.pair_scoring import PairScorer
from tests.conftest import TINY_BACKBONE


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the miniature be smaller still."""
    monkeypatch.setitem(PRESETS, "miniature", TINY_BACKBONE)


@pytest.fixture
def task(tmp_path: Path) -> ZeroShot:
    task = ZeroShot(str(write_backbone("miniature", tmp_path / "backbone")), adapter_layers=())
    ready(task)
    task.eval()
    return task


def test_both_curves_their_file_and_their_picture(tmp_path: Path) -> None:
    path, figure = tmp_path / "scaling.json", tmp_path / "new" / "scaling.png"
    words = ["--size", "miniature", "--rounds", "1", "--threads", "1"]
    scaling.main([*words, "--results", str(path), "--figure", str(figure)])
    results = json.loads(path.read_text())
    assert results["command"] == f"python -m benchmarks.scaling --rounds 1 {' '.join(words[:2] + words[4:])}"
    rows = results["queries"]
    assert [row["queries"] for row in rows] == list(scaling.QUERIES)
    assert rows[0]["predicted_s_per_query"] == rows[0]["s_per_query"]
    operations = [row["gflop_per_query"] for row in rows]
    assert operations == sorted(operations, reverse=True)
    for row in rows:
        share = row["gflop_per_query"] / operations[0]
        assert row["predicted_s_per_query"] == pytest.approx(share * rows[0]["s_per_query"])
    assert [row["shortlist"] for row in results["reranking"]] == list(scaling.SHORTLISTS)
    for row in results["reranking"]:
        assert row["s_per_pair"] * row["shortlist"] == pytest.approx(row["s"])
    with Image.open(figure) as picture:
        assert picture.width > picture.height > 400


def test_operations_are_images_once_and_queries_each(task: ZeroShot) -> None:
    one, two, five = (count_flops(scaling._zero_shot(task, queries)) for queries in (1, 2, 5))
    assert one < two < five
    assert five - two == pytest.approx(3 * (two - one), rel=0.01)
    images = count_flops(lambda: task.model.encode_images(torch.zeros(10, 3, 32, 32)))
    assert one - (two - one) > images  # keys and values are images' too


@pytest.mark.parametrize("length", [8, 64])
def test_reranking_scores_one_text_with_each_image(
    task: ZeroShot, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    score = PairScorer.__call__

    def count(self: PairScorer, chunk: PairChunk) -> Tensor:
        seen.append((len(chunk.texts), len(chunk.images)))
        return score(self, chunk)

    monkeypatch.setattr(PairScorer, "__call__", count)
    scores = scaling._reranking(task, length)()
    assert isinstance(scores, Tensor)
    assert scores.shape == (length,)
    assert len(set(scores.tolist())) == length
    chunk = min(length, scaling.CHUNK)
    assert seen == [(chunk, chunk)] * (length // chunk)


def test_points_take_turns_and_the_first_round_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = {"now": 0.0}, list[int]()

    def work(point: int) -> scaling.Work:
        def step() -> None:
            order.append(point)
            clock["now"] += 100 if len(order) <= 2 else point

        return step

    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    assert scaling._medians({1: work(1), 4: work(4)}, rounds=2) == {1: 1.0, 4: 4.0}
    assert order == [1, 4] * 3


def test_other_sizes_never_take_the_committed_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, name in (([], "scaling.json"), (["--results", str(tmp_path / "s.json")], "scaling.png")):
        with pytest.raises(SystemExit) as stop:
            scaling.main(["--size", "miniature", *words])
        assert stop.value.code == 2
        assert f"{name} holds results of the real size" in capsys.readouterr().err

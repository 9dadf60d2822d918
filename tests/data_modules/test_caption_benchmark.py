"""The benchmark of annotations writes what the data module reads."""

import time
from pathlib import Path

import pytest

from benchmarks import annotations
from data_modules.caption_data.sources import locate_coco, locate_visual_genome


@pytest.mark.parametrize(
    ("layout", "layouts"), [("official", ("Karpathy", "official")), ("blip", ("BLIP", "BLIP"))]
)
def test_generated_sets_have_the_size_asked_for(
    tmp_path: Path, layout: str, layouts: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotations, "MOST_LINKS", 50)
    annotations.generate(tmp_path, 2000, layout)
    coco, genome = locate_coco(tmp_path), locate_visual_genome(tmp_path)
    assert (coco.layout, genome.layout) == layouts
    texts = [sum(len(image.captions) for image in source.read("train")) for source in (coco, genome)]
    assert sum(texts) == pytest.approx(2000, abs=10)
    assert len(list(coco.read("val"))) == pytest.approx(2000 / annotations.FULL * 5000, abs=1)
    vocabulary = (tmp_path / "vocab.txt").read_text().splitlines()
    assert len(vocabulary) == len(set(vocabulary)) == 30_522


def test_a_measurement_loads_batches_and_finds_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotations, "WORKERS", 1)
    monkeypatch.setattr(annotations, "BATCH", 2)
    monkeypatch.setenv("CONTEXTBLIP_STARTED", str(time.time()))
    annotations.generate(tmp_path, 1000, "official")
    figures = annotations.measure(tmp_path, 4)
    assert 0 < figures["imports"] < figures["start"] < figures["first_batch"]
    assert figures["captions"] > 1000
    assert figures["late"] == figures["mean"] > 1  # the only worker is alive and has memory of its own
    assert figures["together"] > figures["late"]

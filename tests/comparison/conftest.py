"""Run folders with predictions, small enough to count by hand."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from contextblip.runs import Run, read_run

Row = dict[str, Any]
WriteRun = Callable[..., Run]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a run folder of `lightning test` and read it."""

    def write(
        name: str,
        rows: Iterable[Row],
        seed: int = 1,
        data: str = "ImageCoDe",
        task: str = "ZeroShot",
        model: dict[str, object] | None = None,
        **keys: object,
    ) -> Run:
        folder = tmp_path / name
        folder.mkdir()
        arguments = {"root": "images", "test_split": "valid", **keys}
        config = {
            "seed_everything": seed,
            "experiment": "zero_shot",
            "model": {
                "class_path": f"contextblip.tasks.{task}",
                "init_args": {"mask_ratio": 0.25} | (model or {}),
            },
            "data": {"class_path": f"data_modules.{data}DataModule", "init_args": arguments},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "metrics.json").write_text(json.dumps({"test/accuracy": 0.5}))
        (folder / "predictions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return read_run(folder)

    return write


@pytest.fixture
def query() -> Callable[..., Row]:
    """Make a row: query ``n`` is the ``n % 2``-th of its set, its target is 1 of 3."""

    def make(n: int, right: bool, **keys: object) -> Row:
        return {
            "set": f"set{n // 2}",
            "query_index": n % 2,
            "text": "a red ball",
            "target": 1,
            "logits": [0.0, 1.0, 0.5],
            "scores": [0.1, 0.5, 0.4],
            "prediction": 1 if right else 2,
            "is_video": False,
            "phenomena": [],
            "n_propositions": None,
            "challenging": False,
            **keys,
        }

    return make


@pytest.fixture
def answers(query: Callable[..., Row]) -> Callable[..., list[Row]]:
    """Make the rows of a run from ``1`` (right) and ``0`` (wrong), one a query."""

    def make(pattern: str, **keys: object) -> list[Row]:
        return [query(n, sign == "1", **keys) for n, sign in enumerate(pattern)]

    return make


@pytest.fixture
def pair() -> Callable[..., list[Row]]:
    """Make the two statements of a pair from their logits of the two images."""

    def make(name: str, kind: str, first: list[float | None], second: list[float | None]) -> list[Row]:
        return [
            {
                "set": name,
                "query_index": index,
                "text": f"statement {index}",
                "target": index,
                "logits": logits,
                "scores": [0.5, 0.5],
                "prediction": int((logits[1] or -9) > (logits[0] or -9)),
                "is_video": False,
                "phenomena": [kind],
                "n_propositions": None,
            }
            for index, logits in enumerate((first, second))
        ]

    return make

"""Run folders made up for reports: a configuration and numbers, nothing else."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from contextblip.runs import Run, read_run

MakeRun = Callable[..., Run]
WHOLE = {"accuracy": 2302, "accuracy_video": 1872, "accuracy_static": 430}
# right answers over the whole validation split: all, video, static
Rights = tuple[int, int, int]


def logged(counted: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Turn right answers and n into what a test logs."""
    metrics: dict[str, float] = {f"test/{name}": right / n for name, (right, n) in counted.items()}
    return metrics | {f"n/test/{name}": n for name, (_, n) in counted.items()}


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Write a run folder below the working directory and read it.

    ``rights`` and ``also`` (right answers and n by name) become its metrics; without both it has none.
    """
    monkeypatch.chdir(tmp_path)

    def make(
        name: str,
        rights: Rights | None = None,
        *,
        also: Mapping[str, tuple[int, int]] | None = None,
        task: str = "ZeroShot",
        data: str = "ImageCoDeDataModule",
        root: str = "data",
        test_split: str = "valid",
        seed: int = 42,
        answers: bool = True,
        ckpt: str | None = None,
        **model: object,
    ) -> Run:
        folder = Path("runs") / name
        folder.mkdir(parents=True)
        keys: dict[str, Any] = {"root": root, "test_split": test_split}
        content = {
            "seed_everything": seed,
            "trainer": {"max_epochs": 1},
            "model": {"class_path": f"contextblip.tasks.{task}", "init_args": {"backbone": "b.pth", **model}},
            "data": {"class_path": f"data_modules.{data}", "init_args": keys},
            "run_dir": str(folder),
            "ckpt_path": ckpt,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(content))
        if rights is not None or also is not None:
            counted = (
                dict(zip(WHOLE, zip(rights, WHOLE.values(), strict=True), strict=True)) if rights else {}
            )
            (folder / "metrics.json").write_text(json.dumps(logged(counted | dict(also or {}))))
        if answers:
            (folder / "predictions.jsonl").write_text("")
        return read_run(folder)

    return make


@pytest.fixture
def pretrained(make_run: MakeRun) -> Callable[..., str]:
    """Write a pre-training run; give the checkpoint that others start from."""

    def make(name: str = "pretrain", **settings: object) -> str:
        run = make_run(name, task="Pretraining", data="CaptionDataModule", answers=False, **settings)
        return str(run.folder / "checkpoints" / "last.ckpt")

    return make

"""Test and predict give the same files to the last byte on one, two and three processes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability.worlds import run_world

ZERO_SHOT = ["--config=experiments/zero_shot.yaml", "--model.adapter_layers=[3,12]"]
PAIRS = ["--config=experiments/mmvp_vlm.yaml", "--model.adapter_layers=[3,12]"]
CASES = {
    "test": ["test", *ZERO_SHOT],
    "predict": ["predict", *ZERO_SHOT],
    "pairs": ["test", *PAIRS],
}
FILES = {
    "test": ["metrics.json", "predictions.jsonl"],
    "predict": ["predictions.jsonl", "submission.json"],
    "pairs": ["metrics.json", "predictions.jsonl", "mmvp_vlm.csv"],
}

BATCH_SIZE = 2  # of five queries to predict


@pytest.fixture
def evaluate(checkout: Path, backbone: Path, world: Path) -> Callable[..., dict[str, bytes]]:
    """Run a command and return the files that it left, by name."""

    def run(case: str, processes: int, batch_size: int) -> dict[str, bytes]:
        folder = checkout / f"{case}-{processes}-{batch_size}"
        words = [
            *(*CASES[case], f"--model.backbone={backbone}", f"--data.root={world}"),
            *("--data.num_workers=0", f"--data.batch_size={batch_size}"),
            *("--trainer.precision=32-true", "--trainer.accelerator=cpu", "--trainer.logger=false"),
            *("--trainer.enable_progress_bar=false", f"--run_dir={folder}"),
        ]
        run_world(words, checkout, processes)
        assert not list(folder.glob(".*.part*"))
        return {name: (folder / name).read_bytes() for name in FILES[case]}

    return run


def ids(predictions: bytes) -> list[tuple[str, int]]:
    rows = [json.loads(line) for line in predictions.decode().splitlines()]
    return [(row["set"], row["query_index"]) for row in rows]


@pytest.mark.parametrize("case", CASES)
def test_files_are_the_same_to_the_last_byte(case: str, evaluate: Callable[..., dict[str, bytes]]) -> None:
    """The last batch is smaller than the others, and the processes' shares differ."""
    alone = evaluate(case, 1, BATCH_SIZE)
    asked = ids(alone["predictions.jsonl"])
    assert len(set(asked)) == len(asked)
    for processes in (2, 3):
        assert evaluate(case, processes, BATCH_SIZE) == alone


def test_fewer_batches_than_processes(evaluate: Callable[..., dict[str, bytes]]) -> None:
    """A batch is divided then: the same queries in order and the same counts, numbers to rounding."""
    alone, shared = evaluate("test", 1, 1000), evaluate("test", 3, 1000)
    assert ids(shared["predictions.jsonl"]) == ids(alone["predictions.jsonl"])
    metrics = [json.loads(files["metrics.json"]) for files in (alone, shared)]
    assert metrics[0].keys() == metrics[1].keys()
    assert metrics[1] == pytest.approx(metrics[0], abs=1e-6)
    counts = [{name: n for name, n in found.items() if name.startswith("n/")} for found in metrics]
    assert counts[0] == counts[1]

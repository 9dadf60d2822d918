"""MMVP-VLM's protocol: a pair counts only if each statement prefers its own image."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from contextblip.types import RetrievalBatch

STAGES = ("zero_shot", "fine_tuning", "inter_context")


def pairs(seed: int) -> RetrievalBatch:
    torch.manual_seed(seed)
    kinds = ["State", "State", "Color", "Color"]
    return {
        "images": torch.randn(2, 2, 3, 16, 16),
        "candidate_mask": torch.ones(2, 2, dtype=torch.bool),
        "set_index": torch.tensor([0, 0, 1, 1]),
        "input_ids": torch.randint(3, 20, (4, 5)),
        "attention_mask": torch.ones(4, 5, dtype=torch.long),
        "target_index": torch.tensor([0, 1, 0, 1]),
        "is_video": torch.zeros(4, dtype=torch.bool),
        "queries": [
            {
                "set_name": str(i // 2),
                "query_index": i % 2,
                "text": "a",
                "phenomena": [kind],
                "n_propositions": None,
                "challenging": False,
                "frames": [],
                "samples": [],
                "parts": [],
            }
            for i, kind in enumerate(kinds)
        ],
        "protocol": "pairs",
        "parts": None,
    }


@torch.no_grad()
@pytest.mark.parametrize("stage", STAGES)
def test_pairs_protocol(
    make_task: Callable[..., Any], evaluate: Callable[..., dict[str, float]], stage: str
) -> None:
    task, batches = make_task(stage), [pairs(seed) for seed in range(6)]
    logged = evaluate(task, batches)
    names = {"pair_accuracy", "pair_accuracy/State", "pair_accuracy/Color"}
    assert logged.keys() == {"test/loss", *(f"{n}test/{name}" for n in ("", "n/") for name in names)}
    assert (logged["n/test/pair_accuracy"], logged["n/test/pair_accuracy/State"]) == (12.0, 6.0)
    expected = []
    for batch in batches:
        found = task.score(batch).candidate_logits.view(2, 2, 2)
        expected += [bool(pair[0, 0] > pair[0, 1] and pair[1, 1] > pair[1, 0]) for pair in found]
    assert logged["test/pair_accuracy"] == pytest.approx(sum(expected) / 12)

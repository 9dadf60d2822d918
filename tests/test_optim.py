"""Schedules against recorded and hand-computed values; groups that hold each parameter once."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from contextblip.errors import ConfigurationError
from contextblip.optim import (
    build_optimizer,
    build_schedule,
    decayed_groups,
    exponential_schedule,
    parameter_group,
    published_lr,
    warmup_cosine_lr,
)

FOLDER = Path(os.environ.get("CONTEXTBLIP_PARITY", Path(__file__).parents[2] / "shared" / "parity"))
RECORDED = FOLDER / "lr_schedule.json"
needs_recorded = pytest.mark.skipif(
    not RECORDED.is_file(), reason=f"SCHEDULES NOT CHECKED: no {RECORDED}; set CONTEXTBLIP_PARITY"
)
KEYS: dict[str, Any] = {"lr": 3e-4, "warmup_steps": 3000, "warmup_lr": 1e-6, "min_lr": 1e-6}


def recorded(name: str) -> list[tuple[int, float]]:
    values: list[tuple[int, float]] = json.loads(RECORDED.read_text())[name]
    return values


def optimizer(lr: float) -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=lr)


@needs_recorded
def test_published_warmup_and_steps() -> None:
    for iteration, expected in recorded("warmup"):
        assert published_lr(0, iteration, **KEYS) == pytest.approx(expected, rel=1e-9)
    for epoch, expected in recorded("step")[1:]:
        assert published_lr(epoch, 0, **KEYS) == pytest.approx(expected, rel=1e-9)
    # what is recorded for epoch 0 is the value before the warm-up overrides it
    assert recorded("step")[0][1] == pytest.approx(KEYS["lr"])


@needs_recorded
@pytest.mark.parametrize(("name", "lr"), [("finetune_base", 2e-6), ("finetune_head", 1e-4)])
def test_exponential_over_epochs(name: str, lr: float) -> None:
    stepped = optimizer(lr)
    schedule = exponential_schedule(stepped, 0.95)
    for _, expected in recorded(name):
        assert stepped.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-9)
        stepped.step()
        schedule.step()


def test_published_floor() -> None:
    assert published_lr(1000, 0, **KEYS) == 1e-6


def test_warmup_then_cosine_by_hand() -> None:
    keys: dict[str, Any] = {"lr": 1.0, "warmup_steps": 4, "warmup_lr": 0.2, "min_lr": 0.1}
    assert [warmup_cosine_lr(step, 12, **keys) for step in (0, 1, 3)] == pytest.approx([0.2, 0.4, 0.8])
    assert warmup_cosine_lr(4, 12, **keys) == pytest.approx(1.0)
    assert warmup_cosine_lr(6, 12, **keys) == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi / 4)))
    assert warmup_cosine_lr(8, 12, **keys) == pytest.approx(0.55)
    assert warmup_cosine_lr(12, 12, **keys) == pytest.approx(0.1)


def test_warmup_may_outlast_the_run_or_be_absent() -> None:
    keys: dict[str, Any] = {"lr": 1.0, "warmup_lr": 0.0, "min_lr": 0.0}
    assert warmup_cosine_lr(5, 5, warmup_steps=10, **keys) == pytest.approx(0.5)
    assert warmup_cosine_lr(0, 5, warmup_steps=0, **keys) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "expected"), [("cosine", [0.0, 0.5, 1.0, 0.5, 0.0]), ("published", [0.0, 0.5, 0.9, 0.9, 0.81])]
)
def test_schedule_steps_an_optimizer(name: str, expected: list[float]) -> None:
    stepped = optimizer(1.0)
    schedule = build_schedule(
        "cosine" if name == "cosine" else "published",
        stepped,
        total_steps=4,
        epoch_steps=2,
        lr=1.0,
        warmup_steps=2,
        warmup_lr=0.0,
        min_lr=0.0,
    )
    seen = []
    for _ in expected:
        seen.append(stepped.param_groups[0]["lr"])
        stepped.step()
        schedule.step()
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize("endless", [math.inf, -1])
def test_endless_run_has_no_schedule(endless: float) -> None:
    with pytest.raises(ConfigurationError, match="max_epochs"):
        build_schedule("cosine", optimizer(1.0), total_steps=endless, epoch_steps=endless, **KEYS)


def test_groups_hold_each_trainable_parameter_once() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 1))
    module[2].requires_grad_(False)
    (group,) = parameter_group([module], 0.5, 0.1)
    assert [id(p) for p in group["params"]] == [id(p) for p in module[:2].parameters()]
    assert parameter_group([module[2]], 0.5, 0.1) == []
    matrices, others = decayed_groups(module, 0.5, 0.1)
    assert [tuple(p.shape) for p in matrices["params"]] == [(2, 3)]
    assert [tuple(p.shape) for p in others["params"]] == [(2,), (2,), (2,)]
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


def test_optimizers_by_name() -> None:
    groups = parameter_group([nn.Linear(2, 2)], 0.5, 0.1)
    adam = build_optimizer("adam", groups, (0.8, 0.9))
    adamw = build_optimizer("adamw", groups, (0.8, 0.9))
    assert (type(adam), type(adamw)) == (Adam, AdamW)
    assert adam.param_groups[0]["betas"] == (0.8, 0.9)
    assert adamw.param_groups[0]["weight_decay"] == 0.1

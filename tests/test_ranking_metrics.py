"""Ranks, frames off, calibration and the position prior: by hand, beside the libraries, over processes."""

from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError
from torchmetrics.utilities.data import dim_zero_sum

from contextblip.groups import Mean
from contextblip.ranking_metrics import (
    MOST_PLACES,
    CalibrationError,
    FrameDistance,
    PositionPrior,
    TargetRank,
    fractional_ranks,
    frame_distances,
    ranking_metrics,
)
from contextblip.types import Query


def query(frames: Sequence[int] = ()) -> Query:
    return {
        "set_name": "s",
        "query_index": 0,
        "text": "a",
        "phenomena": [],
        "n_propositions": None,
        "challenging": False,
        "frames": list(frames),
        "samples": [],
        "parts": [],
    }


def ranks(logits: Sequence[Sequence[float]], targets: Sequence[int]) -> list[float]:
    tensor = torch.tensor(logits)
    found: list[float] = fractional_ranks(tensor, torch.tensor(targets), tensor != -torch.inf).tolist()
    return found


def rounded(means: Mapping[str, Mean]) -> dict[str, tuple[float, int]]:
    return {name: (round(mean.value, 6), mean.n) for name, mean in means.items()}


def drawn(count: int, seed: int = 0) -> dict[str, Any]:
    """Draw answers: logits with ties, the last candidate padded in each third row."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(0, 4, (count, 5), generator=generator).float()
    mask = torch.ones(count, 5, dtype=torch.bool)
    mask[::3, 4] = False
    logits = logits.masked_fill(~mask, -torch.inf)
    video = torch.arange(count) % 2 == 0
    return {
        "candidate_logits": logits,
        "candidate_mask": mask,
        "prediction": logits.argmax(dim=1),
        "target_index": torch.randint(0, 4, (count,), generator=generator),
        "is_video": video,
        "queries": [query((0, 3, 4, 19, 50)) if is_video else query() for is_video in video.tolist()],
    }


def part(answers: dict[str, Any], rows: slice) -> dict[str, Any]:
    return {name: values[rows] for name, values in answers.items()}


def test_ranks_of_the_target() -> None:
    assert ranks([[3.0, 1.0, 2.0]] * 3, [0, 2, 1]) == [1, 2, 3]


def test_those_that_tie_share_the_mean_of_their_ranks() -> None:
    assert ranks([[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 0.0]], [0, 2]) == [2.5, 2.5]
    answers = drawn(40)
    for row, mask, target, rank in zip(
        answers["candidate_logits"],
        answers["candidate_mask"],
        answers["target_index"],
        fractional_ranks(answers["candidate_logits"], answers["target_index"], answers["candidate_mask"]),
        strict=True,
    ):
        assert rank == rankdata(-row[mask].numpy())[target]


def test_padding_has_no_rank_and_nan_never_helps() -> None:
    assert ranks([[-torch.inf, 1.0, 0.0]], [2]) == [2]
    assert ranks([[torch.nan, 1.0, 0.0], [torch.nan, 1.0, 0.0]], [1, 0]) == [2, 3]


def test_mean_rank_and_mrr_by_hand() -> None:
    metric = TargetRank()
    logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 1.0, 0.0]])
    everything = torch.ones(3, 3, dtype=torch.bool)
    metric.update(logits, torch.tensor([0, 2, 1]), everything, torch.tensor([True, False, False]))
    assert rounded(metric.compute()) == {
        "mean_rank": (round((1 + 3 + 1.5) / 3, 6), 3),
        "mean_rank_video": (1.0, 1),
        "mean_rank_static": (2.25, 2),
        "mrr": (round((1 + 1 / 3 + 1 / 1.5) / 3, 6), 3),
        "mrr_video": (1.0, 1),
        "mrr_static": (0.5, 2),
    }


def test_frames_between_prediction_and_target() -> None:
    prediction, target = torch.tensor([0, 2, 1, 0]), torch.tensor([2, 2, 0, -1])
    queries = [query((0, 32, 112)), query((0, 32, 112)), query(), query((1, 2))]
    assert frame_distances(prediction, target, queries) == [112, 0, None, None]
    metric = FrameDistance()
    metric.update(prediction, target, queries)
    assert metric.compute() == {"frame_distance": (56.0, 2)}


def test_calibration_error_by_hand() -> None:
    """Two answers of 0.75, one right: a gap of 0.25; one certain and right: none."""
    metric = CalibrationError()
    logits = torch.tensor([[0.75, 0.25], [0.75, 0.25], [1.0, 0.0]]).log()
    metric.update(logits, torch.tensor([0, 0, 0]), torch.tensor([0, 1, 0]))
    assert rounded(metric.compute()) == {"ece": (round(2 / 3 * 0.25, 6), 3)}
    assert metric.total.tolist() == [0] * 11 + [2, 0, 0, 1]


def test_calibration_error_equals_torchmetrics() -> None:
    torch.manual_seed(0)
    logits, targets = 3 * torch.randn(500, 10), torch.randint(0, 10, (500,))
    metric = CalibrationError()
    for start in range(0, 500, 36):
        rows = slice(start, start + 36)
        metric.update(logits[rows], logits[rows].argmax(dim=1), targets[rows])
    expected = MulticlassCalibrationError(10, n_bins=15)(logits.softmax(dim=1), targets)
    assert metric.compute()["ece"].value == pytest.approx(expected.item(), abs=1e-6)


def test_a_logit_that_is_no_number_has_no_confidence() -> None:
    metric = CalibrationError()
    metric.update(torch.tensor([[torch.nan, 1.0]]), torch.tensor([0]), torch.tensor([1]))
    assert metric.compute() == {"ece": (0.0, 1)}


def test_position_prior_by_hand() -> None:
    """Place 1 is best over all with 3 of 6, place 2 best among the static with 2 of 3."""
    metric = PositionPrior()
    metric.update(torch.tensor([1, 1, 0, 2, 2, 1]), torch.tensor([True, True, True, False, False, False]))
    assert rounded(metric.compute()) == {
        "baseline/position_prior": (0.5, 6),
        "baseline/position_prior_video": (round(2 / 3, 6), 3),
        "baseline/position_prior_static": (round(2 / 3, 6), 3),
    }


def test_places_far_out_are_counted_but_not_guessed() -> None:
    metric = PositionPrior()
    metric.update(torch.tensor([MOST_PLACES, MOST_PLACES + 7, 3]), torch.tensor([True] * 3))
    assert rounded(metric.compute())["baseline/position_prior_video"] == (round(1 / 3, 6), 3)


def test_nothing_counted_is_nothing_logged() -> None:
    metrics = ranking_metrics()
    metrics.update(**part(drawn(2), slice(1, 2)))
    assert set(metrics.compute()) == {
        *(f"{name}{subset}" for name in ("mean_rank", "mrr") for subset in ("", "_static")),
        *(f"baseline/position_prior{subset}" for subset in ("", "_static")),
        "ece",
    }
    metrics.reset()
    with pytest.warns(UserWarning, match="was called before the ``update`` method"):
        assert metrics.compute() == {}


def test_states_are_summed_integers() -> None:
    for metric in ranking_metrics().values():
        assert set(metric._reductions.values()) == {dim_zero_sum}
        assert all(
            isinstance(state, Tensor) and state.dtype == torch.long for state in metric._defaults.values()
        )


def _count(rank: int, folder: str) -> None:
    """Count an uneven share of the answers in one of two processes."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    metrics = ranking_metrics()
    metrics.update(**part(drawn(31), slice(0, 24) if rank == 0 else slice(24, None)))
    torch.save(metrics.compute(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    context = get_context("spawn")
    processes = [context.Process(target=_count, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0]
    alone = ranking_metrics()
    alone.update(**drawn(31))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert found == alone.compute(), "to the last bit"

"""Accuracies against hand counts: groups that overlap, ties, pairs, and sums over processes."""

import math

import pytest
import torch
from torchmetrics.utilities.data import dim_zero_sum

from contextblip.groups import MMVP_TYPES, PHENOMENA, is_share
from contextblip.metrics import (
    PAIR_GROUPS,
    RETRIEVAL_GROUPS,
    GroupedAccuracy,
    MeanLoss,
    PairAccuracy,
    RetrievalAccuracy,
    flat_shares,
    strictly_best,
)
from contextblip.types import Query


def query(
    text: str = "a",
    phenomena: list[str] | None = None,
    n_propositions: int | None = None,
    challenging: bool = False,
    samples: list[str] | None = None,
) -> Query:
    return {
        "set_name": "s",
        "query_index": 0,
        "text": text,
        "phenomena": phenomena or [],
        "n_propositions": n_propositions,
        "challenging": challenging,
        "frames": [],
        "samples": samples or [],
        "parts": [],
    }


def test_groups_overlap_and_empty_ones_are_left_out() -> None:
    metric = GroupedAccuracy(["all", "odd", "never"])
    metric.update(torch.tensor([True, False]), torch.tensor([[True, True, False], [True, False, False]]))
    metric.update(torch.tensor([True]), torch.tensor([[True, True, False]]))
    assert metric.compute() == {"all": (2 / 3, 3), "odd": (1.0, 2)}
    assert flat_shares(metric.compute(), "val") == {
        "val/all": pytest.approx(2 / 3),
        "val/odd": 1.0,
        "n/val/all": 3.0,
        "n/val/odd": 2.0,
    }


def test_states_are_summed_integers() -> None:
    """What two processes have counted adds up as if one had counted it all."""
    parts, whole = [GroupedAccuracy(["all"]) for _ in range(2)], GroupedAccuracy(["all"])
    for part, correct in zip(parts, (torch.tensor([True, True, False]), torch.tensor([False])), strict=True):
        for metric in (part, whole):
            metric.update(correct, torch.ones(len(correct), 1, dtype=torch.bool))
    assert set(whole._reductions.values()) == {dim_zero_sum}
    assert torch.equal(parts[0].correct + parts[1].correct, whole.correct)
    assert torch.equal(parts[0].total + parts[1].total, whole.total)
    assert whole.total.dtype == torch.long


def test_queries_count_in_all_their_groups() -> None:
    metric = RetrievalAccuracy()
    metric.update_queries(
        torch.tensor([True, False, True]),
        torch.tensor([True, False, False]),
        [
            query("one two", ["spatial", "negation"], 2, challenging=True),
            query(" ".join(["word"] * 41), ["spatial"], None, challenging=True),
            query(" ".join(["word"] * 11), ["unheard_of"], 9),
        ],
    )
    assert metric.compute() == {
        "accuracy": (pytest.approx(2 / 3), 3),
        "accuracy_video": (1.0, 1),
        "accuracy_static": (0.5, 2),
        "accuracy/challenging": (0.5, 2),
        "accuracy/spatial": (0.5, 2),
        "accuracy/negation": (1.0, 1),
        "accuracy/propositions_2": (1.0, 1),
        "accuracy/words_1-10": (1.0, 1),
        "accuracy/words_11-20": (1.0, 1),
        "accuracy/words_41+": (0.0, 1),
    }


@pytest.mark.parametrize(
    ("words", "group"), [(1, "1-10"), (10, "1-10"), (11, "11-20"), (30, "21-30"), (40, "31-40"), (99, "41+")]
)
def test_length_groups(words: int, group: str) -> None:
    metric = RetrievalAccuracy()
    metric.update_queries(torch.tensor([True]), torch.tensor([True]), [query(" ".join(["w"] * words))])
    assert {name for name in metric.compute() if "words" in name} == {f"accuracy/words_{group}"}


def test_draws_of_table_8_are_groups() -> None:
    metric = RetrievalAccuracy()
    drawn = [query(samples=["static_1", "static_100"]), query(samples=["static_1"]), query()]
    metric.update_queries(torch.tensor([True, False, True]), torch.tensor([False] * 3), drawn)
    assert {name: share for name, share in metric.compute().items() if "sample" in name} == {
        "accuracy/sample_static_1": (0.5, 2),
        "accuracy/sample_static_100": (1.0, 1),
    }


def test_strictly_best() -> None:
    logits = torch.tensor([[1.0, 2.0], [2.0, 2.0], [3.0, -torch.inf], [1.0, 2.0]])
    assert strictly_best(logits, torch.tensor([1, 0, 0, 0])).tolist() == [True, False, True, False]


def test_pair_needs_both_statements_and_a_tie_is_wrong() -> None:
    metric = PairAccuracy()
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0], [2.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    kinds = ["State", "State", "Color", "Color", "Made Up", "Made Up"]
    metric.update_pairs(
        logits,
        torch.tensor([0, 1] * 3),
        torch.tensor([0, 0, 1, 1, 2, 2]),
        [query(phenomena=[kind]) for kind in kinds],
    )
    assert metric.compute() == {
        "pair_accuracy": (pytest.approx(1 / 3), 3),
        "pair_accuracy/State": (1.0, 1),
        "pair_accuracy/Color": (0.0, 1),
    }


def test_fixed_names() -> None:
    assert (len(PHENOMENA), len(MMVP_TYPES)) == (10, 9)


@pytest.mark.parametrize(
    "name", [*RETRIEVAL_GROUPS, *PAIR_GROUPS, "baseline/position_prior", "itc/text_recall@5"]
)
def test_accuracies_and_recalls_are_shares(name: str) -> None:
    assert is_share(name)


@pytest.mark.parametrize(
    "name", ["loss", "mrr", "mrr_video", "ece", "mean_rank", "frame_distance", "recall_mean"]
)
def test_means_are_no_shares(name: str) -> None:
    assert not is_share(name)


def test_the_mean_loss_does_not_depend_on_the_order_or_the_shares() -> None:
    losses = 3 * torch.rand(1000, generator=torch.Generator().manual_seed(0))
    whole, parts = MeanLoss(), [MeanLoss(), MeanLoss(), MeanLoss()]
    whole.update(losses)
    for number, part in enumerate(parts):
        part.update(losses.flip(0)[400 * number : 400 * (number + 1)])
    units, total = sum(int(part.units) for part in parts), sum(int(part.total) for part in parts)
    assert (units, total) == (int(whole.units), 1000)
    assert whole.compute() == pytest.approx(float(losses.double().mean()), abs=1e-7)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_no_number_makes_the_mean_none(value: float) -> None:
    loss = MeanLoss()
    loss.update(torch.tensor([1.0, value]))
    assert math.isnan(loss.compute())
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert math.isnan(MeanLoss().compute())

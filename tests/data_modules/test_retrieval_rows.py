"""Batches of candidate sets: padding, sharing, the order of an epoch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contextblip.errors import DatasetError
from contextblip.types import Query
from data_modules import orders
from data_modules.orders import grouped_order
from data_modules.retrieval import (
    CandidateSet,
    RetrievalCollate,
    RetrievalDataset,
    RetrievalItem,
    RetrievalSample,
    pad_candidates,
)
from data_modules.text import TextProcessor, clean_retrieval_text, load_tokenizer
from data_modules.transforms import EvalTransform

NAMES = ("img0.jpg", "img1.jpg", "img2.jpg")
# sets of 1 to 3 items, as in IMAGECODE
SET_ROWS = np.repeat(np.arange(40), np.random.default_rng(0).choice([1, 2, 3], 40, p=[0.2, 0.4, 0.4]))


def query(text: str, number: int = 0) -> Query:
    return Query(
        set_name="s",
        query_index=number,
        text=text,
        phenomena=[],
        n_propositions=None,
        challenging=False,
        frames=[],
        samples=[],
        parts=[],
    )


def sample(set_row: int, images: torch.Tensor, target: int) -> RetrievalSample:
    return RetrievalSample(
        images=images,
        set_row=set_row,
        is_video=set_row > 4,
        queries=(query(f"a red circle {set_row}"),),
        target_indices=(target,),
    )


def test_sets_of_different_size_are_padded_and_masked() -> None:
    sets = [torch.full((size, 3, 2, 2), float(size)) for size in (2, 4, 3)]
    images, mask = pad_candidates(sets)
    assert images.shape == (3, 4, 3, 2, 2)
    assert mask.tolist() == [[True, True, False, False], [True] * 4, [True, True, True, False]]
    for row, size in enumerate((2, 4, 3)):
        assert torch.equal(images[row, :size], sets[row])
        assert not images[row, size:].any()
    same, _ = pad_candidates([candidates.to(torch.uint8) for candidates in sets])
    assert same.dtype == torch.uint8  # bytes stay bytes
    assert torch.equal(same.float(), images)


def test_sets_stand_once_however_many_queries_ask(world: Path) -> None:
    collate = RetrievalCollate(TextProcessor(load_tokenizer(str(world))[0], clean_retrieval_text))
    two, three = torch.rand(2, 3, 4, 4), torch.rand(3, 3, 4, 4)
    batch = collate([sample(7, two, 1), sample(3, three, 2), sample(7, two, -1)])
    assert batch["images"].shape == (2, 3, 3, 4, 4)
    assert batch["candidate_mask"].tolist() == [[True, True, False], [True, True, True]]
    assert batch["set_index"].tolist() == [0, 1, 0]
    assert batch["target_index"].tolist() == [1, 2, -1]
    assert batch["is_video"].tolist() == [True, False, True]
    assert batch["input_ids"].shape[0] == batch["attention_mask"].shape[0] == len(batch["queries"]) == 3
    assert batch["protocol"] == "retrieval"
    assert torch.equal(batch["images"][batch["set_index"][1]], three)


@pytest.mark.parametrize("batch_size", [2, 5, 12])
def test_batches_hold_whole_sets(batch_size: int) -> None:
    order = grouped_order(SET_ROWS, batch_size, seed=0, epoch=0)
    assert sorted(order.tolist()) == list(range(len(SET_ROWS)))
    batches = [set(SET_ROWS[order[start : start + batch_size]]) for start in range(0, len(order), batch_size)]
    split = sum(sum(row in batch for batch in batches) - 1 for row in range(40))
    plain = np.random.default_rng(0).permutation(len(SET_ROWS))
    shuffled = [
        set(SET_ROWS[plain[start : start + batch_size]]) for start in range(0, len(plain), batch_size)
    ]
    of_three = int((np.bincount(SET_ROWS) == 3).sum())
    assert split <= (of_three if batch_size == 2 else 2)  # a set of three never fits a batch of two
    assert split < sum(sum(row in batch for batch in shuffled) - 1 for row in range(40))


def one_line_order(set_rows: np.ndarray[Any, Any], batch_size: int, seed: int) -> list[int]:
    """The rule as it reads: fill each batch with the first waiting set that fits, else split the first."""
    members = [np.flatnonzero(set_rows == row).tolist() for row in np.unique(set_rows)]
    waiting = [members[number] for number in np.random.default_rng([seed, 0]).permutation(len(members))]
    order: list[int] = []
    while waiting:
        room = batch_size - len(order) % batch_size
        fits = next((place for place, rows in enumerate(waiting) if len(rows) <= room), None)
        if fits is None:
            order += waiting[0][:room]
            waiting[0] = waiting[0][room:]
        else:
            order += waiting.pop(fits)
    return order


@pytest.mark.parametrize("batch_size", [1, 2, 5, 12, 1000])
def test_grouped_order_follows_the_rule(batch_size: int) -> None:
    for seed in range(5):
        sizes = np.random.default_rng(seed).integers(1, 9, 60)
        set_rows = np.repeat(np.arange(60), sizes)
        order = grouped_order(set_rows, batch_size, seed=seed, epoch=0)
        assert order.tolist() == one_line_order(set_rows, batch_size, seed)


def test_grouped_order_looks_at_each_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At IMAGECODE's size the work grows with the sets, not with their square."""
    looks = 0

    def count(entries: list[tuple[int, int]]) -> tuple[int, int]:
        nonlocal looks
        looks += len(entries)
        return min(entries)

    monkeypatch.setattr(orders, "min", count, raising=False)
    set_rows = np.repeat(np.arange(7317), np.random.default_rng(0).choice([1, 2, 3], 7317))
    order = grouped_order(set_rows, 36, seed=0, epoch=0)
    assert sorted(order.tolist()) == list(range(len(set_rows)))
    assert 7317 <= looks < 4 * 7317


@pytest.fixture
def make_dataset(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., RetrievalDataset]:
    """Eight sets of three images with two items each."""

    def make(**keys: Any) -> RetrievalDataset:  # noqa: ANN401
        sets = [CandidateSet(f"s{row}", tmp_path / f"s{row}", NAMES, is_video=False) for row in range(8)]
        for candidates in sets:
            for file in candidates.files:
                if not Path(str(file)).exists():
                    write_image(Path(str(file)))
        items = [RetrievalItem(row // 2, (query(f"text {row}", row % 2),), (0,)) for row in range(16)]
        return RetrievalDataset("IMAGECODE", sets, items, EvalTransform(8), 0, **keys)

    return make


def test_samples_are_bytes(make_dataset: Callable[..., RetrievalDataset]) -> None:
    images = make_dataset()[3]["images"]
    assert (images.dtype, images.shape) == (torch.uint8, (3, 3, 8, 8))


def test_evaluation_never_replaces_an_item(
    make_dataset: Callable[..., RetrievalDataset], tmp_path: Path
) -> None:
    dataset = make_dataset()
    (tmp_path / "s1" / "img1.jpg").write_text("no image")
    with pytest.raises(DatasetError) as error:
        dataset.__getitems__([0, 1, 2])
    assert str(error.value) == (
        f"IMAGECODE, set s1: cannot read image {tmp_path / 's1' / 'img1.jpg'} (no image, or of an unknown "
        "format); restore or download this file"
    )


def test_training_replaces_the_items_of_an_unreadable_set(
    make_dataset: Callable[..., RetrievalDataset], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = make_dataset(max_unreadable=0.2)
    (tmp_path / "s1" / "img1.jpg").write_text("no image")
    rows = [(epoch, row) for epoch in range(3) for row in range(16)]
    samples = dataset.__getitems__(rows)
    assert [sample["set_row"] for sample in samples if sample["set_row"] == 1] == []
    kept = [(row, sample) for (_, row), sample in zip(rows, samples, strict=True) if row // 2 != 1]
    assert all(sample["queries"] == dataset.items[row].queries for row, sample in kept)
    assert dataset.unreadable is not None
    assert (dataset.unreadable.count, dataset.unreadable.total) == (1, 24)
    assert len(caplog.messages) == 1
    # the same whoever loads which part
    alone = [dataset[row]["queries"] for row in rows]
    assert alone == [sample["queries"] for sample in samples]
    replaced = [sample["queries"] for (_, row), sample in zip(rows, samples, strict=True) if row // 2 == 1]
    assert len({str(queries) for queries in replaced}) > 1


def test_training_stops_past_the_allowed_share(
    make_dataset: Callable[..., RetrievalDataset], tmp_path: Path
) -> None:
    dataset = make_dataset(max_unreadable=1 / 24)
    for name in ("s1", "s2"):
        (tmp_path / name / "img2.jpg").unlink()
    with pytest.raises(DatasetError) as error:
        dataset.__getitems__(list(range(16)))
    message = str(error.value)
    assert message.startswith("IMAGECODE: 2 of 24 training images are unreadable, more than")
    assert "--data.max_unreadable" in message
    assert str(tmp_path / "s2" / "img2.jpg") in message


def test_training_replaces_the_items_of_a_set_with_a_fault(
    make_dataset: Callable[..., RetrievalDataset], caplog: pytest.LogCaptureFixture
) -> None:
    whole = make_dataset()
    sets = [replace(whole.sets[0], names=(), fault="set s0 has 0 images"), *whole.sets[1:]]
    rest = (whole.items, whole.transform, 0)
    dataset = RetrievalDataset("IMAGECODE", sets, *rest, max_unreadable=0.05)
    assert dataset.unreadable is not None
    assert (dataset.unreadable.count, dataset.unreadable.total) == (1, 22)
    assert caplog.messages == [
        "IMAGECODE: set s0 has 0 images; another row replaces it (1 of 22 images so far)"
    ]
    assert {sample["set_row"] for sample in dataset.__getitems__(list(range(16)))} == set(range(1, 8))
    with pytest.raises(DatasetError, match=r"^IMAGECODE: 1 of 22 training images is unreadable, more than"):
        RetrievalDataset("IMAGECODE", sets, *rest, max_unreadable=0.04)
    with pytest.raises(DatasetError, match="^IMAGECODE: set s0 has 0 images$"):
        RetrievalDataset("IMAGECODE", sets, *rest)


def test_no_readable_set_at_all(make_dataset: Callable[..., RetrievalDataset], tmp_path: Path) -> None:
    dataset = make_dataset(max_unreadable=1.0)
    for row in range(8):
        (tmp_path / f"s{row}" / "img0.jpg").unlink()
    with pytest.raises(DatasetError, match="IMAGECODE: no training set is readable; run `lightning data"):
        dataset[0]


def test_grouped_order_depends_on_seed_and_epoch_alone() -> None:
    first = grouped_order(SET_ROWS, 5, seed=0, epoch=0).tolist()
    assert grouped_order(SET_ROWS, 5, seed=0, epoch=0).tolist() == first
    assert grouped_order(SET_ROWS, 5, seed=0, epoch=1).tolist() != first
    assert grouped_order(SET_ROWS, 5, seed=1, epoch=0).tolist() != first


@pytest.mark.parametrize("share", [2, 3, 4, 6])
def test_a_step_holds_the_same_items_however_devices_share_it(share: int) -> None:
    whole = grouped_order(SET_ROWS, 12, seed=0, epoch=3)
    shared = grouped_order(SET_ROWS, 12, seed=0, epoch=3, share=share)
    for start in range(0, len(whole), 12):
        assert set(shared[start : start + 12]) == set(whole[start : start + 12])
    asked = [len(set(SET_ROWS[shared[start : start + share]])) for start in range(0, len(shared), share)]
    plain = [len(set(SET_ROWS[whole[start : start + share]])) for start in range(0, len(whole), share)]
    assert sum(asked) <= sum(plain), "sets stay together"

"""Unreadable training images are counted once each over all workers, up to the allowed share."""

import logging
from typing import Any, Literal

import pytest
from torch import multiprocessing

from contextblip.errors import DatasetError
from data_modules.unreadable import UnreadableImages, substitute_row

ERROR = DatasetError("COCO: cannot read image x.jpg (no such file); restore or download this file")


def mark(unreadable: UnreadableImages, images: list[int]) -> None:
    """What a worker does."""
    for image in images:
        unreadable.add(image, ERROR)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_count_distinct_images_together(method: Literal["fork", "spawn"]) -> None:
    unreadable = UnreadableImages("COCO", 100, 0.5)
    context: Any = multiprocessing.get_context(method)  # torch's stubs know no Process
    workers = [context.Process(target=mark, args=(unreadable, images)) for images in ([3, 7, 3], [7, 9, 99])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert unreadable.count == 4
    assert unreadable.total == 100


def test_an_exceeded_share_is_one_clear_line() -> None:
    unreadable = UnreadableImages("COCO", 100, 0.02)
    mark(unreadable, [5, 6, 5])
    with pytest.raises(DatasetError) as error:
        unreadable.add(7, ERROR)
    assert str(error.value) == (
        "COCO: 3 of 100 training images are unreadable, more than --data.max_unreadable 0.02 allows; last: "
        "COCO: cannot read image x.jpg (no such file); restore or download this file; run `lightning data "
        "verify` to list them all, or raise the key"
    )


def test_the_count_of_other_workers_counts() -> None:
    unreadable = UnreadableImages("COCO", 10, 0.1)
    worker = multiprocessing.get_context("fork").Process(target=mark, args=(unreadable, [1]))
    worker.start()
    worker.join()
    unreadable.add(1, ERROR)  # the same image again
    with pytest.raises(DatasetError, match="COCO: 2 of 10 training images are unreadable"):
        unreadable.add(2, ERROR)


def test_none_is_allowed_at_0() -> None:
    with pytest.raises(DatasetError, match=r"1 of 1,000 training images is unreadable, more .* 0 allows"):
        UnreadableImages("COCO", 1000, 0).add(0, ERROR)


def test_all_are_allowed_at_1() -> None:
    unreadable = UnreadableImages("COCO", 3, 1)
    mark(unreadable, [0, 1, 2])
    assert unreadable.count == 3


def test_each_image_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        mark(UnreadableImages("COCO", 4000, 0.5), [8, 9, 8])
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"{ERROR}; another row replaces it (1 of 4,000 images so far)",
        f"{ERROR}; another row replaces it (2 of 4,000 images so far)",
    ]


@pytest.mark.parametrize("size", [2, 3, 7, 100])
def test_substitutes_visit_every_other_row(size: int) -> None:
    for row in range(size):
        rows = [substitute_row(1, 2, row, attempt, size) for attempt in range(size - 1)]
        assert sorted([row, *rows]) == list(range(size))
        assert rows == [substitute_row(1, 2, row, attempt, size) for attempt in range(size - 1)]
        assert row not in {substitute_row(1, 2, row, attempt, size) for attempt in range(size, 3 * size)}


def test_substitutes_follow_from_seed_epoch_and_row() -> None:
    places = [(seed, epoch, row) for seed in range(4) for epoch in range(4) for row in range(4)]
    rows = {substitute_row(*place, 0, 1_000_003) for place in places}
    assert len(rows) == len(places)


def test_a_lone_row_has_no_substitute() -> None:
    assert substitute_row(0, 0, 0, 0, 1) == 0


def test_substitutes_are_not_neighbours() -> None:
    # five captions an image: rows beside an unreadable one would fail with it
    size = 500
    near = sum(abs(substitute_row(0, 0, row, 0, size) - row) < 5 for row in range(size))
    assert near < size / 10

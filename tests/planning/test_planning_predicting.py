"""Straight lines through measured micro-batches, and the fastest setting that fits."""

from dataclasses import replace

import pytest

from contextblip.errors import ConfigurationError
from contextblip.planning.measuring import Measurement
from contextblip.planning.memory import GIB
from contextblip.planning.predicting import (
    Profile,
    Setting,
    can_be_tried,
    choose,
    fit_line,
    predict,
    whole_micro_batches,
)


def measurement(size: int, **changes: float) -> Measurement:
    """Passes of 0.5 s + 0.1 s a sample in 2 GiB + 1 GiB a sample; steps of 0.25 s in 3 GiB."""
    exact = Measurement(size, 0.5 + 0.1 * size, 0.25, (2 + size) * GIB, 3 * GIB, GIB)
    return replace(exact, **changes)  # type: ignore[arg-type]  # memory is whole


def profile(precision: str = "32-true", sizes: tuple[int, ...] = (2, 4, 8), **changes: float) -> Profile:
    return Profile(precision, [measurement(size, **changes) for size in sizes])


def test_a_line_is_found_again() -> None:
    line = fit_line([1, 2, 4], [3.5, 4.0, 5.0])
    assert (line.intercept, line.slope) == pytest.approx((3.0, 0.5))
    assert line.miss == pytest.approx(0, abs=1e-9)
    assert line.at(64) == pytest.approx(35)


def test_the_line_is_that_of_least_squares_and_says_how_far_it_is_off() -> None:
    # normal equations by hand: mean size 2, mean value 5; slope 4 / 2
    line = fit_line([1, 2, 3], [3.0, 5.5, 7.0])
    assert (line.intercept, line.slope) == pytest.approx((31 / 6 - 4, 2))
    assert line.miss == pytest.approx((5.5 - 31 / 6) / 5.5)


def test_neither_time_nor_memory_falls_with_the_micro_batch() -> None:
    falling = fit_line([2, 4], [1.0, 0.8])
    assert falling.slope == 0
    assert falling.intercept == pytest.approx(0.9)
    steep = fit_line([2, 4], [1.0, 4.0])  # would be -2 at 0
    assert steep.intercept == 0


def test_accumulation_is_whole() -> None:
    assert whole_micro_batches(36, 1) == [1, 2, 3, 4, 6, 9, 12, 18, 36]
    assert whole_micro_batches(256, 4) == [1, 2, 4, 8, 16, 32, 64]
    for row in predict(profile(), Setting(36, 2, 99 * GIB)):
        assert row.micro_batch * row.accumulation * 2 == 36


def test_devices_that_cannot_share_the_global_batch() -> None:
    with pytest.raises(
        ConfigurationError, match=r"8 devices cannot share .* 36 .*: 1, 2, 3, 4, 6, 9, 12, 18, 36"
    ):
        whole_micro_batches(36, 8)


def test_a_step_is_its_passes_and_one_optimiser_step() -> None:
    rows = {row.micro_batch: row for row in predict(profile(), Setting(64, 1, 99 * GIB))}
    assert list(rows) == [1, 2, 4, 8, 16, 32, 64]
    assert [size for size, row in rows.items() if row.is_measured] == [2, 4, 8]
    for size, row in rows.items():
        assert row.seconds == pytest.approx(64 / size * (0.5 + 0.1 * size) + 0.25)
        assert row.samples_per_second == pytest.approx(64 / row.seconds)
        assert row.memory == pytest.approx((2 + size) * GIB)


def test_measured_rows_show_what_was_measured() -> None:
    points = [measurement(2), measurement(4, seconds=5.0, memory=40 * GIB), measurement(8)]
    row = next(
        row for row in predict(Profile("32-true", points), Setting(8, 1, 99 * GIB)) if row.micro_batch == 4
    )
    assert row.seconds == pytest.approx(2 * 5.0 + 0.25)
    assert row.memory == 40 * GIB


def test_the_optimisers_step_may_take_more_memory_than_the_passes() -> None:
    heavy = profile(other_memory=20 * GIB)
    rows = {row.micro_batch: row.memory / GIB for row in predict(heavy, Setting(64, 1, 99 * GIB))}
    assert rows == pytest.approx({1: 20, 2: 20, 4: 20, 8: 20, 16: 20, 32: 34, 64: 66})


def test_devices_share_the_work_and_hold_buckets_of_gradients() -> None:
    one, four = (predict(profile(), Setting(64, devices, 99 * GIB)) for devices in (1, 4))
    alone = {row.micro_batch: row for row in one}
    assert [row.micro_batch for row in four] == [1, 2, 4, 8, 16]
    for row in four:
        assert row.accumulation * 4 == alone[row.micro_batch].accumulation
        assert row.memory == pytest.approx(alone[row.micro_batch].memory + GIB)
        assert row.seconds - 0.25 == pytest.approx((alone[row.micro_batch].seconds - 0.25) / 4)


def test_the_fastest_that_fits_is_chosen() -> None:
    # 0.95 of 20 GiB is 19: micro-batch 16 takes 18, micro-batch 32 takes 34
    setting = Setting(64, 1, 20 * GIB)
    full, mixed = profile(), profile("bf16-mixed", seconds=0.5)
    rows = [*predict(full, setting), *predict(mixed, setting)]
    assert {row.micro_batch for row in rows if not row.fits} == {32, 64}
    chosen = choose(rows)
    assert chosen is not None
    assert (chosen.precision, chosen.micro_batch) == ("bf16-mixed", 16)
    assert chosen.seconds == min(row.seconds for row in rows if row.fits)
    alone = choose(predict(full, setting))
    assert alone is not None
    assert alone.micro_batch == 16
    tighter = choose(predict(full, Setting(64, 1, 18.5 * GIB)))  # 18 GiB are there, but more than 95 %
    assert tighter is not None
    assert tighter.micro_batch == 8


def test_of_equally_fast_ones_the_smaller_is_chosen() -> None:
    rows = predict(profile(), Setting(64, 1, 99 * GIB))
    large, small = (replace(row, seconds=1.0) for row in (rows[5], rows[2]))
    assert choose([large, small]) == small


def test_nothing_may_fit() -> None:
    assert choose(predict(profile(), Setting(64, 1, 3 * GIB))) is None


def test_one_pair_is_neither_predicted_nor_chosen_nor_on_the_line() -> None:
    setting = Setting(8, 1, 99 * GIB, least=2)
    assert [row.micro_batch for row in predict(profile(), setting)] == [2, 4, 8]
    # no negatives: less work, so that it would be the fastest
    points = [measurement(1, seconds=0.001), measurement(2), measurement(4)]
    with_one = Profile("32-true", points, least=2)
    assert with_one.seconds.at(8) == pytest.approx(1.3)
    rows = predict(with_one, setting)
    assert rows[0].micro_batch == 1
    assert rows[0].seconds == min(row.seconds for row in rows)
    chosen = choose(rows)
    assert chosen is not None
    assert chosen.micro_batch == 8


def test_of_two_sizes_both_are_on_the_line() -> None:
    assert [one.size for one in Profile("32-true", [measurement(1), measurement(2)], least=2).points] == [
        1,
        2,
    ]


def test_what_would_not_fit_is_not_tried() -> None:
    done = [measurement(2), measurement(4)]
    assert can_be_tried(done, 8, 10 * GIB)
    assert not can_be_tried(done, 8, 9 * GIB)
    assert can_be_tried(done[:1], 8, GIB)  # one size tells nothing yet

"""The order of an epoch over captions."""

import math

import numpy as np
import pytest

from contextblip.errors import ConfigurationError
from data_modules.caption_data.order import CaptionOrder, resolve_weights
from data_modules.caption_data.sources import hold_out
from data_modules.loaders import Order

# 12 images with 1 to 3 captions each, in groups of 4
COUNTS = np.array([3, 3, 3, 3, 1, 2, 3, 1, 2, 2, 2, 2])
IMAGE = np.repeat(np.arange(12), COUNTS)
GROUP = IMAGE // 4
N = len(IMAGE)
# the last 4 images are another source's
SOURCE = (IMAGE >= 8).astype(np.int64)


def order_of(
    image: Order = IMAGE,
    group: Order = GROUP,
    *,
    weights: tuple[float, ...] = (1.0,),
    one: bool = False,
    seed: int = 0,
) -> CaptionOrder:
    source = SOURCE if len(weights) == 2 else np.zeros_like(image)
    return CaptionOrder(image, group, source, weights, one, seed)


def test_each_epoch_is_its_own_permutation() -> None:
    order = order_of(group=np.arange(N), seed=1)
    orders = [order(epoch).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(N))
    assert order_of(group=np.arange(N), seed=2)(0).tolist() != orders[0]
    assert order.sizes == (N,)


def test_groups_stay_together_one_caption_of_each_image() -> None:
    seen = set()
    order = order_of(IMAGE[:12], GROUP[:12])
    for epoch in range(20):
        rows = order(epoch)
        assert sorted(rows.tolist()) == list(range(12))
        for block in rows.reshape(3, 4):
            assert IMAGE[block].tolist() == [0, 1, 2, 3]
            seen.add(tuple(block.tolist()))
    assert len(seen) > 20  # the captions that meet differ from epoch to epoch


def test_groups_of_unequal_captions_lose_no_row() -> None:
    order = order_of()(3)
    assert sorted(order.tolist()) == list(range(N))
    changes = np.count_nonzero(np.diff(GROUP[order]))
    assert changes <= 3 + 3 + 2 - 1  # groups have at most 3, 3 and 2 rounds


def test_one_caption_an_image_and_another_in_time() -> None:
    order = order_of(one=True)
    orders = [order(epoch) for epoch in range(12)]
    assert order.sizes == (12,)
    for rows in orders:
        assert sorted(IMAGE[rows].tolist()) == list(range(12))
    assert set(np.concatenate(orders).tolist()) == set(range(N))
    assert len({tuple(GROUP[rows].tolist()) for rows in orders}) > 1


def test_a_weight_says_how_often_each_caption_comes() -> None:
    order = order_of(weights=(1.0, 3.0), group=np.arange(N))
    assert order.sizes == (19, 3 * 8)
    for epoch in (0, 1):
        rows = order(epoch)
        counts = np.bincount(rows % N, minlength=N)
        assert counts.tolist() == np.where(SOURCE == 1, 3, 1).tolist()
        # repeats carry their pass, so that they are augmented anew
        assert len(set(rows.tolist())) == len(rows) == sum(order.sizes)
        # and are mixed with the rest, not appended
        assert set(SOURCE[rows[-12:] % N].tolist()) == {0, 1}


def test_half_a_source_is_drawn_anew_every_epoch() -> None:
    order = order_of(weights=(0.5, 1.5), group=np.arange(N))
    assert order.sizes == (10, 8 + 4)  # 9.5 is rounded to even
    drawn = []
    for epoch in range(12):
        rows = order(epoch)
        assert len(rows) == 22
        counts = np.bincount(rows % N, minlength=N)
        assert counts[SOURCE == 0].max() == 1
        assert sorted(counts[SOURCE == 1].tolist()) == [1] * 4 + [2] * 4
        drawn.append(frozenset(np.flatnonzero(counts[SOURCE == 0]).tolist()))
    assert len(set(drawn)) > 6
    assert frozenset.union(*drawn) == set(range(19))
    assert order(5).tolist() == order_of(weights=(0.5, 1.5), group=np.arange(N))(5).tolist()


def test_parts_are_drawn_as_whole_groups() -> None:
    order = order_of(IMAGE[:12], GROUP[:12], weights=(2 / 3,))
    for epoch in range(5):
        rows = order(epoch)
        assert len(rows) == 8
        for block in rows.reshape(2, 4):
            assert IMAGE[block].tolist() == [0, 1, 2, 3]


def test_weights_count_images_where_one_caption_is_taken() -> None:
    order = order_of(weights=(0.5, 2.0), one=True)
    assert order.sizes == (4, 8)
    for epoch in range(5):
        images = IMAGE[order(epoch) % N]
        assert sorted(images[images >= 8].tolist()) == sorted([8, 9, 10, 11] * 2)
        assert len(set(images[images < 8].tolist())) == 4


def test_weights_of_equal_value_one_change_nothing() -> None:
    assert order_of(weights=(1.0, 1.0))(4).tolist() == order_of()(4).tolist()


def test_weights_by_name() -> None:
    names = ["coco", "visual_genome", "extra"]
    assert resolve_weights(None, names) == (1.0, 1.0, 1.0)
    assert resolve_weights({"extra": 0.5}, names) == (1.0, 1.0, 0.5)
    with pytest.raises(
        ConfigurationError, match=r"source_weights: vg is no source; .* visual_genome, extra$"
    ):
        resolve_weights({"vg": 1.0}, names)
    for typo, meant in (("coc", "coco"), ("COCO", "coco"), ("visualgenome", "visual_genome")):
        with pytest.raises(ConfigurationError, match=rf"{typo} is no source; .*; did you mean {meant}\?$"):
            resolve_weights({typo: 1.0}, names)
    with pytest.raises(ConfigurationError, match="coco means two sources: rename an annotation file"):
        resolve_weights({"coco": 1.0}, ["coco", "coco"])
    for value in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(
            ConfigurationError, match="source_weights: coco is .*, expected above 0; leave an"
        ):
            resolve_weights({"coco": value}, names)


def test_held_out_images_are_whole_groups() -> None:
    splits = hold_out(40, 0.3, 4)
    held, kept = set(splits["val"].tolist()), set(splits["train"].tolist())
    assert not held & kept
    assert len(held) == 12
    assert len(kept) == 28
    for start in range(0, 40, 4):
        group = set(range(start, start + 4))
        assert group <= held or group <= kept
    assert hold_out(40, 0.3, 4)["val"].tolist() == splits["val"].tolist()
    assert hold_out(40, 0.0, 1)["val"].tolist() == []
    assert len(hold_out(41, 0.5, 4)["train"]) + len(hold_out(41, 0.5, 4)["val"]) == 41

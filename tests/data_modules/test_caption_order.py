"""The order of an epoch over captions."""

import numpy as np

from data_modules.caption_rows import caption_order
from data_modules.caption_sources import CaptionedImage, hold_out

# 12 images with 1 to 3 captions each, in groups of 4
COUNTS = np.array([3, 3, 3, 3, 1, 2, 3, 1, 2, 2, 2, 2])
IMAGE_ID = np.repeat(np.arange(12), COUNTS) + 1000
GROUP = (IMAGE_ID - 1000) // 4


def test_each_epoch_is_its_own_permutation() -> None:
    alone = np.arange(len(IMAGE_ID))
    orders = [
        caption_order(IMAGE_ID, alone, seed=1, epoch=epoch, one_per_image=False).tolist()
        for epoch in (0, 1, 0)
    ]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == alone.tolist()
    other_seed = caption_order(IMAGE_ID, alone, seed=2, epoch=0, one_per_image=False)
    assert other_seed.tolist() != orders[0]


def test_groups_stay_together_one_caption_of_each_image() -> None:
    seen = set()
    for epoch in range(20):
        order = caption_order(IMAGE_ID[:12], GROUP[:12], seed=0, epoch=epoch, one_per_image=False)
        assert sorted(order.tolist()) == list(range(12))
        for block in order.reshape(3, 4):
            assert IMAGE_ID[block].tolist() == [1000, 1001, 1002, 1003]
            seen.add(tuple(block.tolist()))
    assert len(seen) > 20  # the captions that meet differ from epoch to epoch


def test_groups_of_unequal_captions_lose_no_row() -> None:
    order = caption_order(IMAGE_ID, GROUP, seed=0, epoch=3, one_per_image=False)
    assert sorted(order.tolist()) == list(range(len(IMAGE_ID)))
    changes = np.count_nonzero(np.diff(GROUP[order]))
    assert changes <= 3 + 3 + 2 - 1  # groups have at most 3, 3 and 2 rounds


def test_one_caption_an_image_and_another_in_time() -> None:
    orders = [caption_order(IMAGE_ID, GROUP, seed=0, epoch=epoch, one_per_image=True) for epoch in range(12)]
    for order in orders:
        assert sorted(IMAGE_ID[order].tolist()) == list(range(1000, 1012))
    assert set(np.concatenate(orders).tolist()) == set(range(len(IMAGE_ID)))
    assert len({tuple(GROUP[order].tolist()) for order in orders}) > 1


def test_held_out_images_are_whole_groups() -> None:
    images = [CaptionedImage(str(number), f"{number}.jpg") for number in range(40)]
    splits = hold_out(images, 0.3, 4)
    held = {image.key for _, image in splits["val"]}
    kept = {image.key for _, image in splits["train"]}
    assert not held & kept
    assert len(held) == 12
    assert len(kept) == 28
    for start in range(0, 40, 4):
        group = {str(number) for number in range(start, start + 4)}
        assert group <= held or group <= kept
    assert hold_out(images, 0.3, 4) == splits
    assert hold_out(images, 0.0, 1)["val"] == []

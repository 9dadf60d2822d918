"""States from the store are those of a live ViT, and whatever they depend on makes others of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from contextblip.models import ContextBLIP
from contextblip.models.vision_encoder import VisionOutput
from contextblip.vision_cache import CachedVision

MakeModel = Callable[..., ContextBLIP]
Cache = Callable[..., CachedVision]


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def same(first: VisionOutput, second: VisionOutput) -> bool:
    """Whether all states agree bit for bit, with their types."""
    pairs = zip((first.last, *first.intermediates), (second.last, *second.intermediates), strict=True)
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("layers", [(), (1, 3), (2, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_stored_states_are_the_live_ones_bit_for_bit(
    layers: tuple[int, ...], precision: str, make_model: MakeModel, cache: Cache, images: Tensor
) -> None:
    model = make_model(layers)
    if precision == "bf16-true":
        model, images = model.bfloat16(), images.bfloat16()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        live = model.vision_states(images)
        first, second = cache(model, precision), cache(model, precision)
        assert same(first.states(images), live)
        second = cache(model, precision)
        assert same(second.states(images), live)
        encoded, expected = second.encode_images(images), model.encode_images(images)
    assert all(torch.equal(*pair) for pair in zip(encoded, expected, strict=True))
    assert (first.encoded, first.from_store) == (5, 0)
    assert (second.encoded, second.from_store) == (0, 10)


def test_the_adapter_runs_live(make_model: MakeModel, cache: Cache, images: Tensor) -> None:
    model = make_model()
    cache(model).encode_images(images)
    assert model.adapter is not None
    for weight in model.adapter.parameters():
        weight.mul_(2)
    model.vision_proj.weight.mul_(-1)
    vision = cache(model)
    encoded, expected = vision.encode_images(images), model.encode_images(images)
    assert all(torch.equal(*pair) for pair in zip(encoded, expected, strict=True))
    assert vision.encoded == 0


def test_only_images_that_are_missing_go_through_the_vit_in_order(
    make_model: MakeModel, cache: Cache, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    cache(model).states(images[[3, 1]])
    seen: list[Tensor] = []
    live = model.vision_states

    def watched(shown: Tensor) -> VisionOutput:
        seen.append(shown)
        return live(shown)

    monkeypatch.setattr(model, "vision_states", watched)
    vision = cache(model)
    order = [4, 1, 0, 4, 3, 3, 2, 0]
    states = vision.states(images[order])
    assert len(seen) == 1
    assert torch.equal(seen[0], images[[4, 0, 2]])
    assert (vision.encoded, vision.from_store) == (3, 2)
    for row, image in enumerate(order):
        single = live(images[image : image + 1])
        torch.testing.assert_close(states.last[row], single.last[0])
        torch.testing.assert_close(states.intermediates[0][row], single.intermediates[0][0])
    # what was given is what is kept, although the batch is made up otherwise
    assert torch.equal(cache(model).states(images[[2, 3]]).last, states.last[[6, 4]])


def test_a_changed_pixel_is_a_miss(make_model: MakeModel, cache: Cache, images: Tensor) -> None:
    model = make_model()
    cache(model).states(images)
    images[2, 0, 5, 5] = torch.nextafter(images[2, 0, 5, 5], torch.tensor(9.0))
    vision = cache(model)
    assert same(vision.states(images[2:3]), model.vision_states(images[2:3]))
    vision.states(images)
    assert (vision.encoded, vision.from_store) == (1, 5)


def test_every_weight_of_the_vit_counts_and_none_of_the_rest(
    make_model: MakeModel, cache: Cache, images: Tensor
) -> None:
    model = make_model()
    cache(model).states(images)
    for weight in (*model.text_encoder.parameters(), *model.itm_head.parameters()):
        weight.add_(1)
    vision = cache(model)
    vision.states(images)
    assert vision.encoded == 0
    for weight in model.vision_encoder.parameters():
        weight.view(-1)[0] += 1e-3
        vision = cache(model)
        assert same(vision.states(images), model.vision_states(images))
        assert vision.encoded == 5


def test_precision_and_heads_count(
    make_model: MakeModel, cache: Cache, images: Tensor, tmp_path: Path
) -> None:
    model = make_model()
    cache(model).states(images)
    vision = cache(model, "bf16-mixed")
    vision.states(images)
    assert vision.encoded == 5
    model.config = replace(model.config, vision_heads=4)
    vision = cache(model)
    vision.states(images)
    assert vision.encoded == 5
    assert len({path.parent.name for path in shards(tmp_path)}) == 3


def test_a_layer_that_comes_later_is_only_added(
    make_model: MakeModel, cache: Cache, images: Tensor, tmp_path: Path
) -> None:
    cache(make_model((1, 3))).states(images)
    before = shards(tmp_path)
    vision = cache(make_model((1, 2)))
    assert same(vision.states(images), make_model((1, 2)).vision_states(images))
    assert vision.encoded == 5
    (added,) = set(shards(tmp_path)) - set(before)
    with safe_open(added, framework="pt") as shard:
        names = list(shard.keys())
    assert {name.split("/")[1] for name in names} == {"2"}
    assert len(names) == 5
    vision = cache(make_model((2, 3)))
    assert same(vision.states(images), make_model((2, 3)).vision_states(images))
    assert vision.encoded == 0
    assert len(shards(tmp_path)) == 2


def test_two_writers_in_one_folder(
    make_model: MakeModel, cache: Cache, images: Tensor, tmp_path: Path
) -> None:
    model = make_model()
    first, second = cache(model), cache(model)  # both opened while nothing was there
    first.states(images[:3])
    second.states(images[3:])
    assert len(shards(tmp_path)) == 2
    first.states(images)
    second.states(images)
    assert (first.encoded, second.encoded) == (3, 2)  # each has found what the other wrote
    # smaller batches than the live one: the last bits of a matrix product may depend on that
    torch.testing.assert_close(cache(model).states(images).last, model.vision_states(images).last)


def test_the_size_is_asked_for_once_before_anything_is_written(
    make_model: MakeModel, cache: Cache, images: Tensor, tmp_path: Path
) -> None:
    model = make_model((1, 3))
    asked: list[tuple[int, tuple[int, ...], int]] = []

    def ask(layers: int, state: Tensor) -> None:
        asked.append((layers, tuple(state.shape), len(shards(tmp_path))))

    store = cache(model).store
    vision = CachedVision(model, store, ask)
    vision.states(images[:2])
    vision.states(images[2:])
    assert asked == [(3, (17, 16), 0)]  # layers 1, 3 and the last; [CLS] and 4 x 4 patches
    CachedVision(model, store, ask).states(images)  # writes nothing
    assert len(asked) == 1

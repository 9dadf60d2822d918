"""Both sides of every case do the same work, each in its own way, and the rows say what was measured."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers.models.blip.modeling_blip import BlipVisionEmbeddings

from benchmarks import inputs, plain_sides, stock
from benchmarks.cases import CASES
from benchmarks.inputs import CAPTION_TOKENS, QUERY_TOKENS, write_backbone
from benchmarks.sides import PRECISIONS, MismatchError, Outputs, Precision, Side, check_equal
from benchmarks.timing import interleave
from contextblip.models import PRESETS, BackboneConfig
from contextblip.models.vision_encoder import PatchEmbedding
from tests.conftest import TINY_BACKBONE


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the miniature be smaller still."""
    monkeypatch.setitem(PRESETS, "miniature", TINY_BACKBONE)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "miniature", TINY_BACKBONE)
        return write_backbone("miniature", tmp_path_factory.mktemp("speed") / "backbone")


@pytest.fixture(scope="module")
def expected(backbone: Path) -> dict[str, Outputs]:
    """What the peers compute."""
    return {name: case.theirs(backbone)() for name, case in CASES.items()}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_both_sides_do_the_same_work(
    name: str, precision: Precision, backbone: Path, expected: dict[str, Outputs]
) -> None:
    ours = CASES[name].ours(backbone, precision)
    check_equal(name, precision, ours(), expected[name])
    check_equal(name, precision, ours(), expected[name])  # nothing is left over from the first run


def test_what_the_sides_compute_would_show_a_difference(expected: dict[str, Outputs]) -> None:
    logits = expected["zero-shot"].candidate_logits
    assert logits is not None
    assert logits.shape == (len(QUERY_TOKENS), 10)
    assert (logits.amax(dim=1) - logits.amin(dim=1)).min() > 0.1
    matching = expected["pre-training"].losses
    assert matching is not None
    assert torch.allclose(matching[0], matching[1] + matching[2])
    epochs = expected["stage two"].losses
    assert epochs is not None
    assert (epochs.diff() < 0).all()  # it learns
    for name in ("pre-training", "stage one"):
        gradient = expected[name].gradient
        assert gradient is not None
        assert gradient.norm() > 0


@pytest.mark.parametrize("name", CASES)
def test_another_input_on_one_side_is_noticed(
    name: str, backbone: Path, expected: dict[str, Outputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(config: BackboneConfig, count: int, generator: torch.Generator) -> Tensor:
        return draw(config, count, generator).flip(0)

    draw = inputs.draw_images
    monkeypatch.setattr(inputs, "draw_images", other)
    with pytest.raises(MismatchError, match=f"{name}, fp32: "):
        check_equal(name, "fp32", CASES[name].ours(backbone, "fp32")(), expected[name])


def test_the_peer_needs_the_grounding_token(
    backbone: Path, expected: dict[str, Outputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock, "_grounded", lambda input_ids, _: input_ids)
    with pytest.raises(MismatchError, match="candidate_logits differ by"):
        check_equal("zero-shot", "fp32", expected["zero-shot"], stock.zero_shot(backbone)())


def test_padding_to_the_published_length_changes_no_loss(
    backbone: Path, expected: dict[str, Outputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_sides, "LONGEST", 40)
    check_equal("pre-training", "fp32", expected["pre-training"], plain_sides.pretraining(backbone)())


@contextmanager
def counted_images() -> Iterator[list[int]]:
    """Count the images that enter a vision encoder, of either side."""
    counts: list[int] = []

    def count(module: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(module, PatchEmbedding | BlipVisionEmbeddings):
            counts.append(len(given[0]))

    hook = register_module_forward_pre_hook(count)
    try:
        yield counts
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("zero-shot", 10, 3 * 10),
        ("pre-training", 2 * 4, 2 * 4),  # whole and masked
        ("stage one", 10, 3 * 10),
        ("stage two", 10, 5 * 3 * 10),
    ],
)
def test_images_encoded_by_either_side(name: str, ours: int, theirs: int, backbone: Path) -> None:
    for side, images in ((CASES[name].ours(backbone, "fp32"), ours), (CASES[name].theirs(backbone), theirs)):
        with counted_images() as counts:
            side()
        assert sum(counts) == images


def outputs(**changes: Tensor | None) -> Outputs:
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 1.02]])
    return Outputs(logits, torch.tensor([1.0, 2.0]), torch.ones(4))._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"candidate_logits": torch.tensor([[0.0, 1.0, 2.001], [3.0, 1.0, 1.02]])},
            "candidate_logits differ",
        ),
        ({"candidate_logits": None}, "only one side computed candidate_logits"),
        ({"losses": torch.tensor([1.0, 2.001])}, "losses differ by 0.001"),
        ({"losses": torch.tensor([1.0, torch.nan])}, "losses differ by nan"),
        ({"gradient": torch.tensor([1.0, 1.0, 1.0, 1.01])}, "gradient differ"),
    ],
)
def test_differences_are_refused(changes: dict[str, Tensor | None], message: str) -> None:
    check_equal("case", "fp32", outputs(), outputs())
    with pytest.raises(MismatchError, match=f"case, fp32: {message}"):
        check_equal("case", "fp32", outputs(**changes), outputs())


def test_only_candidates_that_lie_apart_must_keep_their_order() -> None:
    near = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.02, 1.0]])
    check_equal("case", "bf16", outputs(candidate_logits=near), outputs())
    apart = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 1.22]])
    swapped = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.12, 1.10]])
    with pytest.raises(MismatchError, match="ranked in another order"):
        check_equal("case", "bf16", outputs(candidate_logits=swapped), outputs(candidate_logits=apart))


def test_sides_take_turns_and_the_first_pair_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    order: list[str] = []

    def side(name: str, seconds: float) -> Side:
        def run() -> Outputs:
            order.append(name)
            clock["now"] += 100 if len(order) <= 2 else seconds
            return Outputs()

        def prepare() -> None:
            clock["now"] += 1000

        return Side(run, prepare)

    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    assert interleave(side("ours", 2.0), side("peer", 5.0), rounds=3) == pytest.approx((2.0, 5.0))
    assert order == ["ours", "peer", "peer", "ours"] * 2
    order.clear()  # with a single pair a median that held the warm-up would show it
    assert interleave(side("ours", 2.0), side("peer", 5.0), rounds=1) == pytest.approx((2.0, 5.0))


def test_lengths_are_those_of_the_real_texts(real_data: Path) -> None:
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(real_data / "bert-base-uncased")
    captions = json.loads((real_data / "coco/blip_format/coco_karpathy_train.json").read_text())
    sets = json.loads((real_data / "imagecode/valid_data.json").read_text())
    descriptions = [text for queries in sets.values() for text in queries.values()]
    for texts, lengths in (
        ([row["caption"] for row in captions], CAPTION_TOKENS),
        (descriptions, QUERY_TOKENS),
    ):
        found = sorted(min(inputs.LONGEST, len(ids)) for ids in tokenizer(texts)["input_ids"])
        middles = [(2 * place + 1) / (2 * len(lengths)) for place in range(len(lengths))]
        assert tuple(found[int(share * len(found))] for share in middles) == lengths

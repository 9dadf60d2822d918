"""ZeroShot's scores, against slow loops, and texts scored by their parts."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringDataModule
from torch import Tensor
from torch.nn.functional import logsigmoid

from contextblip.errors import ConfigurationError
from contextblip.tasks import FineTuning, InterContext, ZeroShot
from contextblip.tasks.pair_scoring import pair_scores
from contextblip.tasks.part_scoring import PartsScore, join_parts
from contextblip.types import RetrievalBatch, TextParts

ImageSets = Callable[..., RetrievalBatch]
MakeTask = Callable[..., ZeroShot]
SCORES = ("itm", "itc", "itm+itc")
JOINS: tuple[PartsScore, ...] = ("mean", "min", "product")


@pytest.fixture
def make_task(backbone: str) -> MakeTask:
    def make(**keys: Any) -> ZeroShot:  # noqa: ANN401
        torch.manual_seed(0)
        task = ZeroShot(backbone, **{"adapter_layers": [1, 3], **keys})
        task.configure_model()
        return task.eval()

    return make


def parts_of(batch: RetrievalBatch, rows: list[int], texts: list[int]) -> TextParts:
    """Parts that are the texts of the batch, in another distribution over its queries."""
    return {
        "input_ids": batch["input_ids"][texts],
        "attention_mask": batch["attention_mask"][texts],
        "query_index": torch.tensor(rows),
    }


@torch.no_grad()
def margins(task: ZeroShot, batch: RetrievalBatch) -> Tensor:
    return task.score(batch).candidate_logits


@torch.no_grad()
def slow_margin(task: ZeroShot, batch: RetrievalBatch, query: int, candidate: int) -> float:
    image = task.model.encode_images(batch["images"][batch["set_index"][query], candidate][None])
    text = batch["input_ids"][query][None], batch["attention_mask"][query][None]
    none, match = task.model.itm_logits(task.model.fuse(*text, image.image_embeds).multimodal_embeds)[0]
    similarity = (image.image_features @ task.model.encode_text(*text).text_features.T)[0, 0]
    by_score = {
        "itm": match - none,
        "itc": similarity / task.model.temperature,
        "itm+itc": match + similarity,
    }
    return float(by_score[str(task.ranks_by)])


@pytest.mark.parametrize("score", SCORES)
def test_scores_against_a_slow_loop(make_task: MakeTask, image_sets: ImageSets, score: str) -> None:
    task, batch = make_task(score=score), image_sets()
    with torch.no_grad():
        found = task.score(batch)
    for query, row in enumerate(batch["set_index"].tolist()):
        for candidate in range(4):
            margin = found.candidate_logits[query, candidate]
            if batch["candidate_mask"][row, candidate]:
                assert margin.item() == pytest.approx(slow_margin(task, batch, query, candidate), abs=1e-4)
            else:
                assert margin == -torch.inf
                assert found.scores[query, candidate] == 0.0
    shown = found.candidate_logits.sigmoid() if score == "itm" else found.candidate_logits.softmax(dim=1)
    assert torch.equal(found.scores, shown)


def test_scores_rank_differently(make_task: MakeTask, image_sets: ImageSets) -> None:
    orders = {tuple(margins(make_task(score=score), image_sets()).argsort().flatten()) for score in SCORES}
    assert len(orders) == 3


def test_blips_sum_adds_to_the_logit_of_a_match() -> None:
    itm_logits = torch.tensor([[1.0, 4.0], [0.0, 2.0]])
    assert pair_scores(itm_logits).tolist() == [3.0, 2.0]
    assert pair_scores(itm_logits, torch.tensor([0.5, -0.5])).tolist() == [4.5, 1.5]


def test_itc_fuses_nothing(
    make_task: MakeTask, image_sets: ImageSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(score="itc")
    monkeypatch.setattr(task.model, "fuse", lambda *_, **__: pytest.fail("a text met an image"))
    assert margins(task, image_sets()).shape == (4, 4)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_images_are_encoded_once_and_texts_once_each(
    make_task: MakeTask, image_sets: ImageSets, monkeypatch: pytest.MonkeyPatch, score: str, parts: bool
) -> None:
    task, batch = make_task(score=score), image_sets()
    if parts:
        batch["parts"] = parts_of(batch, [0, 0, 1, 1, 2, 3, 3], [0, 1, 2, 3, 0, 1, 2])
    encoded: dict[str, list[int]] = {"images": [], "text": []}
    for name, counts in encoded.items():
        encode = getattr(task.model, f"encode_{name}")
        monkeypatch.setattr(
            task.model,
            f"encode_{name}",
            lambda *inputs, encode=encode, counts=counts, **keys: (
                counts.append(len(inputs[0])),
                encode(*inputs, **keys),
            )[1],
        )
    margins(task, batch)
    assert encoded["images"] == [11]
    assert sum(encoded["text"]) == (0 if score == "itm" else 7 if parts else 4)


@pytest.mark.parametrize("score", ["itc", "itm+itc"])
def test_scores_are_in_full_precision_under_bf16(
    make_task: MakeTask, image_sets: ImageSets, score: str
) -> None:
    task = make_task(score=score)
    with torch.autocast("cpu", torch.bfloat16):
        found = margins(task, image_sets())
    real = found[torch.isfinite(found)]
    assert found.dtype == torch.float32
    assert (real != real.bfloat16().float()).float().mean() > 0.5
    exact = margins(task, image_sets())
    assert torch.allclose(real, exact[torch.isfinite(exact)], rtol=0.1, atol=0.5)


# ---- parts


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("score", SCORES)
def test_one_part_is_the_whole_text(
    make_task: MakeTask, image_sets: ImageSets, score: str, join: PartsScore
) -> None:
    task, batch = make_task(score=score, parts_score=join), image_sets()
    whole = margins(task, batch)
    batch["parts"] = parts_of(batch, [0, 1, 2, 3], [0, 1, 2, 3])
    found = margins(task, batch)
    if (score, join) == ("itm", "product"):
        assert torch.allclose(found, whole, atol=1e-5)  # there and back through log-odds
    else:
        assert torch.equal(found, whole)


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("score", SCORES)
def test_parts_against_texts_scored_one_by_one(
    make_task: MakeTask, image_sets: ImageSets, score: str, join: PartsScore
) -> None:
    task, batch = make_task(score=score, parts_score=join), image_sets()
    rows, texts = [0, 1, 1, 1, 2, 2, 3, 3, 3], [2, 0, 1, 3, 3, 0, 1, 1, 2]
    single = []
    for row, text in zip(rows, texts, strict=True):
        one = image_sets()
        for key in ("input_ids", "attention_mask"):
            one[key] = batch[key][[text] * 4]
        single.append(margins(task, one)[row])
    batch["parts"] = parts_of(batch, rows, texts)
    found = margins(task, batch)
    for query in range(4):
        own = torch.stack([margin for row, margin in zip(rows, single, strict=True) if row == query])
        real = torch.isfinite(own[0])
        assert (found[query][~real] == -torch.inf).all()
        by_join = {"mean": own.mean(0), "min": own.amin(0), "product": own.sum(0)}
        if join == "product" and score == "itm":
            probability = own.double().sigmoid().prod(0)
            by_join["product"] = torch.logit(probability).float()
        assert torch.allclose(found[query][real], by_join[join][real], atol=1e-4)


def test_parts_are_scored_no_more_at_once_than_there_are_queries(
    make_task: MakeTask, image_sets: ImageSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, batch = make_task(), image_sets()
    batch["parts"] = parts_of(batch, [0] * 9 + [1, 2, 3], [0, 1, 2, 3] * 3)
    fuse, fused = task.model.fuse, []

    def count(input_ids: Tensor, mask: Tensor, embeds: Tensor, **keys: Any) -> object:  # noqa: ANN401
        fused.append((len(keys["text_index"]), len(embeds)))
        return fuse(input_ids, mask, embeds, **keys)

    monkeypatch.setattr(task.model, "fuse", count)
    margins(task, batch)
    # pairs, and images whose keys and values are computed: of the chunk's own sets alone
    assert fused == [(16, 4), (16, 4), (15, 11)]


def test_joins_by_hand() -> None:
    logits = torch.tensor([[1.0, -torch.inf], [3.0, -torch.inf], [-2.0, 5.0]])
    rows = torch.tensor([0, 0, 1])
    for how, value in (("mean", 2.0), ("min", 1.0), ("product", 4.0)):
        joined = join_parts(logits, rows, how, of_matches=False)  # type: ignore[arg-type]  # one of the three
        assert joined.tolist() == [[value, -torch.inf], [-2.0, 5.0]]
    odds = torch.logit(torch.tensor([[0.5], [0.5], [0.8]]))
    joined = join_parts(odds, torch.tensor([0, 0, 0]), "product", of_matches=True)
    assert joined.sigmoid().item() == pytest.approx(0.2)


def test_the_product_stays_finite_and_ordered_at_the_ends() -> None:
    for low, high in ((30.0, 31.0), (-200.0, -199.0), (80.0, 84.0)):
        margin = torch.tensor([[low, high], [low, high]])
        joined = join_parts(margin, torch.tensor([0, 0]), "product", of_matches=True)[0]
        assert torch.isfinite(joined).all()
        assert joined[0] < joined[1]
        assert torch.logaddexp(-joined, torch.zeros(2)).sum() == pytest.approx(
            -2 * float(logsigmoid(margin[0]).sum()), rel=1e-4
        )
    certain = join_parts(torch.full((2, 1), 500.0), torch.tensor([0, 0]), "product", of_matches=True)
    assert 80 < certain.item() < torch.inf


# ---- keys that would do nothing


def attached(task: Any, text_parts: str | None) -> Any:  # noqa: ANN401
    """Give a task a Trainer whose data split texts so; ``None`` is a data module without the key."""
    datamodule = SimpleNamespace() if text_parts is None else SimpleNamespace(text_parts=text_parts)
    task._trainer = SimpleNamespace(datamodule=datamodule, global_rank=0)
    return task


@pytest.mark.parametrize("text_parts", ["whole", None])
def test_parts_score_without_parts_is_an_error(backbone: str, text_parts: str | None) -> None:
    with pytest.raises(ConfigurationError, match="parts_score is 'min', but the texts are scored whole"):
        attached(ZeroShot(backbone, parts_score="min"), text_parts).setup("test")
    attached(ZeroShot(backbone), text_parts).setup("test")
    attached(ZeroShot(backbone, parts_score="min"), "sentences").setup("test")


@pytest.mark.parametrize("task", [FineTuning, InterContext])
def test_fine_tuned_stages_refuse_parts(backbone: str, task: type[FineTuning | InterContext]) -> None:
    with pytest.raises(ConfigurationError, match="data.text_parts is 'sentences', but .* leave it out"):
        attached(task(backbone), "sentences").setup("test")
    attached(task(backbone), "whole").setup("test")


def test_refused_before_anything_is_scored(
    backbone: str, make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    datamodule = BoringDataModule()
    monkeypatch.setattr(datamodule, "text_parts", "sentences", raising=False)
    task = FineTuning(backbone)
    with pytest.raises(ConfigurationError, match="text_parts"):
        make_trainer().test(task, datamodule=datamodule)
    assert not hasattr(task, "model")


@pytest.mark.parametrize(("layers", "warned"), [([1, 3], True), ([], False)])
def test_itc_says_that_the_adapter_has_no_part(
    backbone: str, caplog: pytest.LogCaptureFixture, layers: list[int], warned: bool
) -> None:
    attached(ZeroShot(backbone, adapter_layers=layers, score="itc"), "whole").setup("test")
    assert ("the adapter has no part in it" in caplog.text) == warned


def test_unknown_scores_are_named(backbone: str) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.score is 'candidate', expected itm, itc or"):
        ZeroShot(backbone, score="candidate")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ConfigurationError, match=r"model\.parts_score is 'max'"):
        ZeroShot(backbone, parts_score="max")  # type: ignore[arg-type]  # the mistake


def test_pairs_by_similarity(
    make_task: MakeTask, image_sets: ImageSets, evaluate: Callable[..., dict[str, float]]
) -> None:
    """The protocol of MMVP-VLM does not care what ranks."""
    task, batch = make_task(score="itc", adapter_layers=[]), image_sets()
    batch["protocol"] = "pairs"
    for query in batch["queries"]:
        query["phenomena"] = ["State"]
    batch["target_index"] = margins(task, batch).argmax(dim=1)
    assert evaluate(task, [batch])["test/pair_accuracy"] == 1.0
    batch["target_index"][1] = margins(task, batch)[1].argmin()
    logged = evaluate(task, [batch])
    assert logged["test/pair_accuracy"] == pytest.approx(2 / 3), "one wrong query of the set of two"
    assert logged["n/test/pair_accuracy"] == 3.0

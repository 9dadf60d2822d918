"""Image-text retrieval: against brute force over all pairs, by parts, cut short, refused."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError, DatasetError
from contextblip.tasks import ImageTextRetrieval, image_text_retrieval
from contextblip.tasks.pair_scoring import PairScorer
from contextblip.tasks.retrieval_gallery import Gallery, GalleryRows
from contextblip.types import GalleryImageBatch, GalleryTextBatch

MakeTrainer = Callable[..., Trainer]
IMAGES = 6
# five captions, one, none, two, four; the one of -1 belongs to no image of the gallery
OWNERS = [0, 0, 0, 0, 0, 1, 3, 3, 4, 4, 4, 4, -1, 5]


class World:
    """Images and texts drawn for the tiny backbone, and batches of them."""

    def __init__(self) -> None:
        torch.manual_seed(5)
        self.images = torch.randn(IMAGES, 3, 16, 16)
        self.texts = [
            torch.cat([torch.tensor([1]), torch.randint(3, 20, (int(n),)), torch.tensor([2])])
            for n in torch.randint(2, 8, (len(OWNERS),))
        ]

    def image_batches(self, size: int = 4) -> list[GalleryImageBatch]:
        return [
            {"images": self.images[rows], "index": rows} for rows in torch.split(torch.arange(IMAGES), size)
        ]

    def text_batches(self, size: int = 5) -> list[GalleryTextBatch]:
        return [self.text_batch(rows) for rows in torch.split(torch.arange(len(OWNERS)), size)]

    def text_batch(self, rows: Tensor) -> GalleryTextBatch:
        chosen = [self.texts[row] for row in rows.tolist()]
        input_ids = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        return {
            "input_ids": input_ids,
            "attention_mask": (input_ids > 0).long(),
            "index": rows,
            "image_index": torch.tensor([OWNERS[row] for row in rows.tolist()]),
        }


@pytest.fixture(scope="module")
def gallery_world() -> World:
    return World()


@pytest.fixture
def make_task(backbone: str) -> Callable[..., ImageTextRetrieval]:
    def make(**keys: Any) -> ImageTextRetrieval:  # noqa: ANN401
        torch.manual_seed(0)
        task = ImageTextRetrieval(backbone, **{"adapter_layers": [1, 3], "rerank_chunk_size": 7, **keys})
        task.configure_model()
        return task.eval()

    return make


MakeTask = Callable[..., ImageTextRetrieval]


def loaders(*galleries: list[Any]) -> list[DataLoader[Any]]:
    return [DataLoader(batches, batch_size=None) for batches in galleries]  # type: ignore[arg-type]  # lists will do


def recalls(
    trainer: Trainer, task: ImageTextRetrieval, world: World, stage: str = "test", **sizes: int
) -> dict[str, float]:
    both = loaders(world.image_batches(sizes.get("images", 4)), world.text_batches(sizes.get("texts", 5)))
    run = trainer.test if stage == "test" else trainer.validate
    run(task, both, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@torch.no_grad()
def all_pairs(task: ImageTextRetrieval, world: World) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity, ITM margin and logit of a match of every image and text, one at a time."""
    shape = (IMAGES, len(OWNERS))
    similarities, margins, matches = torch.empty(shape), torch.empty(shape), torch.empty(shape)
    for image, pixels in enumerate(world.images):
        encoded = task.model.encode_images(pixels[None])
        for number, ids in enumerate(world.texts):
            mask = torch.ones_like(ids)[None]
            text = task.model.encode_text(ids[None], mask).text_features
            logits = task.model.itm_logits(
                task.model.fuse(ids[None], mask, encoded.image_embeds).multimodal_embeds
            )[0]
            similarities[image, number] = encoded.image_features[0] @ text[0]
            margins[image, number] = logits[1] - logits[0]
            matches[image, number] = logits[1]
    return similarities, margins, matches


def slow_recalls(similarities: Tensor, scores: Tensor, relevant: Tensor, top_k: int) -> dict[int, float]:
    """Rank by similarity, put the first ``top_k`` in a new order, count the queries that have an answer."""
    ranks = []
    for row in range(len(similarities)):
        order = similarities[row].argsort(descending=True).tolist()
        listed = sorted(order[:top_k], key=lambda candidate, row=row: -float(scores[row, candidate]))  # type: ignore[misc]
        own = [place for place, c in enumerate(listed + order[top_k:], 1) if relevant[row, c]]
        ranks += [min(own)] if own else []
    return {k: sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5, 10)}


def expected(similarities: Tensor, scores: Tensor, top_k: int) -> dict[str, float]:
    relevant = torch.tensor(OWNERS) == torch.arange(IMAGES)[:, None]
    text = slow_recalls(similarities, scores, relevant, top_k)
    image = slow_recalls(similarities.T, scores.T, relevant.T, top_k)
    found = {f"text_recall@{k}": value for k, value in text.items()}
    found |= {f"image_recall@{k}": value for k, value in image.items()}
    return found | {"recall_mean": sum(found.values()) / 6}


@pytest.mark.parametrize("rerank_score", ["itm", "itm+itc", "itm_plus_itc"])
@pytest.mark.parametrize("top_k", [1, 3, 1000])
def test_recalls_against_brute_force(
    make_task: MakeTask, make_trainer: MakeTrainer, gallery_world: World, rerank_score: str, top_k: int
) -> None:
    task = make_task(rerank_score=rerank_score, rerank_top_k=top_k)
    similarities, margins, matches = all_pairs(task, gallery_world)
    scores = margins if rerank_score == "itm" else matches + similarities
    logged = recalls(make_trainer(), task, gallery_world)
    for name, value in expected(similarities, scores, top_k).items():
        assert logged[f"test/{name}"] == pytest.approx(value, abs=1e-6), name
    for name, value in expected(similarities, similarities, top_k).items():
        assert logged[f"test/itc/{name}"] == pytest.approx(value, abs=1e-6), name
    assert logged["n/test/text_recall@1"] == 5, "the third image has no text"
    assert logged["n/test/itc/image_recall@10"] == 13, "one text has no image"


def test_the_two_scores_and_the_shortlist_matter(
    make_task: MakeTask, make_trainer: MakeTrainer, gallery_world: World
) -> None:
    def names(**keys: Any) -> dict[str, float]:  # noqa: ANN401
        return recalls(make_trainer(), make_task(**keys), gallery_world)

    alone, few, every = names(rerank_top_k=0), names(rerank_top_k=3), names(rerank_top_k=1000)
    assert alone != few != every
    assert names(rerank_top_k=1000, rerank_score="itm") != every


def test_without_reranking_itc_ranks_and_no_state_is_kept(
    make_task: MakeTask, make_trainer: MakeTrainer, gallery_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    galleries = spied(monkeypatch)
    logged = recalls(make_trainer(), make_task(rerank_top_k=0), gallery_world)
    for name, value in logged.items():
        if "/itc/" in name:
            assert logged[name.replace("/itc/", "/")] == value
    assert len(logged) == 2 * 7 + 2 * 6
    assert [gallery.image_embeds for gallery in galleries] == [{}]


def spied(monkeypatch: pytest.MonkeyPatch) -> list[Gallery]:
    """Keep the galleries that are joined."""
    kept: list[Gallery] = []
    join = GalleryRows.join

    def spy(self: GalleryRows, *arguments: Any) -> Gallery:  # noqa: ANN401
        kept.append(join(self, *arguments))
        return kept[-1]

    monkeypatch.setattr(GalleryRows, "join", spy)
    return kept


def test_mixed_precision_keeps_states_in_half(
    make_task: MakeTask, make_trainer: MakeTrainer, gallery_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    galleries = spied(monkeypatch)
    for precision in ("32-true", "bf16-mixed"):
        task = make_task(rerank_top_k=1000)
        logged = recalls(make_trainer(precision=precision), task, gallery_world)
        assert logged["n/test/text_recall@1"] == 5
    full, half = galleries
    assert {state.dtype for state in full.image_embeds.values()} == {torch.float32}
    assert {state.dtype for state in half.image_embeds.values()} == {torch.bfloat16}
    assert {state.device.type for state in half.image_embeds.values()} == {"cpu"}
    assert half.image_features.dtype == torch.float32
    assert half.attention_mask.sum(1).diff().min() >= 0, "texts stand from short to long"


def test_batch_and_chunk_sizes_change_nothing(
    make_task: MakeTask, make_trainer: MakeTrainer, gallery_world: World
) -> None:
    first = recalls(make_trainer(), make_task(rerank_top_k=3), gallery_world)
    task = make_task(rerank_top_k=3, rerank_chunk_size=1)
    assert recalls(make_trainer(), task, gallery_world, images=1, texts=14) == first


def test_validation_logs_under_its_own_name_and_a_second_run_starts_anew(
    make_task: MakeTask, make_trainer: MakeTrainer, gallery_world: World
) -> None:
    task = make_task(rerank_top_k=3)
    first = recalls(make_trainer(), task, gallery_world)
    second = recalls(make_trainer(), task, gallery_world, "validate")
    assert {name.replace("val/", "test/"): value for name, value in second.items()} == first
    assert all("val/" in name for name in second)


def test_a_cut_gallery_counts_what_has_its_partner(
    make_task: MakeTask, make_trainer: MakeTrainer, gallery_world: World
) -> None:
    trainer = make_trainer(limit_test_batches=1)
    logged = recalls(trainer, make_task(rerank_top_k=1000), gallery_world, images=2, texts=9)
    # images 0 and 1; of the texts 0 to 8 the last three are of images that are not there
    assert logged["n/test/image_recall@1"] == 6
    assert logged["n/test/text_recall@1"] == 2


def test_texts_without_any_image_are_an_error(
    make_task: MakeTask, make_trainer: MakeTrainer, gallery_world: World
) -> None:
    batch = gallery_world.text_batch(torch.tensor([6, 7, 12]))
    both = loaders(gallery_world.image_batches(2)[:1], [batch])
    with pytest.raises(
        DatasetError,
        match="none of the 3 texts belongs to one of the 2 images; if --trainer.limit_test_batches",
    ):
        make_trainer().test(make_task(), both, verbose=False)


def test_features_of_itc_do_not_see_the_adapter(make_task: MakeTask, gallery_world: World) -> None:
    with torch.no_grad():
        plain = make_task(adapter_layers=[]).model.encode_images(gallery_world.images)
        adapted = make_task().model.encode_images(gallery_world.images)
    assert torch.equal(plain.image_features, adapted.image_features)
    assert not torch.allclose(plain.image_embeds, adapted.image_embeds)


@pytest.mark.parametrize("stage", ["fit", "predict"])
def test_other_stages_are_refused_before_weights_are_loaded(stage: str) -> None:
    task = ImageTextRetrieval("/nowhere/weights")
    with pytest.raises(ConfigurationError, match="ranks a whole gallery: use validate or test only"):
        task.setup(stage)
    with pytest.raises(ConfigurationError, match="validate or test only"):
        task.configure_optimizers()
    with pytest.raises(ConfigurationError, match="validate or test only"):
        task.predict_step()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rerank_top_k", -1, "model.rerank_top_k is -1, expected 0 or more"),
        ("rerank_chunk_size", 0, "model.rerank_chunk_size is 0, expected a positive number of pairs"),
    ],
)
def test_keys_are_checked(key: str, value: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ImageTextRetrieval("random:miniature", **{key: value})  # type: ignore[arg-type]  # one key of several


def test_long_rankings_say_how_far_they_are(
    make_task: MakeTask,
    make_trainer: MakeTrainer,
    gallery_world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    impatient = partial(PairScorer, seconds_between_reports=0.0)
    monkeypatch.setattr(image_text_retrieval, "PairScorer", impatient)
    with caplog.at_level("INFO"):
        recalls(make_trainer(), make_task(rerank_top_k=1000, rerank_chunk_size=50), gallery_world)
    said = [message for message in caplog.messages if message.startswith("re-ranking")]
    assert said == [
        "re-ranking: 50 of 84 pairs on this device",
        "re-ranking: 84 of 84 pairs on this device",
    ]

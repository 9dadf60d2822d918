"""Shortlist and re-ranking against brute force over all pairs."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from contextblip.recall import target_ranks
from contextblip.reranking import (
    PairChunk,
    Shortlist,
    directed_keys,
    look_up,
    pair_chunks,
    pair_keys,
    reranked,
    score_pairs,
    shortlist,
)

IMAGES, TEXTS = 7, 19


@pytest.fixture
def gallery() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features of 7 images and 19 texts, the image of each text (two have none), scores of all pairs."""
    torch.manual_seed(3)
    images = F.normalize(torch.randn(IMAGES, 5), dim=1)
    texts = F.normalize(torch.randn(TEXTS, 5), dim=1)
    owner = torch.randint(0, IMAGES - 1, (TEXTS,))  # the last image has no text
    owner[4] = owner[11] = -1
    return images, texts, owner, torch.randn(IMAGES, TEXTS)


def brute_force(similarities: Tensor, scores: Tensor, relevant: Tensor, top_k: int) -> list[int]:
    """Sort the shortlist by score, then all others by similarity, and look for the first relevant one."""
    ranks = []
    for row in range(len(similarities)):
        by_similarity = sorted(range(similarities.shape[1]), key=lambda c: -float(similarities[row, c]))
        listed, others = by_similarity[:top_k], by_similarity[top_k:]
        order = sorted(listed, key=lambda c: -float(scores[row, c])) + others
        own = [place for place, c in enumerate(order, start=1) if relevant[row, c]]
        ranks.append(min(own, default=0))
    return ranks


def run(
    gallery: tuple[Tensor, Tensor, Tensor, Tensor], top_k: int, chunk_size: int = 4
) -> tuple[list[int], list[int], list[PairChunk]]:
    images, texts, owner, scores = gallery
    numbers = torch.arange(IMAGES)
    by_image = shortlist(images, texts, numbers, owner, top_k, max_similarities=2 * TEXTS)
    by_text = shortlist(texts, images, owner, numbers, top_k, max_similarities=3 * IMAGES)
    keys = pair_keys(by_image.candidates, by_text.candidates, torch.ones(IMAGES, dtype=torch.bool))
    asked: list[PairChunk] = []

    def score(chunk: PairChunk) -> Tensor:
        asked.append(chunk)
        return scores[chunk.images[chunk.image_index], chunk.texts]

    found = score_pairs(keys, TEXTS, chunk_size, score)
    from_images, from_texts = directed_keys(by_image.candidates, by_text.candidates)
    image_ranks = reranked(by_image, look_up(keys, found, from_images))
    text_ranks = reranked(by_text, look_up(keys, found, from_texts))
    return image_ranks.tolist(), text_ranks.tolist(), asked


@pytest.mark.parametrize("top_k", [1, 3, 6, 100])
@pytest.mark.parametrize("chunk_size", [1, 5, 1000])
def test_ranks_against_brute_force(
    gallery: tuple[Tensor, Tensor, Tensor, Tensor], top_k: int, chunk_size: int
) -> None:
    images, texts, owner, scores = gallery
    relevant = owner == torch.arange(IMAGES)[:, None]
    found = run(gallery, top_k, chunk_size)
    assert found[0] == brute_force(images @ texts.T, scores, relevant, top_k)
    assert found[1] == brute_force(texts @ images.T, scores.T, relevant.T, top_k)
    assert found[0][-1] == 0
    assert found[1][4] == 0


def test_a_shortlist_of_everything_is_the_ranking_by_score_alone(
    gallery: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    _, _, owner, scores = gallery
    relevant = owner == torch.arange(IMAGES)[:, None]
    found = run(gallery, 1000)
    assert found[0] == target_ranks(scores, relevant).tolist()
    assert found[1] == target_ranks(scores.T, relevant.T).tolist()


def test_only_shortlisted_pairs_are_scored_and_each_once(
    gallery: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    images, texts, _, _ = gallery
    pairs = [
        pair
        for chunk in run(gallery, 3)[2]
        for pair in zip(chunk.images[chunk.image_index].tolist(), chunk.texts.tolist(), strict=True)
    ]
    similarities = images @ texts.T
    expected = {(i, int(t)) for i in range(IMAGES) for t in similarities[i].topk(3).indices}
    expected |= {(int(i), t) for t in range(TEXTS) for i in similarities[:, t].topk(3).indices}
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected


def test_what_is_off_the_shortlist_keeps_its_place_behind_it() -> None:
    listed = Shortlist(torch.tensor([[0, 1]]), torch.tensor([[False, False]]), torch.tensor([4]))
    assert reranked(listed, torch.tensor([[-9.0, -9.0]])).tolist() == [4], "however bad the listed ones score"


def test_a_tie_on_the_shortlist_counts_against_the_target() -> None:
    listed = Shortlist(torch.tensor([[2, 0, 1]]), torch.tensor([[True, False, False]]), torch.tensor([1]))
    assert reranked(listed, torch.tensor([[0.5, 0.5, 0.4]])).tolist() == [2]


def test_chunks_name_an_image_once() -> None:
    keys = torch.tensor([0, 3, 11, 12, 13, 25])
    chunks = list(pair_chunks(keys, texts=10, chunk_size=4))
    assert [chunk.images.tolist() for chunk in chunks] == [[0, 1], [1, 2]]
    assert [chunk.image_index.tolist() for chunk in chunks] == [[0, 0, 1, 1], [0, 1]]
    assert [chunk.texts.tolist() for chunk in chunks] == [[0, 3, 1, 2], [3, 5]]


def test_shares_of_processes_add_up(gallery: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    images, texts, owner, scores = gallery
    by_image = shortlist(images, texts, torch.arange(IMAGES), owner, 4)
    by_text = shortlist(texts, images, owner, torch.arange(IMAGES), 4)
    wanted = directed_keys(by_image.candidates, by_text.candidates)
    everything = torch.ones(IMAGES, dtype=torch.bool)
    shares = [torch.arange(IMAGES) < 3, torch.arange(IMAGES) >= 3, ~everything]  # the third has no image

    def scored(owned: Tensor) -> list[Tensor]:
        keys = pair_keys(by_image.candidates, by_text.candidates, owned)
        found = score_pairs(
            keys, TEXTS, 5, lambda chunk: scores[chunk.images[chunk.image_index], chunk.texts]
        )
        return [look_up(keys, found, direction) for direction in wanted]

    parts = [scored(owned) for owned in shares]
    for whole, *added in zip(scored(everything), *parts, strict=True):
        assert torch.equal(whole, torch.stack(added).sum(dim=0))
        assert bool((whole != 0).all())

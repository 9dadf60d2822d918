"""The gallery is the same however many processes share its rows, and so are the ranks."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import functional as F

from contextblip.tasks import ImageTextRetrieval
from contextblip.tasks.retrieval_gallery import Gallery, GalleryRows, Processes
from contextblip.types import GalleryImageBatch, GalleryTextBatch

IMAGES, TEXTS, WIDTH = 6, 14, 8
CPU = torch.device("cpu")


class Threads:
    """Processes played by threads: a reduction waits until all have brought their tensor.

    Args:
        world_size: How many.
    """

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.barrier = threading.Barrier(world_size, timeout=60)
        self.tensors: dict[int, Tensor] = {}

    def processes(self, rank: int) -> Processes:
        def reduce(tensor: Tensor, operation: str) -> Tensor:
            self.tensors[rank] = tensor
            self.barrier.wait()
            stacked = torch.stack([self.tensors[other] for other in range(self.world_size)])
            self.barrier.wait()
            return {"sum": stacked.sum(0), "min": stacked.amin(0), "max": stacked.amax(0)}[operation]

        return Processes(rank, self.world_size, reduce)

    def run(self, work: Callable[[Processes], Any]) -> list[Any]:
        results: dict[int, Any] = {}

        def play(rank: int) -> None:
            with torch.no_grad():
                results[rank] = work(self.processes(rank))

        threads = [threading.Thread(target=play, args=(rank,)) for rank in range(self.world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [results[rank] for rank in range(self.world_size)]


class Drawn:
    """What encoders would have given: numbers with gaps, texts of 3 to 8 tokens, one of no image."""

    def __init__(self) -> None:
        torch.manual_seed(8)
        self.numbers = torch.tensor([0, 1, 2, 5, 6, 9])
        self.image_features = F.normalize(torch.randn(IMAGES, WIDTH), dim=1)
        self.embeds = torch.randn(IMAGES, 17, 16) * 3
        self.text_features = F.normalize(torch.randn(TEXTS, WIDTH), dim=1)
        self.lengths = torch.randint(3, 9, (TEXTS,))
        self.input_ids = torch.randint(3, 20, (TEXTS, 8))
        self.owners = self.numbers[torch.randint(0, IMAGES, (TEXTS,))]
        self.owners[3] = -1
        self.owners[4] = 7  # an image that is not there

    def rows(self, images: Tensor, texts: Tensor) -> GalleryRows:
        """Hand images and texts over, a few at a time."""
        rows = GalleryRows()
        for part in torch.split(images, 2) if len(images) else ():
            image_batch: GalleryImageBatch = {"images": torch.empty(0), "index": self.numbers[part]}
            rows.add_images(image_batch, self.image_features[part], self.embeds[part], torch.float32)
        for part in torch.split(texts, 3) if len(texts) else ():
            longest = int(self.lengths[part].max())
            mask = (torch.arange(longest) < self.lengths[part, None]).long()
            text_batch: GalleryTextBatch = {
                "input_ids": self.input_ids[part, :longest] * mask,
                "attention_mask": mask,
                "index": part,
                "image_index": self.owners[part],
            }
            rows.add_texts(text_batch, self.text_features[part])
        return rows


@pytest.fixture
def task(backbone: str, make_trainer: Callable[..., Trainer]) -> ImageTextRetrieval:
    task = ImageTextRetrieval(backbone, adapter_layers=[], rerank_top_k=3, rerank_chunk_size=5)
    task.configure_model()
    task.trainer = make_trainer()
    return task.eval()


def test_numbers_close_up_and_texts_stand_from_short_to_long() -> None:
    drawn = Drawn()
    everything = drawn.rows(torch.arange(IMAGES), torch.arange(TEXTS))
    (gallery,) = Threads(1).run(lambda processes: everything.join(processes, WIDTH, CPU))
    lengths = gallery.attention_mask.sum(1)
    order = drawn.lengths.argsort(stable=True)
    assert torch.equal(lengths, drawn.lengths[order])
    assert torch.equal(gallery.text_features, drawn.text_features[order])
    assert torch.equal(gallery.image_features, drawn.image_features)
    numbers = [int(number) if number in (0, 1, 2, 5, 6, 9) else -1 for number in drawn.owners[order].tolist()]
    assert [int(drawn.numbers[place]) if place >= 0 else -1 for place in gallery.image_index] == numbers
    assert numbers.count(-1) == 2
    for image, state in gallery.image_embeds.items():
        assert torch.equal(state, drawn.embeds[image])


@pytest.mark.parametrize("repeat", [False, True], ids=["each once", "some in all shares"])
@pytest.mark.parametrize("world_size", [1, 2, 9])
def test_shares_make_one_gallery_and_the_same_ranks(
    task: ImageTextRetrieval, world_size: int, repeat: bool
) -> None:
    """Nine processes are more than there are images: some have none."""
    drawn = Drawn()

    def work(processes: Processes) -> tuple[Gallery, tuple[Tensor, ...]]:
        images, texts = torch.arange(IMAGES)[processes.share], torch.arange(TEXTS)[processes.share]
        if repeat:  # as a sampler does that fills up the last batch
            images, texts = torch.cat([images, torch.tensor([0])]), torch.cat([texts, torch.tensor([0, 1])])
        gallery = drawn.rows(images, texts).join(processes, WIDTH, CPU)
        return gallery, task._ranks(gallery, processes)

    ((alone, expected),) = Threads(1).run(work)
    assert alone.owned.all()
    assert not torch.equal(expected[0], expected[2]), "re-ranking changes something"
    shares = Threads(world_size).run(work)
    owners = torch.stack([gallery.owned.long() for gallery, _ in shares]).sum(0)
    assert owners.tolist() == [1] * IMAGES
    for gallery, ranks in shares:
        for name in ("image_features", "text_features", "input_ids", "attention_mask", "image_index"):
            assert torch.equal(getattr(gallery, name), getattr(alone, name)), name
        assert set(gallery.image_embeds) == set(gallery.owned.nonzero().flatten().tolist())
        for found, wanted in zip(ranks, expected, strict=True):
            assert torch.equal(found, wanted)

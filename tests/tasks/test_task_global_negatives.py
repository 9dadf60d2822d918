"""Negatives from all processes: the gradient is that of one large batch, draws reach the other process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError
from contextblip.losses import negative_weights
from contextblip.tasks import Pretraining, pretraining_step
from contextblip.tasks.matching import Negatives, draw_negatives, matching_pairs
from contextblip.tasks.peers import Peers, Pool
from contextblip.types import CaptionBatch
from tests.tasks.conftest import loader

Captions = Callable[..., CaptionBatch]
Task = TypeVar("Task", bound=Pretraining)
STEPS = 20  # in which negatives are drawn globally, then as many locally
# of the rows of both processes together, (0, 1) and (2, 3); within the process and across
GIVEN = Negatives(torch.tensor([2, 3, 0, 2]), torch.tensor([3, 2, 1, 0]))
IMAGE_ID = [0, 1, 1, 2]


def build(kind: type[Task], backbone: str, **keys: Any) -> Task:  # noqa: ANN401
    """Build a task without dropout or noise."""
    sizes: dict[str, Any] = {"adapter_layers": [1, 3], "decoder_layers": 1, "decoder_heads": 2}
    fixed = {"mask_token_row": "mean", "mask_noise": 0.0, "dropout": 0.0, "warmup_steps": 0}
    return kind(backbone, **(sizes | fixed | keys))


def rows(batch: CaptionBatch, chosen: list[int], length: int) -> CaptionBatch:
    """Take some pairs, their texts cut to a length."""
    return {
        "images": batch["images"][chosen],
        "input_ids": batch["input_ids"][chosen, :length],
        "attention_mask": batch["attention_mask"][chosen, :length],
        "image_id": batch["image_id"][chosen],
        "index": batch["index"][chosen],
    }


class Probe(Pretraining):
    """Gives the negatives of the first step, notes those drawn later and writes all into a folder."""

    folder: Path
    shares: Sequence[CaptionBatch]
    validated: Sequence[CaptionBatch]

    def train_dataloader(self) -> "DataLoader[Any]":
        return loader([self.shares[self.global_rank]] * (1 + 2 * STEPS))

    def val_dataloader(self) -> "DataLoader[Any]":
        return loader([self.validated[self.global_rank]])

    def on_fit_start(self) -> None:
        super().on_fit_start()
        torch.manual_seed(self.global_rank)
        self.drawn: dict[str, list[tuple[list[int], list[int]]]] = {
            "global": [],
            "local": [],
            "validation": [],
        }
        self.gradients: dict[str, Tensor] = {}
        self.losses: list[Tensor] = []
        # For good: the test has started this process
        mock.patch("contextblip.tasks.pretraining_step.draw_negatives", self.draw).start()

    def draw(self, *args: Any) -> Negatives:  # noqa: ANN401
        if self.training and not self.losses:
            own = slice(2 * self.global_rank, 2 * self.global_rank + 2)
            return Negatives(GIVEN.images[own], GIVEN.texts[own])
        drawn = draw_negatives(*args)
        assert drawn is not None
        scope = self.negatives if self.training else "validation"
        self.drawn[scope].append((drawn.images.tolist(), drawn.texts.tolist()))
        return drawn

    def training_step(self, batch: CaptionBatch) -> Tensor:
        self.negatives = "global" if len(self.losses) <= STEPS else "local"
        loss = super().training_step(batch)
        self.losses.append(loss.detach())
        return loss

    def on_validation_start(self) -> None:
        super().on_validation_start()
        self.negatives = "global"

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        del optimizer
        if len(self.losses) == 1:
            named = self.named_parameters()
            self.gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}

    def on_fit_end(self) -> None:
        found = {"drawn": self.drawn, "gradients": self.gradients, "loss": self.losses[0]}
        torch.save(found, self.folder / f"{self.global_rank}.pt")


def reached(ranks: list[dict[str, Any]], scope: str) -> list[set[int]]:
    """Return the rows that each row of a process had as negative image or text, process after process."""
    return [
        {direction[row] for drawn in rank["drawn"][scope] for direction in drawn}
        for rank in ranks
        for row in range(2)
    ]


def one_large_step(task: Pretraining, batch: CaptionBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss and the gradients of a step that has all pairs in one batch."""
    output = pretraining_step.pretraining_forward(
        task.model,
        batch["images"],
        batch["input_ids"],
        batch["attention_mask"],
        policy=task.policy,
        negatives=GIVEN,
    )
    torch.autograd.backward(output.loss)
    gradients = {name: p.grad for name, p in task.named_parameters() if p.grad is not None}
    task.zero_grad(set_to_none=True)
    return output.loss.detach(), gradients


def part_of(gradients: dict[str, Tensor], part: str) -> Tensor:
    """Join the gradients of one part of the model into a vector."""
    return torch.cat([gradient.flatten() for name, gradient in gradients.items() if f".{part}." in name])


def test_two_processes(
    backbone: str, make_trainer: Callable[..., Trainer], captions: Captions, tmp_path: Path
) -> None:
    task = build(Probe, backbone, negatives="global", lr=1e-6)
    task.configure_model()
    drawn = captions(4)
    drawn["image_id"] = torch.tensor(IMAGE_ID)[[2, 0, 1, 3]]
    loss, gradients = one_large_step(task, rows(drawn, [1, 2, 0, 3], 6))

    task.folder = tmp_path
    task.shares = [rows(drawn, [1, 2], 6), rows(drawn, [0, 3], 4)]  # texts of other lengths in each process
    task.validated = [captions(3), captions(2)]
    settings = {"strategy": "ddp_spawn", "devices": 2, "use_distributed_sampler": False}
    make_trainer(max_epochs=1, num_sanity_val_steps=0, **settings).fit(task)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    torch.testing.assert_close((ranks[0]["loss"] + ranks[1]["loss"]) / 2, loss, rtol=1e-6, atol=0)
    for rank in ranks:
        assert rank["gradients"].keys() == gradients.keys()
        for part in ("adapter", "mim_decoder"):
            expected, found = part_of(gradients, part), part_of(rank["gradients"], part)
            assert (found - expected).norm() <= 1e-6 * expected.norm()

    # Rows 1 and 2 have one image
    assert reached(ranks, "global") == [{1, 2, 3}, {0, 3}, {0, 3}, {0, 1, 2}]
    assert reached(ranks, "local") == [{1}, {0}] * 2
    assert [len(rank["drawn"]["global"]) for rank in ranks] == [STEPS] * 2
    # Validation draws locally, from batches of 3 and 2
    assert reached(ranks[1:], "validation") == [{1}, {0}]
    assert {row for images, texts in ranks[0]["drawn"]["validation"] for row in images + texts} <= {0, 1, 2}


def test_alone_both_are_the_same(backbone: str, fit: Callable[..., Trainer], captions: Captions) -> None:
    results = []
    for scope in ("local", "global"):
        torch.manual_seed(0)
        task = build(Pretraining, backbone, negatives=scope, mask_noise=0.1)
        trainer = fit(task, [captions(4)] * 3, max_epochs=1)
        results.append((trainer.callback_metrics["train/loss"], task.model.state_dict()))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(results[0][1][name], tensor) for name, tensor in results[1][1].items())


def test_own_pairs_stand_at_an_offset() -> None:
    sim = torch.zeros(2, 6)
    assert (negative_weights(sim, first=2) == 0).nonzero().tolist() == [[0, 2], [1, 3]]
    everything_same = torch.ones(2, 6, dtype=torch.bool)
    fallback = negative_weights(sim, everything_same, first=4)
    assert fallback.tolist() == [[1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 1, 0]]


def test_negatives_follow_the_similarity_of_their_own_direction() -> None:
    sim_t2i, sim_i2t = torch.zeros(2, 6), torch.zeros(2, 6)
    sim_t2i[0, [2, 5]] = sim_t2i[1, [3, 0]] = torch.tensor([1.0, 0.99])  # the own image is the nearest
    sim_i2t[0, [2, 1]] = sim_i2t[1, [3, 4]] = torch.tensor([1.0, 0.99])
    same_image = torch.zeros(2, 6, dtype=torch.bool)
    torch.manual_seed(0)
    for _ in range(10):
        drawn = draw_negatives(sim_t2i, same_image, 0.01, sim_i2t, first=2)
        assert drawn is not None
        assert (drawn.images.tolist(), drawn.texts.tolist()) == ([5, 0], [1, 4])
    texts, images = matching_pairs(2, drawn, torch.device("cpu"), first=2)
    assert texts.tolist() == [2, 3, 2, 3, 1, 4]
    assert images.tolist() == [2, 3, 5, 0, 2, 3]


def test_one_pair_has_negatives_elsewhere() -> None:
    drawn = draw_negatives(torch.zeros(1, 2), None, 1.0, torch.zeros(1, 2), first=1)
    assert drawn == Negatives(torch.tensor([0]), torch.tensor([0]))


def make_pool(pairs: int, size: int, first: int) -> Pool:
    return Pool(
        input_ids=torch.arange(pairs * 3).view(pairs, 3),
        attention_mask=torch.ones(pairs, 3, dtype=torch.long),
        text_features=torch.randn(pairs, 4),
        image_embeds=torch.randn(pairs, 2, 5),
        image_features=torch.randn(pairs, 4),
        image_id=torch.arange(pairs),
        size=size,
        first=first,
    )


def test_only_what_pairs_use_is_fused() -> None:
    pool = make_pool(6, 2, 2)
    texts, images = torch.tensor([2, 3, 2, 3, 5, 5]), torch.tensor([2, 3, 0, 2, 2, 3])
    pairs = pool.pairs(texts, images)
    assert len(pairs.input_ids) == len(pairs.attention_mask) == 3
    assert len(pairs.image_embeds) == 3
    assert torch.equal(pairs.input_ids[pairs.text_index], pool.input_ids[texts])
    assert torch.equal(pairs.image_embeds[pairs.image_index], pool.image_embeds[images])


@pytest.mark.parametrize("size", [1, 2])
def test_unequal_batches_are_one_clear_error_in_every_process(size: int) -> None:
    peers = Peers(0, lambda _own, _sync: torch.tensor([[1, 3], [2, 7]]))
    with pytest.raises(ConfigurationError, match="have 1, 2 pairs in this step.*--model.negatives local"):
        make_pool(size, size, 0).gather(peers)

"""A task that answers retrieval batches, and a trainer that only has the callbacks under test."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from contextblip.types import RetrievalBatch, RetrievalOutput

K = 3


class Answers(LightningModule):
    """Scores candidates by the images' first pixel."""

    def test_step(self, batch: RetrievalBatch) -> RetrievalOutput:
        self.log("test/accuracy", 0.5, batch_size=len(batch["queries"]))
        self.log("test/loss", torch.nan, batch_size=len(batch["queries"]))
        self.log("n/test/accuracy", 7.0, batch_size=1)
        return self.predict_step(batch)

    def predict_step(self, batch: RetrievalBatch) -> RetrievalOutput:
        mask = batch["candidate_mask"][batch["set_index"]]
        logits = batch["images"][batch["set_index"]][:, :, 0, 0, 0].masked_fill(~mask, -torch.inf)
        return RetrievalOutput(
            candidate_logits=logits,
            scores=logits.softmax(-1),
            prediction=logits.argmax(-1),
            target_index=batch["target_index"],
            is_video=batch["is_video"],
            candidate_mask=mask,
            queries=batch["queries"],
        )

    def training_step(self, batch: RetrievalBatch) -> Tensor:
        loss: Tensor = self.weight.square().sum() * batch["images"].mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=1)
        return loss

    def validation_step(self, batch: RetrievalBatch) -> None:
        self.log("val/accuracy", 0.25, batch_size=len(batch["queries"]))

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def task() -> Answers:
    return Answers()


@pytest.fixture
def batches() -> list[RetrievalBatch]:
    """Two batches: a set of two candidates with two queries, and an unlabelled video of three."""
    images = torch.zeros(1, K, 3, 2, 2)
    images[0, :, 0, 0, 0] = torch.tensor([1.5, -2.0, 9.0])

    def batch(name: str, real: int, targets: list[int], video: bool) -> RetrievalBatch:
        return RetrievalBatch(
            images=images,
            candidate_mask=torch.arange(K)[None] < real,
            set_index=torch.zeros(len(targets), dtype=torch.long),
            input_ids=torch.ones(len(targets), 4, dtype=torch.long),
            attention_mask=torch.ones(len(targets), 4, dtype=torch.long),
            target_index=torch.tensor(targets),
            is_video=torch.tensor([video] * len(targets)),
            queries=[
                {
                    "set_name": name,
                    "query_index": index,
                    "text": f"the «{index}» one",
                    "phenomena": ["negation"] if video else [],
                    "n_propositions": None if video else 2,
                    "challenging": video,
                    "frames": [3, 7, 20] if video else [],
                    "samples": [] if video else ["static_1"],
                    "parts": [],
                }
                for index in range(len(targets))
            ],
            protocol="retrieval",
            parts=None,
        )

    return [batch("static", 2, [0, 1], video=False), batch("video", 3, [-1], video=True)]


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Callable[..., Trainer]]:
    """Make trainers whose run folder is the test's own; what Lightning advises about tiny runs is no news."""

    def make(*callbacks: Callback, bar: bool = False) -> Trainer:
        return Trainer(
            accelerator="cpu",
            max_epochs=2,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=bar,
            default_root_dir=tmp_path,
            callbacks=list(callbacks),
        )

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        yield make

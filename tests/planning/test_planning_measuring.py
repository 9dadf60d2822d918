"""Real training steps on made-up batches."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule

from contextblip.models.config import PRESETS
from contextblip.planning.batches import CANDIDATES, caption_batch, retrieval_batch
from contextblip.planning.measuring import Batches, Workload, measure
from contextblip.tasks import BackbonePretraining, FineTuning, InterContext, Pretraining

CONFIG = PRESETS["miniature"]
CPU = torch.device("cpu")


class Meter:
    """Answers 1, 2, 3, ... GiB and notes how often it was set back."""

    def __init__(self) -> None:
        self.asked = 0
        self.restarts = 0

    def available(self) -> int:
        return 0

    def restart(self) -> None:
        self.restarts += 1

    def peak(self) -> int:
        self.asked += 1
        return self.asked


def workload(batches: Batches, steps: int = 1, gradient_checkpointing: bool = False) -> Workload:
    trainer = {"gradient_clip_val": 1.0}
    computing = {"compile_layers": "auto", "gradient_checkpointing": gradient_checkpointing}
    return Workload({}, batches, CONFIG, 8, "cpu", 0, "32-true", trainer, computing, (2,), steps)


def test_batches_have_the_declared_shapes() -> None:
    captions = caption_batch(CONFIG, 3, 7, CPU)
    assert captions["images"].shape == (3, 3, 64, 64)
    assert captions["input_ids"].shape == captions["attention_mask"].shape == (3, 7)
    assert captions["attention_mask"].all()
    assert captions["input_ids"].min() > CONFIG.pad_token_id
    assert captions["input_ids"].max() < CONFIG.dec_token_id
    assert len(set(captions["image_id"].tolist())) == 3  # equal ones would never be negatives
    queries = retrieval_batch(CONFIG, 3, 7, CPU)
    assert queries["images"].shape == (3, CANDIDATES, 3, 64, 64)
    assert queries["set_index"].tolist() == [0, 1, 2]
    assert len(queries["queries"]) == 3


@pytest.mark.parametrize(
    ("make", "batches"),
    [
        (lambda: Pretraining("random:miniature", decoder_heads=4), caption_batch),
        (lambda: BackbonePretraining("random:miniature"), caption_batch),
        (lambda: FineTuning("random:miniature"), retrieval_batch),
        (lambda: InterContext("random:miniature"), retrieval_batch),
    ],
)
def test_every_task_that_trains_is_measured(
    make: Callable[[], LightningModule], batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    task, meter = make(), Meter()
    found = measure(task, workload(batches), 2, meter)
    assert found.size == 2
    assert found.seconds > 0
    assert found.optimizer_seconds > 0
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    assert found.gradient_memory == 4 * sum(parameter.numel() for parameter in trained)
    # a step of warm-up and a timed one, each of two passes and an update, all between restart and peak
    assert meter.restarts == 6
    assert meter.asked == 7
    assert (found.memory, found.other_memory) == (6, 7)
    assert list(tmp_path.iterdir()) == []


def test_the_weights_are_really_updated() -> None:
    task = Pretraining("random:miniature", decoder_heads=4, warmup_lr=3e-4)
    task.configure_model()
    before = {name: value.clone() for name, value in task.model.named_parameters() if value.requires_grad}
    measure(task, workload(caption_batch, steps=2), 2, Meter())
    after = dict(task.model.named_parameters())
    assert sum(not torch.equal(value, after[name]) for name, value in before.items()) > len(before) / 2


@pytest.mark.parametrize("wanted", [False, True])
def test_gradient_checkpointing_is_measured_as_fit_does_it(wanted: bool) -> None:
    task = FineTuning("random:miniature")
    measure(task, workload(retrieval_batch, gradient_checkpointing=wanted), 1, Meter())
    assert task.model.vision_encoder.gradient_checkpointing is wanted

"""Tiny backbones, hand-made batches and a quiet Trainer for the stages."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from contextblip.checkpoints import save_backbone
from contextblip.models import BackboneConfig, ContextBLIP
from contextblip.tasks import FineTuning, InterContext, ZeroShot
from contextblip.tasks.retrieval import RetrievalTask
from contextblip.types import CaptionBatch, Query, RetrievalBatch
from tests.conftest import SMALL_BACKBONE

LENGTH = 6


@pytest.fixture
def config() -> BackboneConfig:
    return replace(SMALL_BACKBONE, vision_layers=3, vocab_size=24, enc_token_id=23)


@pytest.fixture
def make_backbone(config: BackboneConfig, tmp_path: Path) -> Callable[[int], str]:
    """Write the backbone of a seed and name its folder."""

    def make(seed: int) -> str:
        torch.manual_seed(seed)
        state_dict = dict(ContextBLIP.build(config, adapter_layers=[]).state_dict())
        # 1 / sqrt(16), times a little less than 1: weights of this width that let differences through
        state_dict = {
            name: tensor * (0.24 / tensor.std()) if tensor.ndim > 1 else tensor
            for name, tensor in state_dict.items()
        }
        return str(save_backbone(tmp_path / f"backbone-{seed}", config, state_dict, None))

    return make


@pytest.fixture
def backbone(make_backbone: Callable[[int], str]) -> str:
    return make_backbone(0)


def _texts(count: int) -> tuple[Tensor, Tensor]:
    """Draw texts of 4 to 6 tokens: [CLS] 1, words 3 to 19, [SEP] 2, [PAD] 0."""
    lengths = 4 + torch.arange(count) % (LENGTH - 3)
    positions = torch.arange(LENGTH)
    input_ids = torch.randint(3, 20, (count, LENGTH))
    input_ids[:, 0] = 1
    input_ids[positions == lengths[:, None] - 1] = 2
    attention_mask = (positions < lengths[:, None]).long()
    return input_ids * attention_mask, attention_mask


@pytest.fixture
def captions() -> Callable[..., CaptionBatch]:
    """Draw pairs; ``same_image`` gives all of them one image id."""

    def draw(count: int = 4, *, seed: int = 0, same_image: bool = False) -> CaptionBatch:
        torch.manual_seed(seed)
        input_ids, attention_mask = _texts(count)
        return {
            "images": torch.randn(count, 3, 16, 16),
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "image_id": torch.zeros(count, dtype=torch.long) if same_image else torch.arange(count),
            "index": torch.arange(count) + 100 * seed,
        }

    return draw


@pytest.fixture
def image_sets() -> Callable[..., RetrievalBatch]:
    """Draw a static set of 4 with two queries, a video of 3 (one place padded) and a static set of 4."""

    def draw(*, seed: int = 0, labelled: bool = True) -> RetrievalBatch:
        torch.manual_seed(seed)
        input_ids, attention_mask = _texts(4)
        candidate_mask = torch.ones(3, 4, dtype=torch.bool)
        candidate_mask[1, 3] = False
        names, videos = ["static-a", "static-a", "video-b", "static-c"], [False, False, True, False]
        queries: list[Query] = [
            {
                "set_name": name,
                "query_index": number,
                "text": "a small red square " * (number + 1),
                "phenomena": ["spatial"] if number < 2 else [],
                "n_propositions": number or None,
                "challenging": False,
                "frames": [4, 9, 30] if videos[number] else [],
                "samples": [],
                "parts": [],
            }
            for number, name in enumerate(names)
        ]
        return {
            "images": torch.randn(3, 4, 3, 16, 16) * candidate_mask[..., None, None, None],
            "candidate_mask": candidate_mask,
            "set_index": torch.tensor([0, 0, 1, 2]),
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "target_index": torch.tensor([1, 3, 2, 0]) if labelled else torch.full((4,), -1),
            "is_video": torch.tensor(videos),
            "queries": queries,
            "protocol": "retrieval",
            "parts": None,
        }

    return draw


def loader(batches: Sequence[Any]) -> "DataLoader[Any]":
    """Serve ready-made batches."""
    return DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]  # a list is enough


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Build a Trainer that writes to ``run`` in the temporary folder only."""

    def make(**settings: object) -> Trainer:
        for message in (".*does not have many workers", ".*have no `val_dataloader`", ".*treespec, LeafSpec"):
            warnings.filterwarnings("ignore", message=message)
        merged: dict[str, Any] = {
            "default_root_dir": tmp_path / "run",
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            **settings,
        }
        return Trainer(**merged)

    return make


@pytest.fixture
def fit(make_trainer: Callable[..., Trainer]) -> Callable[..., Trainer]:
    """Train on ready-made batches."""

    def run(
        task: LightningModule,
        batches: Sequence[Any],
        validation: Sequence[Any] = (),
        ckpt_path: str | None = None,
        **settings: object,
    ) -> Trainer:
        trainer = make_trainer(**settings)
        trainer.fit(task, loader(batches), loader(validation) if validation else None, ckpt_path=ckpt_path)
        return trainer

    return run


@pytest.fixture
def evaluate(make_trainer: Callable[..., Trainer]) -> Callable[..., dict[str, float]]:
    """Test on ready-made batches and return what was logged."""

    def run(
        task: LightningModule, batches: Sequence[Any], ckpt_path: str | None = None, **settings: object
    ) -> dict[str, float]:
        trainer = make_trainer(**settings)
        (logged,) = trainer.test(task, loader(batches), ckpt_path=ckpt_path, verbose=False)
        return dict(logged)

    return run


@pytest.fixture
def validate(make_trainer: Callable[..., Trainer]) -> Callable[..., dict[str, float]]:
    """Validate on ready-made batches and return what was logged."""

    def run(task: LightningModule, batches: Sequence[Any], **settings: object) -> dict[str, float]:
        (logged,) = make_trainer(**settings).validate(task, loader(batches), verbose=False)
        return dict(logged)

    return run


@pytest.fixture
def make_task(backbone: str) -> Callable[..., Any]:
    """Build a stage whose new parts are large enough to matter."""

    def make(stage: str, **keys: object) -> RetrievalTask:
        arguments: dict[str, Any] = {"adapter_layers": [1, 3], **keys}
        torch.manual_seed(0)
        task: RetrievalTask
        if stage == "zero_shot":
            task = ZeroShot(backbone, **arguments)
        elif stage == "fine_tuning":
            task = FineTuning(backbone, **arguments)
        else:
            sizes: dict[str, Any] = {"inter_context_heads": 2, "max_candidates": 4, "position_std": 1.0}
            task = InterContext(backbone, **(sizes | arguments))
        task.configure_model()
        for name, parameter in task.model.named_parameters():
            if name.startswith(("score_head", "inter_context.layers")) and parameter.ndim > 1:
                torch.nn.init.normal_(parameter)
        return task.eval()

    return make

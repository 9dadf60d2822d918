"""What all data modules share: images normalised on the device, cut texts reported, keys checked."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from contextblip.errors import ConfigurationError
from data_modules import base
from data_modules.base import BaseDataModule
from data_modules.text import TextProcessor, clean_retrieval_text, load_tokenizer
from data_modules.transforms import normalize_images


class Pictures(Dataset[Tensor]):
    """Four images of one colour each."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((3, 2, 2), 50 * index, dtype=torch.uint8)


def collate(images: list[Tensor]) -> dict[str, Any]:
    return {"images": torch.stack(images), "index": torch.arange(len(images))}


class PictureDataModule(BaseDataModule):
    """Loads the images above."""

    def __init__(self, **keys: Any) -> None:  # noqa: ANN401  # whichever the test sets
        arguments: dict[str, Any] = dict.fromkeys(
            ("image_size", "image_root", "tokenizer", "global_batch_size", "eval_batch_size", "max_words")
        )
        arguments |= {"batch_size": 2, "num_workers": 0, "max_tokens": 30, "seed": 1}
        super().__init__("random:miniature", ".", **{**arguments, **keys})

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Pictures(), batch_size=2, collate_fn=collate)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        return [self.train_dataloader(), self.train_dataloader()]

    def test_dataloader(self) -> DataLoader[Any]:
        return self.eval_loader(Pictures(), 4, collate)

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.test_dataloader()


class Watching(LightningModule):
    """Keeps what its steps are given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[Tensor] = []

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        self.seen.append(batch["images"])
        return (self.weight * batch["images"]).mean()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        del batch_idx, dataloader_idx  # Lightning passes them by name
        self.seen.append(batch["images"])

    def test_step(self, batch: dict[str, Tensor]) -> None:
        self.seen.append(batch["images"])

    def predict_step(self, batch: dict[str, Tensor]) -> Tensor:
        self.seen.append(batch["images"])
        return batch["images"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def trainer(folder: Path, precision: Any = "32-true") -> Trainer:  # noqa: ANN401  # Lightning's literal is long
    return Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.* is deprecated")
@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", torch.float32), ("bf16-mixed", torch.float32), ("bf16-true", torch.bfloat16)],
)
@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_steps_are_given_normalised_images(
    tmp_path: Path, stage: str, precision: str, dtype: torch.dtype
) -> None:
    task, runner = Watching(), trainer(tmp_path, precision)
    getattr(runner, stage)(task, datamodule=PictureDataModule())
    expected = normalize_images(torch.stack([Pictures()[index] for index in range(4)])).to(dtype)
    loaders = {"fit": 3, "validate": 2}.get(stage, 1)  # fit validates too
    assert {images.dtype for images in task.seen} == {dtype}
    assert torch.equal(torch.cat(task.seen), expected.repeat(loaders, 1, 1, 1))


def test_without_a_trainer_images_are_float32() -> None:
    batch = PictureDataModule().on_after_batch_transfer(collate([Pictures()[2]]), 0)
    assert torch.equal(batch["images"], normalize_images(Pictures()[2])[None])


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_share_of_unreadable_images_is_checked(share: float) -> None:
    with pytest.raises(ConfigurationError, match=f"--data.max_unreadable is {share}, expected 0 to 1"):
        PictureDataModule(max_unreadable=share).setup_shared()


def processor_of(vocabulary: Path) -> TextProcessor:
    return TextProcessor(load_tokenizer(str(vocabulary))[0], clean_retrieval_text, max_words=4, max_tokens=5)


def test_cut_texts_are_reported(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["a red circle", "a red circle left", "a red circle left of", "a red"] * 2
    with caplog.at_level(logging.INFO):
        cut = PictureDataModule().report_cut_texts("valid", texts, processor_of(world))
    assert (cut.n, cut.words, cut.tokens, cut.either) == (8, 2, 4, 4)
    line = "Picture valid: 50.0% of 8 texts are cut (25.0% at max_words 4, 50.0% at max_tokens 5)"
    assert caplog.messages == [line]


def test_of_many_texts_an_even_sample_is_looked_at(
    world: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MOST_TEXTS", 6)
    module = PictureDataModule()
    module.name = "COCO"
    texts = ["a red circle"] * 8 + ["a red circle left of"] * 4
    with caplog.at_level(logging.INFO):
        cut = module.report_cut_texts("train", texts, processor_of(world))
    assert (cut.n, cut.either) == (6, 2)
    assert caplog.messages[0].startswith("COCO train: 33.3% of 6 texts are cut")
    assert caplog.messages[0].endswith(" (an even sample of 12)")


@pytest.mark.parametrize(
    ("file", "n", "words", "either", "published"),
    [
        ("train_data.json", 16594, 2636, 3659, (22.0, 15.9)),
        ("valid_data.json", 2302, 261, 397, (17.3, 11.3)),
        ("test_data_unlabeled.json", 2306, 289, 424, (18.4, 12.5)),
    ],
)
def test_cut_texts_of_imagecode(
    real_data: Path, file: str, n: int, words: int, either: int, published: tuple[float, float]
) -> None:
    sets = json.loads((real_data / "imagecode" / file).read_text(encoding="utf-8")).values()
    texts = [text for one in sets for text in (one.values() if isinstance(one, dict) else one)]
    tokenizer, _ = load_tokenizer(str(real_data / "bert-base-uncased"))
    cut = PictureDataModule().report_cut_texts("split", texts, TextProcessor(tokenizer, clean_retrieval_text))
    # 30 words are at least 32 tokens with [CLS] and [SEP], so that tokens cut whatever words cut
    assert (cut.n, cut.words, cut.tokens, cut.either) == (n, words, either, either)
    assert 100 * cut.either / n == pytest.approx(published[0], abs=0.06)
    assert 100 * cut.words / n == pytest.approx(published[1], abs=0.06)

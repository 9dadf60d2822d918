"""ImageCoDeDataModule: batches, and what is said about broken folders."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch.utils.data import DataLoader

from contextblip.types import RetrievalBatch
from data_modules import ImageCoDeDataModule

STATIC = "open-images-1_00"
VIDEO = "MSR-VTT-videoTestVideo_video1-shot1"


def make(backbone: Path, root: Path | str, **keys: Any) -> ImageCoDeDataModule:  # noqa: ANN401
    """A module with small batches that loads in this process."""
    return ImageCoDeDataModule(str(backbone), str(root), **{"batch_size": 4, "num_workers": 0, **keys})


def test_batches_have_the_declared_form(backbone: Path, imagecode_folder: Path) -> None:
    module = make(backbone, imagecode_folder)
    module.setup("test")
    (batch,) = list(module.test_dataloader())
    assert batch["images"].shape == (2, 3, 3, 32, 32)
    assert batch["candidate_mask"].tolist() == [[True, True, True], [True, True, False]]
    assert batch["set_index"].tolist() == [0, 0, 1]
    assert batch["target_index"].tolist() == [2, 0, 1]
    assert batch["is_video"].tolist() == [False, False, True]
    assert batch["protocol"] == "retrieval"
    assert batch["queries"] == [
        {
            "set_name": STATIC,
            "query_index": 0,
            "text": "a circle ",
            "phenomena": ["context", "negation"],
            "n_propositions": 2,
            "challenging": True,
            "frames": [],
            "samples": ["static_1", "static_10", "static_100"],
            "parts": [],
        },
        {
            "set_name": STATIC,
            "query_index": 1,
            "text": "a red circle",
            "phenomena": [],
            "n_propositions": None,
            "challenging": True,
            "frames": [],
            "samples": ["static_1", "static_10", "static_100"],
            "parts": [],
        },
        {
            "set_name": VIDEO,
            "query_index": 0,
            "text": "a square",
            "phenomena": [],
            "n_propositions": 1,
            "challenging": False,  # the annotation file has no entry for it
            "frames": [9, 113],
            "samples": ["video_1", "video_10", "video_100"],  # fewer than 50: all of them
            "parts": [],
        },
    ]
    assert batch["images"].dtype == torch.uint8
    brightness = batch["images"][:, :, 0].float().mean((2, 3))
    assert bool((brightness[0].diff() > 0).all())  # images lie in the order of their numbers
    assert bool(brightness[1, 1] > brightness[1, 0])


def test_each_stage_has_its_split(backbone: Path, world: Path) -> None:
    module = make(backbone, f"miniature:{world}")
    module.prepare_data()
    module.setup("fit")
    assert set(module.datasets) == {"train", "val"}
    assert {len(module.datasets["train"].sets), len(module.datasets["val"].sets)} == {6}
    module.setup("predict")
    unlabelled = [batch["target_index"] for batch in module.predict_dataloader()]
    assert set(torch.cat(unlabelled).tolist()) == {-1}
    validation = list(module.val_dataloader())
    targets = torch.cat([batch["target_index"] for batch in validation])
    assert int(targets.min()) >= 0
    assert any(query["phenomena"] for batch in validation for query in batch["queries"])
    assert all(query["n_propositions"] for batch in validation for query in batch["queries"])
    assert {query["set_name"] for batch in validation for query in batch["queries"]} == {
        candidates.name for candidates in module.datasets["val"].sets
    }


def test_same_pixels_whatever_the_workers(backbone: Path, world: Path) -> None:
    here, there = make(backbone, world), make(backbone, world, num_workers=2)
    here.setup("fit")
    there.setup("fit")
    loader, workers = here.train_dataloader(), there.train_dataloader()
    firsts = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # our sampler has it
        workers.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        batches = list(loader)
        for batch, expected in zip(workers, batches, strict=True):
            assert batch["queries"] == expected["queries"]
            assert torch.equal(batch["images"], expected["images"])
        firsts.append([query["text"] for batch in batches for query in batch["queries"]])
    assert firsts[0] != firsts[1]


def test_images_of_a_set_are_read_once_a_batch(
    backbone: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    original = Image.open

    def count(path: Path | str, **keys: Any) -> Image.Image:  # noqa: ANN401
        opened.append(str(path))
        return original(path, **keys)

    monkeypatch.setattr(Image, "open", count)
    module = make(backbone, world, batch_size=6)
    module.setup("fit")
    shared = 0
    for batch in module.train_dataloader():
        assert len(opened) == len(set(opened)) == int(batch["candidate_mask"].sum())
        shared += len(batch["queries"]) - len(batch["images"])
        opened.clear()
    assert shared > 0


def test_candidates_share_one_draw_unless_told_otherwise(backbone: Path, imagecode_folder: Path) -> None:
    for number in range(3):
        Image.linear_gradient("L").resize((20, 10)).save(
            imagecode_folder / "image-sets" / STATIC / f"img{number}.jpg"
        )
    together, apart = (
        make(backbone, imagecode_folder),
        make(backbone, imagecode_folder, augment_together=False),
    )
    off = make(backbone, imagecode_folder, augment=False)
    for module in (together, apart, off):
        module.setup("fit")
    shared = [together.datasets["train"][epoch, 0]["images"] for epoch in range(8)]
    assert all(torch.equal(images[0], images[number]) for images in shared for number in (1, 2))
    assert not all(torch.equal(images, shared[0]) for images in shared)
    own = [apart.datasets["train"][epoch, 0]["images"] for epoch in range(8)]
    assert not all(torch.equal(images[0], images[1]) for images in own)
    plain = [off.datasets["train"][epoch, 0]["images"] for epoch in range(2)]
    assert torch.equal(plain[0], plain[1])
    assert torch.equal(plain[0], off.datasets["val"][0]["images"])


@pytest.mark.parametrize("image_root", ["pictures", "pictures/image-sets"])
def test_annotations_and_images_may_lie_apart(
    backbone: Path, imagecode_folder: Path, tmp_path: Path, image_root: str
) -> None:
    (tmp_path / "pictures").mkdir()
    (imagecode_folder / "image-sets").rename(tmp_path / "pictures" / "image-sets")
    module = make(backbone, imagecode_folder, image_root=str(tmp_path / image_root))
    module.setup("validate")
    assert len(module.datasets["val"].sets) == 2


def test_real_mini_sample(backbone: Path, real_data: Path, world: Path) -> None:
    root = real_data / "imagecode"
    for image_root in (root, root / "image-sets"):
        module = make(
            backbone, root / "mini", image_root=str(image_root), tokenizer=str(world), batch_size=12
        )
        module.setup("fit")
        assert (len(module.datasets["train"]), len(module.datasets["val"])) == (76, 34)
    batch: RetrievalBatch = next(iter(module.train_dataloader()))
    assert batch["images"].shape[1:] == (10, 3, 32, 32)
    annotated = sum(bool(item.queries[0]["phenomena"]) for item in module.datasets["val"].items)
    assert annotated >= 17


def test_all_real_sets_are_read(backbone: Path, real_data: Path, world: Path) -> None:
    root = real_data / "imagecode"
    images = 0
    for split, stage in (("train", "fit"), ("valid", "validate"), ("test", "predict")):
        module = make(
            backbone, root / "mini", image_root=str(root), tokenizer=str(world), augment=False, batch_size=20
        )
        module.setup(stage)
        dataset = module.datasets[{"fit": "train", "validate": "val", "predict": "predict"}[stage]]
        rows = {item.set_row: row for row, item in enumerate(dataset.items)}
        for set_row, candidates in enumerate(dataset.sets):
            images += len(dataset[rows[set_row]]["images"])
            assert candidates.is_video == ("open-images" not in candidates.name), split
    assert images == 530


def test_challenging_samples_of_the_real_sets(backbone: Path, real_data: Path, world: Path) -> None:
    root = real_data / "imagecode"
    module = make(backbone, root / "mini", image_root=str(root), tokenizer=str(world))
    module.setup("validate")
    challenging = [item for item in module.datasets["val"].items if item.queries[0]["challenging"]]
    assert (len(challenging), len({item.set_row for item in challenging})) == (17, 7)
    assert sum(bool(item.queries[0]["phenomena"]) for item in challenging) == 16  # one annotation is empty


def test_cut_texts_are_reported(
    backbone: Path, imagecode_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        make(backbone, imagecode_folder, max_words=1).setup("fit")
    lines = [text for text in caplog.messages if "are cut" in text]
    assert len(lines) == 2
    assert "train: 100.0% of 3 texts" in lines[0]
    assert "valid: 100.0% of 3 texts" in lines[1]


class Predictor(LightningModule):
    """Returns what it was asked."""

    def predict_step(self, batch: RetrievalBatch) -> list[str]:
        return [query["text"] for query in batch["queries"]]


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.* is deprecated")
def test_trainer_predicts_in_file_order(backbone: Path, imagecode_folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(
        default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False, barebones=False
    )
    texts = trainer.predict(Predictor(), datamodule=make(backbone, imagecode_folder, batch_size=2))
    assert texts == [["a circle ", "a red circle"], ["a square"]]


def test_devices_share_the_queries(backbone: Path, world: Path) -> None:
    asked: list[list[tuple[str, int]]] = []
    trained: list[list[tuple[str, int]]] = []
    for rank in (0, 1):
        module = make(backbone, world, batch_size=3)
        kwargs = {"num_replicas": 2, "rank": rank}
        module.trainer = SimpleNamespace(distributed_sampler_kwargs=kwargs)  # type: ignore[assignment]  # all it asks
        module.setup("fit")
        asked.append(_asked(module.val_dataloader()))
        trained.append(_asked(module.train_dataloader()))
    names = [
        (item.queries[0]["set_name"], item.queries[0]["query_index"]) for item in module.datasets["val"].items
    ]
    assert asked[0] + asked[1] == names  # each exactly once
    assert not set(trained[0]) & set(trained[1])
    assert len(trained[0]) == len(trained[1]) > 0


def test_steps_ask_the_same_queries_however_they_are_shared(backbone: Path, world: Path) -> None:
    found = []
    for devices, batch_size, accumulation in ((1, 6, 1), (2, 3, 1), (3, 2, 1), (1, 3, 2)):
        shares = []
        for rank in range(devices):
            module = make(backbone, world, batch_size=batch_size)
            kwargs = {"num_replicas": devices, "rank": rank}
            trainer = SimpleNamespace(distributed_sampler_kwargs=kwargs, accumulate_grad_batches=accumulation)
            module.trainer = trainer  # type: ignore[assignment]  # all it asks
            module.setup("fit")
            rows = _asked(module.train_dataloader())
            taken = batch_size * accumulation
            shares.append([rows[start : start + taken] for start in range(0, len(rows), taken)])
        found.append([{query for part in step for query in part} for step in zip(*shares, strict=True)])
    assert len(found[0]) > 1
    assert all(steps == found[0] for steps in found)


def _asked(loader: DataLoader[Any]) -> list[tuple[str, int]]:
    return [(query["set_name"], query["query_index"]) for batch in loader for query in batch["queries"]]

"""CocoRetrievalDataModule: the two galleries, the layouts that have a test split, what is refused."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from contextblip.cli import main
from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from contextblip.tasks import ImageTextRetrieval
from data_modules import CocoRetrievalDataModule, coco_retrieval

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PLAIN: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


def make(backbone: Path | str, root: Path | str, **keys: Any) -> CocoRetrievalDataModule:  # noqa: ANN401
    keys = {"split": "val", "eval_batch_size": 3, "num_workers": 0, **keys}
    return CocoRetrievalDataModule(str(backbone), str(root), **keys)


def galleries(module: CocoRetrievalDataModule) -> tuple[list[Any], list[Any]]:
    module.setup("test")
    images, texts = module.test_dataloader()
    return list(images), list(texts)


@pytest.fixture
def karpathy(world: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write BLIP's or Karpathy's files over the world's photos: three for test, with 5, 1 and 2 captions."""
    photos = sorted((world / "coco" / "images" / "val2017").glob("*.jpg"))[:4]
    captions = [[f"a red square {n}" for n in range(5)], ["a dog."], ["Two cats!", "a star"], ["not this"]]

    def write(layout: str) -> Path:
        root = tmp_path / layout
        folder = root / "annotations"
        folder.mkdir(parents=True)
        (root / "images").symlink_to(world / "coco" / "images")
        if layout == "blip":
            rows = [
                {"image": f"val2017/{photo.name}", "caption": texts}
                for photo, texts in zip(photos[:3], captions[:3], strict=True)
            ]
            (folder / "coco_karpathy_test.json").write_text(json.dumps(rows))
        else:
            splits = ("test", "test", "test", "val")
            images = [
                {"filepath": "val2017", "filename": photo.name, "split": split, "cocoid": number}
                | {"sentences": [{"raw": text} for text in texts]}
                for number, (photo, split, texts) in enumerate(zip(photos, splits, captions, strict=True))
            ]
            (folder / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
        return root

    return write


def test_every_image_and_caption_comes_once(backbone: Path, world: Path) -> None:
    images, texts = galleries(make(backbone, world))
    annotations = json.loads((world / "coco" / "annotations" / "captions_val2017.json").read_text())
    n_images, n_texts = len(annotations["images"]), len(annotations["annotations"])
    assert torch.cat([batch["index"] for batch in images]).tolist() == list(range(n_images))
    assert torch.cat([batch["index"] for batch in texts]).tolist() == list(range(n_texts))
    assert images[0]["images"].shape == (3, 3, 32, 32)
    assert images[0]["images"].dtype == torch.uint8, "bytes are normalised on the device"
    assert set(texts[0]) == {"input_ids", "attention_mask", "index", "image_index"}
    numbers = [row["id"] for row in annotations["images"]]
    owners = [
        row["image_id"]
        for row in sorted(annotations["annotations"], key=lambda r: numbers.index(r["image_id"]))
    ]
    found = torch.cat([batch["image_index"] for batch in texts]).tolist()
    assert [numbers[place] for place in found] == owners


@pytest.mark.parametrize("layout", ["blip", "karpathy"])
def test_the_test_split_of_both_forms(
    backbone: Path, karpathy: Callable[..., Path], layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = make(backbone, karpathy(layout), split="test")
    images, texts = galleries(module)
    assert sum(len(batch["index"]) for batch in images) == 3
    assert torch.cat([batch["image_index"] for batch in texts]).tolist() == [0] * 5 + [1] + [2] * 2
    assert module.texts is not None
    assert module.texts.texts[5:] == ["a dog.", "Two cats!", "a star"]
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "3 images and 8 captions instead of 5,000 and 25,010: not comparable with published" in warning


def test_karpathys_counts_are_not_warned_about(
    backbone: Path,
    karpathy: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(coco_retrieval, "KARPATHY_IMAGES", 3)
    monkeypatch.setattr(coco_retrieval, "KARPATHY_CAPTIONS", 8)
    make(backbone, karpathy("karpathy"), split="test").setup("test")
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_the_official_split_is_named_as_another(
    backbone: Path, world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(backbone, world).setup("validate")
    assert "COCO val (official 2017) is not Karpathy's split: not comparable with published" in caplog.text


def test_captions_are_cleaned_as_blip_does(backbone: Path, karpathy: Callable[..., Path]) -> None:
    module = make(backbone, karpathy("blip"), split="test")
    _, texts = galleries(module)
    ids = [row for batch in texts for row in batch["input_ids"].tolist()]
    # "Two cats!" is a caption of the second batch, beside longer or shorter ones
    tokens = module.tokenizer.convert_ids_to_tokens(ids[6], skip_special_tokens=True)
    assert tokens == module.tokenizer.tokenize("two cats")


def test_only_the_first_images_and_their_captions(backbone: Path, karpathy: Callable[..., Path]) -> None:
    images, texts = galleries(make(backbone, karpathy("karpathy"), split="test", max_images=2))
    assert torch.cat([batch["index"] for batch in images]).tolist() == [0, 1]
    assert torch.cat([batch["image_index"] for batch in texts]).tolist() == [0] * 5 + [1]


def test_auto_takes_the_layout_that_has_the_split(
    backbone: Path, world: Path, karpathy: Callable[..., Path]
) -> None:
    root = karpathy("blip")  # has no validation split
    shutil.copy(world / "coco" / "annotations" / "captions_val2017.json", root / "annotations")
    official = make(backbone, root)
    official.setup("test")
    assert official.texts is not None
    assert len(official.texts) > 8
    with pytest.raises(DatasetNotFoundError, match=r"COCO \(BLIP\) in .* has no val split"):
        make(backbone, root, coco_layout="blip").setup("test")


def test_official_annotations_have_no_test_split(backbone: Path, world: Path) -> None:
    message = (
        r"COCO \(official 2017\) in .*coco has no test split: put coco_karpathy_test.json or "
        r"dataset_coco.json there, or set --data.split to val"
    )
    with pytest.raises(DatasetNotFoundError, match=message):
        make(backbone, world, split="test").setup("test")


def test_a_split_is_only_suggested_where_it_exists(backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text("[]")
    message = r"COCO \(BLIP\) .* has no test split: put coco_karpathy_test.json or dataset_coco.json there$"
    with pytest.raises(DatasetNotFoundError, match=message):
        make(backbone, tmp_path, split="test").setup("test")


def test_missing_annotations(backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"COCO not found: looked for .*dataset_coco\.json"):
        make(backbone, tmp_path).setup("test")


def test_missing_and_broken_images(backbone: Path, karpathy: Callable[..., Path], tmp_path: Path) -> None:
    root = karpathy("blip")
    (tmp_path / "photos").mkdir()
    with pytest.raises(
        DatasetNotFoundError, match=r"COCO: 3 of 3 images not found, first .*--data\.image_root"
    ):
        make(backbone, root, split="test", image_root=str(tmp_path / "photos")).setup("test")
    shutil.copytree(root / "images" / "val2017", tmp_path / "photos" / "val2017")
    broken = sorted((tmp_path / "photos" / "val2017").glob("*.jpg"))[1]
    broken.write_bytes(broken.read_bytes()[:200])
    module = make(backbone, root, split="test", image_root=str(tmp_path / "photos"))
    with pytest.raises(DatasetError, match=rf"COCO test: cannot read image .*{broken.name}.*; restore or"):
        galleries(module)


def test_blank_captions_are_not_passed_over(backbone: Path, karpathy: Callable[..., Path]) -> None:
    root = karpathy("blip")
    path = root / "annotations" / "coco_karpathy_test.json"
    rows = json.loads(path.read_text())
    rows[1]["caption"] = ["fine", "  "]
    path.write_text(json.dumps(rows))
    with pytest.raises(
        DatasetError, match=r"COCO test \(BLIP\): image val2017/.* has 1 blank captions; .* again"
    ):
        make(backbone, root, split="test").setup("test")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"max_images": 0}, "--data.max_images is 0, expected at least 1"),
        ({"eval_batch_size": 0}, "--data.eval_batch_size is 0, expected at least 1"),
        ({"max_tokens": 2}, "--data.max_tokens is 2, expected at least 3"),
    ],
)
def test_keys_are_checked(backbone: Path, world: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(backbone, world, **keys).setup("test")


@pytest.mark.parametrize("stage", ["fit", "predict"])
def test_it_only_evaluates(backbone: Path, world: Path, stage: str) -> None:
    with pytest.raises(ConfigurationError, match="only evaluates: use validate or test"):
        make(backbone, world).setup(stage)


def recalls(backbone: Path, world: Path, **settings: Any) -> dict[str, float]:  # noqa: ANN401
    """Run the whole test with that many processes."""
    trainer = Trainer(**(PLAIN | settings))
    task = ImageTextRetrieval(str(backbone), adapter_layers=[], rerank_top_k=4, rerank_chunk_size=9)
    assert trainer.world_size == settings.get("devices", 1)
    (logged, *_) = trainer.test(task, datamodule=make(backbone, world), verbose=False)
    return {name: float(value) for name, value in logged.items()}


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.* is deprecated")
def test_two_processes_find_what_one_finds(backbone: Path, world: Path, tmp_path: Path) -> None:
    alone = recalls(backbone, world, default_root_dir=tmp_path)
    together = recalls(backbone, world, default_root_dir=tmp_path, strategy="ddp_spawn", devices=2)
    assert together == alone
    assert alone["n/test/text_recall@1"] == 8


def test_the_experiment_runs_on_the_command_line(backbone: Path, world: Path, tmp_path: Path) -> None:
    config = ["--config", str(EXPERIMENTS / "coco_retrieval.yaml")]
    keys = ["--model.backbone", str(backbone), "--data.root", str(world), "--data.split", "val"]
    keys += ["--data.num_workers", "0", "--trainer.accelerator", "cpu", "--run_dir", str(tmp_path / "run")]
    main(["test", *config, *keys])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    values = [metrics[f"test/{kind}_recall@{k}"] for kind in ("text", "image") for k in (1, 5, 10)]
    assert metrics["test/recall_mean"] == pytest.approx(sum(values) / 6)
    assert metrics["n/test/itc/text_recall@10"] == 8
    assert not (tmp_path / "run" / "predictions.jsonl").exists()

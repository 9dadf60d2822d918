"""Small data sets in every layout that readers know, to be broken."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, make_archive
from typing import Any

import yaml
from lightning.pytorch import LightningDataModule

from data_modules import (
    CaptionDataModule,
    CocoRetrievalDataModule,
    ImageCoDeDataModule,
    MMVPVLMDataModule,
)
from data_modules.verification import inspect

ANNOTATIONS = (".json", ".yaml", ".csv")


@dataclass(frozen=True)
class DataSet:
    """A data set that can be read in both ways.

    Attributes:
        name: As `lightning data verify` calls it.
        root: Its folder.
        modules: Make its data modules, with the stage of each.
    """

    name: str
    root: Path
    modules: tuple[tuple[Callable[[], LightningDataModule], str], ...]

    @property
    def files(self) -> list[Path]:
        """Its annotation files."""
        return sorted(path for path in self.root.rglob("*") if path.suffix in ANNOTATIONS)

    def inspect(self) -> None:
        """Read as `lightning data verify` does."""
        inspect(self.name, self.root, None, with_images=True)

    def train_or_test(self) -> None:
        """Read as data modules do, up to the first batch."""
        for make, stage in self.modules:
            module = make()
            module.setup(stage)
            loader = module.train_dataloader() if stage == "fit" else module.val_dataloader()
            for each in loader if isinstance(loader, list) else [loader]:
                next(iter(each))


def lay_out(world: Path, backbone: Path, folder: Path) -> list[DataSet]:
    """Lay the miniature's data sets out in every layout.

    Args:
        world: The miniature.
        backbone: Gives sizes and vocabulary.
        folder: Where.

    Returns:
        The data sets.
    """
    for name in ("coco", "visual_genome", "imagecode", "mmvp_vlm"):
        copytree(world / name, folder / name)
    for name in ("karpathy", "blip"):
        copytree(world / "coco" / "images", folder / name / "images")
    _write_coco_layouts(folder)
    copytree(world / "visual_genome", folder / "regions")
    _write_blip_regions(folder / "regions")
    _annotate(folder / "imagecode")
    copytree(folder / "imagecode", folder / "archived", ignore=lambda *_: ["image-sets"])
    make_archive(str(folder / "archived" / "image-sets"), "zip", folder / "imagecode", "image-sets")

    def of(kind: Any, root: Path, stage: str, **keys: object) -> tuple[Callable[[], Any], str]:  # noqa: ANN401
        given = {"num_workers": 0, "tokenizer": str(world / "vocab.txt"), **keys}
        return (lambda: kind(str(backbone), str(root), **given)), stage

    captions = [("coco", "coco"), ("coco", "karpathy"), ("coco", "blip")]
    captions += [("visual_genome", "visual_genome"), ("visual_genome", "regions")]
    found = []
    for name, place in captions:
        modules = [of(CaptionDataModule, folder / place, "fit", datasets=[name], max_unreadable=0.5)]
        if name == "coco":
            modules.append(of(CocoRetrievalDataModule, folder / place, "validate", split="val"))
        found.append(DataSet(name, folder / place, tuple(modules)))
    for place in ("imagecode", "archived"):
        stages = [of(ImageCoDeDataModule, folder / place, stage) for stage in ("fit", "validate")]
        found.append(DataSet("imagecode", folder / place, tuple(stages)))
    pairs = of(MMVPVLMDataModule, folder / "mmvp_vlm", "test")
    return [*found, DataSet("mmvp_vlm", folder / "mmvp_vlm", (pairs,))]


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _read(path: Path) -> Any:  # noqa: ANN401  # JSON holds anything
    return json.loads(path.read_text(encoding="utf-8"))


def _write_coco_layouts(folder: Path) -> None:
    """Write the official captions in Karpathy's and in BLIP's form."""
    karpathy: list[dict[str, Any]] = []
    for split in ("train", "val"):
        content = _read(folder / "coco" / "annotations" / f"captions_{split}2017.json")
        rows = []
        for image in content["images"]:
            texts = [row["caption"] for row in content["annotations"] if row["image_id"] == image["id"]]
            name, number = image["file_name"], image["id"] + (10_000 if split == "val" else 0)
            sentences = [{"raw": text, "tokens": text.split()} for text in texts]
            place = f"{split}2017"
            karpathy.append(
                {
                    "filepath": place,
                    "filename": name,
                    "cocoid": number,
                    "split": split,
                    "sentences": sentences,
                }
            )
            rows += [
                {"image": f"{place}/{name}", "caption": text, "image_id": f"coco_{number}"} for text in texts
            ]
        file = "coco.json" if split == "train" else "coco_karpathy_val.json"
        _write(folder / "blip" / "annotations" / file, rows)
    _write(folder / "karpathy" / "annotations" / "dataset_coco.json", {"images": karpathy, "dataset": "coco"})


def _write_blip_regions(root: Path) -> None:
    """Write Visual Genome's phrases in BLIP's form, beside its list of images."""
    path = root / "region_descriptions.json"
    images = {row["image_id"]: row["url"].rpartition("/")[2] for row in _read(root / "image_data.json")}
    rows = [
        {"image": f"visual-genome/image/{images[row['id']]}", "caption": region["phrase"]}
        for row in _read(path)
        for region in row["regions"]
    ]
    path.unlink()
    _write(root / "vg.json", rows)


def _annotate(root: Path) -> None:
    """Add what the miniature's IMAGECODE lacks: phenomena, propositions and names of images."""
    sets = _read(root / "valid_data.json")
    phenomena = {name: {target: {"annotation": "con, v"} for target in texts} for name, texts in sets.items()}
    (root / "manual_annotation_valid.yaml").write_text(yaml.safe_dump(phenomena), encoding="utf-8")
    texts = [text for of_set in sets.values() for text in of_set.values()]
    _write(root / "valid_split.json", {text: [text, ""] for text in texts})
    names = {name: sorted(path.name for path in (root / "image-sets" / name).iterdir()) for name in sets}
    _write(root / "image_filenames_valid.json", names)

"""Image-caption pairs for pre-training: COCO, Visual Genome and BLIP's json form (paper, Sec. 4.1)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError
from data_modules.base import BaseDataModule
from data_modules.caption_rows import CaptionCollate, CaptionDataset, build_table, caption_order
from data_modules.caption_sources import Source, Split, read_blip_json, read_coco, read_visual_genome
from data_modules.loaders import Order
from data_modules.text import clean_caption
from data_modules.transforms import EvalTransform, TrainTransform


class CaptionDataModule(BaseDataModule):
    """Captions of COCO and Visual Genome, or of any file in BLIP's json form.

    ``root`` holds ``coco`` and ``visual_genome``, or is one of them, or is ``miniature:DIR``; layouts, counts
    and licences stand in ``data_modules.caption_sources``. A source without a validation file gives
    ``val_fraction`` of its images; the test loader is the validation loader. Blank captions are left out.

    Args:
        backbone: Source of the backbone; gives image size and vocabulary.
        root: Folder of the data, a parent, or ``miniature:DIR`` (drawn in DIR on first use).
        datasets: Which of ``coco`` and ``visual_genome`` to use.
        annotation_files: Further files in BLIP's json form; a path in them means its longest existing suffix.
        image_size: Side of the square input; ``None``: the backbone's.
        image_root: Where images lie, if apart from the annotations.
        tokenizer: A ``vocab.txt``, folder or hub id; ``None``: the backbone's own, else bert-base-uncased.
        batch_size: Pairs a step and device.
        global_batch_size: Pairs an optimiser step (256 in the paper); resolved by the command.
        eval_batch_size: Pairs an evaluation step; ``None``: as in training.
        num_workers: Processes that load.
        max_words: Words kept of a caption.
        max_tokens: Tokens kept of a caption, [CLS] and [SEP] included.
        val_fraction: Share of images held out where a source has no validation file.
        group_size: Consecutive images that stay together when shuffling, hence become each other's negatives.
        captions_per_epoch: ``all`` captions of an image, or ``one`` drawn anew each epoch.
        crop_scale_min: Least share of the area a random crop may have; 1.0 resizes the whole image.
        horizontal_flip: Mirror half of the images; off, since captions say left and right.
        randaugment_ops: RandAugment operations an image; 0 switches it off.
        randaugment_magnitude: Their strength, 0 to 10.
        seed: Order and augmentation follow from it, the epoch and the row alone; ``None`` takes the run's.
    """

    def __init__(
        self,
        backbone: str,
        root: str,
        datasets: list[Literal["coco", "visual_genome"]] | None = None,
        annotation_files: list[str] | None = None,
        image_size: int | None = None,
        image_root: str | None = None,
        tokenizer: str | None = None,
        batch_size: int = 64,
        global_batch_size: int | None = None,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        max_words: int | None = 30,
        max_tokens: int = 30,
        val_fraction: float = 0.01,
        group_size: int = 1,
        captions_per_epoch: Literal["all", "one"] = "all",
        crop_scale_min: float = 0.2,
        horizontal_flip: bool = False,
        randaugment_ops: int = 2,
        randaugment_magnitude: int = 5,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            backbone,
            root,
            image_size=image_size,
            image_root=image_root,
            tokenizer=tokenizer,
            batch_size=batch_size,
            global_batch_size=global_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            max_words=max_words,
            max_tokens=max_tokens,
            seed=seed,
        )
        self.datasets: Sequence[str] = ("coco", "visual_genome") if datasets is None else datasets
        self.annotation_files = annotation_files or []
        self.val_fraction = val_fraction
        self.group_size = group_size
        self.captions_per_epoch = captions_per_epoch
        self.crop_scale_min = crop_scale_min
        self.horizontal_flip = horizontal_flip
        self.randaugment_ops = randaugment_ops
        self.randaugment_magnitude = randaugment_magnitude
        self.train_set: CaptionDataset | None = None
        self.val_set: CaptionDataset | None = None

    def setup(self, stage: str) -> None:
        """Build the sets of a stage: training and validation for ``fit``, else validation.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            DatasetNotFoundError: Annotations or images are missing.
            DatasetError: An annotation file cannot be used.
            ConfigurationError: A key's value cannot be used.
        """
        config = self.setup_shared()
        self._check_keys()
        if stage == "fit" and self.train_set is None:
            augmentation = TrainTransform(
                config.image_size,
                self.crop_scale_min,
                self.horizontal_flip,
                self.randaugment_ops,
                self.randaugment_magnitude,
            )
            train, val = self._tables(["train", "val"])
            self.train_set = CaptionDataset(train, augmentation, self.seed)
            self.val_set = CaptionDataset(val, EvalTransform(config.image_size), self.seed)
        elif self.val_set is None:
            self.val_set = CaptionDataset(
                self._tables(["val"])[0], EvalTransform(config.image_size), self.seed
            )
        if stage != "fit" and not len(self.val_set or []):
            raise ConfigurationError(
                "no validation images: there is no validation file; raise --data.val_fraction"
            )
        self.setup_tokenizer(config)

    def _check_keys(self) -> None:
        if not self.datasets and not self.annotation_files:
            raise ConfigurationError(
                "--data.datasets is empty; name coco, visual_genome or --data.annotation_files"
            )
        if not 0 <= self.val_fraction < 1:
            raise ConfigurationError(f"--data.val_fraction is {self.val_fraction}, expected 0 up to below 1")
        if self.group_size < 1:
            raise ConfigurationError(f"--data.group_size is {self.group_size}, expected at least 1")

    def _sources(self, splits: Sequence[Split]) -> list[Source]:
        sources = []
        if "coco" in self.datasets:
            sources.append(read_coco(self.root_folder, splits))
        if "visual_genome" in self.datasets:
            sources.append(read_visual_genome(self.root_folder))
        return sources + [read_blip_json(Path(file).expanduser()) for file in self.annotation_files]

    def _tables(self, splits: Sequence[Split]) -> list[Any]:
        sources = self._sources(splits)
        return [
            build_table(
                sources,
                split,
                image_roots=lambda source: self.image_roots(source.folder, source.image_folders),
                val_fraction=self.val_fraction,
                group_size=self.group_size,
            )
            for split in splits
        ]

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the shuffled loader of ``CaptionBatch``."""
        if self.train_set is None or not len(self.train_set):
            raise ConfigurationError(
                "no training captions: the sources hold none, or --data.val_fraction takes all"
            )
        columns = self.train_set.table.with_format("numpy")
        image_id, group = (np.asarray(columns[name][:], dtype=np.int64) for name in ("image_id", "group"))
        one = self.captions_per_epoch == "one"
        size = len(np.unique(image_id)) if one else len(image_id)
        order = partial(self._order, image_id, group, one)
        return self.train_loader(
            self.train_set, order, size, CaptionCollate(self.text_processor(clean_caption))
        )

    def _order(self, image_id: Order, group: Order, one: bool, epoch: int) -> Order:
        return caption_order(image_id, group, seed=self.seed, epoch=epoch, one_per_image=one)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return the loader of the validation captions in file order; an empty list where there are none."""
        if self.val_set is None or not len(self.val_set):
            return []
        collate = CaptionCollate(self.text_processor(clean_caption))
        return self.eval_loader(self.val_set, len(self.val_set), collate)

    def test_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return the validation loader: pre-training has no test split of its own."""
        return self.val_dataloader()

"""IMAGECODE: pick the one of ten near-identical images that a description means (paper, Sec. 4.2)."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError, DatasetNotFoundError
from data_modules.base import BaseDataModule
from data_modules.files import first_file
from data_modules.imagecode_files import (
    NAME,
    NO_ANNOTATIONS,
    PHENOMENA_FILE,
    PROPOSITION_FILES,
    Descriptions,
    Split,
    find_split_file,
    read_annotations,
    read_descriptions,
    read_image_order,
    read_proposition_texts,
    read_propositions,
    require_targets,
)
from data_modules.imagecode_items import frame_numbers, make_items
from data_modules.imagecode_sets import list_sets
from data_modules.loaders import Order
from data_modules.orders import grouped_order, shuffled_order
from data_modules.random_samples import NO_SAMPLES, draw_samples
from data_modules.retrieval import RetrievalCollate, RetrievalDataset, RetrievalItem
from data_modules.text import clean_retrieval_text
from data_modules.text_parts import TextPartsKind, split_sentences, with_parts
from data_modules.transforms import EvalTransform, TrainTransform

IMAGE_FOLDERS = ("image-sets",)


class ImageCoDeDataModule(BaseDataModule):
    """IMAGECODE image sets and descriptions.

    Source: https://github.com/McGill-NLP/imagecode (Krojer et al., ACL 2022), texts MIT, images of Open
    Images (CC BY 2.0), MSR-VTT, Video Storytelling and YouCook. 7,317 / 1,039 / 1,046 sets of ten images with
    16,594 / 2,302 / 2,306 descriptions for train / valid / test; the targets of test are secret::

        imagecode/train_data.json             {set: {"<target>": text}}
        imagecode/valid_data.json
        imagecode/test_data_unlabeled.json    {set: [text, ...]}
        imagecode/image-sets/<set>/imgN.jpg   a target is a rank after sorting by the integer N
        imagecode/image-sets.zip              read as it is where it is not extracted
        imagecode/manual_annotation_valid.yaml                             optional: phenomena
        imagecode/{valid_split,dev_model_split_2,test_model_split_2}.json  optional: propositions

    Sets called as the published ones must have ten images, others any number from two up; where
    ``image_filenames_{valid,test}.json`` lies beside, it says which.

    A sample is one description: ``images`` ``(K, 3, H, W)`` uint8, its query and its target; batches are
    ``RetrievalBatch``. ``lightning test`` evaluates ``test_split``, ``lightning predict`` ``predict_split``.

    Args:
        backbone: Source of the backbone; gives image size and vocabulary.
        root: Folder of the data, a parent, or ``miniature:DIR`` (drawn in DIR on first use).
        image_size: Side of the square input; ``None``: the backbone's.
        image_root: ``image-sets`` or the folder of it or of ``image-sets.zip``, if apart from the json files.
        tokenizer: A ``vocab.txt``, folder or hub id; ``None``: the backbone's own, else beside the data.
        batch_size: Queries a step and device (36 in the paper).
        global_batch_size: Queries an optimiser step; resolved by the command.
        eval_batch_size: Queries an evaluation step; ``None``: as in training.
        num_workers: Processes that load.
        max_words: Words kept of a description.
        max_tokens: Tokens kept of a description, [CLS] and [SEP] included.
        test_split: Split that ``test`` evaluates; needs labels.
        predict_split: Split that ``predict`` scores.
        text_parts: Whether `ZeroShot` scores descriptions ``whole`` or by their ``sentences`` or published
            ``propositions``; ``max_words`` and ``max_tokens`` then hold for each part.
        augment: Whether training images are augmented.
        augment_together: Whether all candidates of a set share one draw, which keeps their small differences.
        crop_scale_min: Least share of the area a random crop may have; 1.0 resizes the whole image.
        randaugment_ops: RandAugment operations an image; 0 switches it off.
        randaugment_magnitude: Their strength, 0 to 10.
        group_sets: Whether the descriptions of a set come in one training step, and on one device as far as
            they can, so that its images are read and encoded once.
        seed: Order and augmentation follow from it, the epoch and the row alone; ``None`` takes the run's.
        max_unreadable: Share of the training images that may be unreadable; such a set's items are replaced
            by others, as are those of a published set that has not its ten images, which counts as one. 0
            allows none. Evaluation never allows any.
    """

    name = NAME

    def __init__(
        self,
        backbone: str,
        root: str,
        image_size: int | None = None,
        image_root: str | None = None,
        tokenizer: str | None = None,
        batch_size: int = 36,
        global_batch_size: int | None = None,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        max_words: int | None = 30,
        max_tokens: int = 30,
        test_split: Split = "valid",
        predict_split: Split = "test",
        text_parts: TextPartsKind = "whole",
        augment: bool = True,
        augment_together: bool = True,
        crop_scale_min: float = 1.0,
        randaugment_ops: int = 2,
        randaugment_magnitude: int = 5,
        group_sets: bool = True,
        seed: int | None = None,
        max_unreadable: float = 0.001,
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
            max_unreadable=max_unreadable,
        )
        self.test_split: Split = test_split
        self.predict_split: Split = predict_split
        self.text_parts: TextPartsKind = text_parts
        self.augment = augment
        self.augment_together = augment_together
        self.crop_scale_min = crop_scale_min
        self.randaugment_ops = randaugment_ops
        self.randaugment_magnitude = randaugment_magnitude
        self.group_sets = group_sets
        self.datasets: dict[str, RetrievalDataset] = {}

    def setup(self, stage: str) -> None:
        """Build the sets of a stage.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            DatasetNotFoundError: Descriptions or image sets are missing.
            DatasetError: A file cannot be used.
            ConfigurationError: ``test`` is asked of a split whose targets are secret, or ``fit`` of texts in
                parts.
        """
        if stage == "fit" and self.text_parts != "whole":
            raise ConfigurationError(
                f"--data.text_parts {self.text_parts} is for test, validate and predict: training takes "
                "whole texts, leave it out"
            )
        config = self.setup_shared()
        splits = self._splits(stage)
        for name, split in splits.items():
            self.datasets[name] = self._build(name, split, config.image_size)
        self.setup_tokenizer(config)
        text = self.text_processor(clean_retrieval_text)
        for name, split in splits.items():
            queries = [query for item in self.datasets[name].items for query in item.queries]
            texts = [part for query in queries for part in query["parts"] or [query["text"]]]
            self.report_cut_texts(split, texts, text)

    def _splits(self, stage: str) -> dict[str, Split]:
        """Published split of each data set that a stage needs."""
        splits: dict[str, dict[str, Split]] = {
            "fit": {"train": "train", "val": "valid"},
            "validate": {"val": "valid"},
            "test": {"test": self.test_split},
            "predict": {"predict": self.predict_split},
        }
        return splits[stage]

    def _train_transform(self, image_size: int) -> EvalTransform | TrainTransform:
        if not self.augment:
            return EvalTransform(image_size)
        return TrainTransform(
            image_size,
            crop_scale_min=self.crop_scale_min,
            randaugment_ops=self.randaugment_ops,
            randaugment_magnitude=self.randaugment_magnitude,
        )

    def _build(self, name: str, split: Split, image_size: int) -> RetrievalDataset:
        split_file = find_split_file(self.root_folder, split)
        descriptions = read_descriptions(split_file)
        if name == "test" and split == "test":
            self._refuse_secret_targets(descriptions)
        elif name != "predict":
            require_targets(descriptions, split_file)
        beside, is_training = self._annotation_folders(split_file.parent), name == "train"
        image_roots = self.image_roots(split_file.parent, IMAGE_FOLDERS)
        order = read_image_order(beside, split)
        sets = list_sets(descriptions, image_roots, split_file, order, keep_faulty=is_training)
        annotations = first_file(beside, [PHENOMENA_FILE]) if split == "valid" else None
        propositions = first_file(beside, PROPOSITION_FILES[split])
        items = make_items(
            descriptions,
            read_annotations(annotations) if annotations else NO_ANNOTATIONS,
            read_propositions(propositions) if propositions else {},
            frame_numbers(sets),
            draw_samples(descriptions) if split == "valid" else NO_SAMPLES,
        )
        return RetrievalDataset(
            NAME,
            sets,
            self._in_parts(items, split, propositions, beside),
            self._train_transform(image_size) if is_training else EvalTransform(image_size),
            self.seed,
            self.augment_together,
            max_unreadable=self.max_unreadable if is_training else None,
        )

    def _in_parts(
        self, items: list[RetrievalItem], split: Split, propositions: Path | None, beside: list[Path]
    ) -> list[RetrievalItem]:
        """Give queries the parts they are scored by, if any are asked for."""
        if self.text_parts == "whole":
            return items
        name = f"{NAME} {split}"
        if self.text_parts == "sentences":
            return with_parts(name, items, self.text_parts, split_sentences)
        if propositions is None:
            names = " or ".join(PROPOSITION_FILES[split])
            lack = f"no {names} in {', '.join(map(str, beside))}: put it there, or"
            raise DatasetNotFoundError(
                f"{name}: --data.text_parts propositions, but {lack if names else 'none are published:'} "
                "set --data.text_parts sentences"
            )
        parts = read_proposition_texts(propositions)
        return with_parts(name, items, self.text_parts, lambda text: parts.get(text, []))

    def _annotation_folders(self, folder: Path) -> list[Path]:
        """Folders that may hold the optional files: beside the split, in ``analysis``, beside the images."""
        image_root = [] if self.image_root is None else [Path(self.image_root).expanduser()]
        return [folder, folder / "analysis", *image_root, *(root.parent for root in image_root)]

    def _refuse_secret_targets(self, descriptions: Descriptions) -> None:
        if any(target < 0 for rows in descriptions.values() for target, _ in rows):
            raise ConfigurationError(
                f"--data.test_split {self.test_split}: {NAME}'s test targets are secret; "
                "write predictions with `lightning predict`, or test with --data.test_split valid"
            )

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the shuffled loader of ``RetrievalBatch``."""
        dataset = self.datasets["train"]
        set_rows = np.array([item.set_row for item in dataset.items], dtype=np.int64)
        return self.train_loader(dataset, partial(self._order, set_rows), len(dataset), self._collate())

    def _order(self, set_rows: Order, epoch: int) -> Order:
        if self.group_sets:
            batch, share = self.samples_a_step, self.batch_size
            return grouped_order(set_rows, batch, seed=self.seed, epoch=epoch, share=share)
        return shuffled_order(len(set_rows), seed=self.seed, epoch=epoch)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the validation split in file order."""
        return self._eval("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the loader of ``test_split`` in file order."""
        return self._eval("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the loader of ``predict_split`` in file order."""
        return self._eval("predict")

    def _eval(self, name: str) -> DataLoader[Any]:
        return self.eval_loader(self.datasets[name], len(self.datasets[name]), self._collate())

    def _collate(self) -> RetrievalCollate:
        return RetrievalCollate(self.text_processor(clean_retrieval_text))

"""COCO's 5k split for image-text retrieval: a gallery of images and one of captions."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Literal, TypedDict

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from contextblip.types import GalleryImageBatch, GalleryTextBatch
from data_modules.base import BaseDataModule
from data_modules.caption_data.images import CaptionImageFinder
from data_modules.caption_data.sources import CaptionedImage, CaptionSource, CocoLayout, locate_coco
from data_modules.files import readable_image
from data_modules.loaders import Row, epoch_and_row
from data_modules.text import TextProcessor, clean_caption
from data_modules.transforms import EvalTransform

log = logging.getLogger(__name__)

# Karpathy's validation and test split alike
KARPATHY_IMAGES, KARPATHY_CAPTIONS = 5_000, 25_010


class GalleryImage(TypedDict):
    """One image: pixels ``(3, H, W)`` uint8 and its number."""

    image: Tensor
    index: int


class GalleryText(TypedDict):
    """One published caption, its number and its image's."""

    text: str
    index: int
    image_index: int


class GalleryImages(Dataset[GalleryImage]):
    """Images of a gallery.

    Args:
        name: Data set and split, for messages.
        files: One an image.
        transform: From an image to pixels.
    """

    def __init__(self, name: str, files: Sequence[str], transform: EvalTransform) -> None:
        self.name = name
        self.files = files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Row) -> GalleryImage:
        _, row = epoch_and_row(index)
        with readable_image(self.files[row], self.name) as image:
            return {"image": self.transform(image), "index": row}


class GalleryTexts(Dataset[GalleryText]):
    """Captions of a gallery, in the order of their images.

    Args:
        images: With their captions.
    """

    def __init__(self, images: Sequence[CaptionedImage]) -> None:
        self.texts = [caption for image in images for caption in image.captions]
        self.image_index = [number for number, image in enumerate(images) for _ in image.captions]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: Row) -> GalleryText:
        _, row = epoch_and_row(index)
        return {"text": self.texts[row], "index": row, "image_index": self.image_index[row]}


def collate_images(samples: Sequence[GalleryImage]) -> GalleryImageBatch:
    """Make a batch of B images; the data module normalises them on the device.

    Args:
        samples: The images.

    Returns:
        The batch.
    """
    return {
        # stacks in memory shared with the main process; on the heap it would leave holes
        "images": default_collate([sample["image"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
    }


class TextCollate:
    """Make a ``GalleryTextBatch``; texts are padded to the batch's longest.

    Args:
        text: Clean-up and tokenizer.
    """

    def __init__(self, text: TextProcessor) -> None:
        self.text = text

    def __call__(self, samples: Sequence[GalleryText]) -> GalleryTextBatch:
        """Collate B samples."""
        input_ids, attention_mask = self.text([sample["text"] for sample in samples])
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "index": torch.tensor([sample["index"] for sample in samples]),
            "image_index": torch.tensor([sample["image_index"] for sample in samples]),
        }


class CocoRetrievalDataModule(BaseDataModule):
    """Images and captions of a COCO split, each once, for `contextblip.tasks.ImageTextRetrieval`.

    Published numbers are those of Karpathy's test split, 5,000 images with 25,010 captions, from BLIP's
    ``coco_karpathy_test.json`` or Karpathy's ``dataset_coco.json``. COCO's own files have no labelled test
    split; their validation split (5,000 images in 2017, 40,504 in 2014) serves for a look, and the log says
    so.

    Args:
        backbone: Source of the backbone; gives image size and vocabulary.
        root: COCO's folder, a parent that holds ``coco``, or ``miniature:DIR`` (drawn in DIR on first use).
        image_size: Side of the square input; ``None``: the backbone's.
        image_root: Where images lie, if apart from the annotations.
        tokenizer: A ``vocab.txt``, folder or hub id; ``None``: the backbone's own, else beside the data.
        coco_layout: Form of the annotations; ``auto`` takes BLIP's or Karpathy's before the official one.
        split: ``test`` or ``val``; both validate and test read it.
        max_images: Only so many images, from the file's beginning, with their captions; ``None`` takes all.
        eval_batch_size: Images, or captions, a step and device.
        num_workers: Processes that load.
        max_words: Words kept of a caption, 30 in BLIP.
        max_tokens: Tokens kept of a caption, [CLS] and [SEP] included, 35 in BLIP's retrieval test.
    """

    name = "COCO"

    def __init__(
        self,
        backbone: str,
        root: str,
        image_size: int | None = None,
        image_root: str | None = None,
        tokenizer: str | None = None,
        coco_layout: CocoLayout = "auto",
        split: Literal["test", "val"] = "test",
        max_images: int | None = None,
        eval_batch_size: int = 64,
        num_workers: int = 2,
        max_words: int | None = 30,
        max_tokens: int = 35,
    ) -> None:
        super().__init__(
            backbone,
            root,
            image_size=image_size,
            image_root=image_root,
            tokenizer=tokenizer,
            batch_size=1,  # nothing trains
            global_batch_size=None,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            max_words=max_words,
            max_tokens=max_tokens,
            seed=0,  # nothing is drawn
        )
        self.coco_layout: CocoLayout = coco_layout
        self.split: Literal["test", "val"] = split
        self.max_images = max_images
        self.images: GalleryImages | None = None
        self.texts: GalleryTexts | None = None

    def setup(self, stage: str) -> None:
        """Read the split, once.

        Args:
            stage: ``validate`` or ``test``.

        Raises:
            ConfigurationError: The stage is another, or a key's value cannot be used.
            DatasetNotFoundError: Annotations, the split or images are missing.
            DatasetError: An annotation file cannot be used.
        """
        if stage not in ("validate", "test"):
            raise ConfigurationError("CocoRetrievalDataModule only evaluates: use validate or test")
        if self.max_images is not None and self.max_images < 1:
            raise ConfigurationError(f"--data.max_images is {self.max_images}, expected at least 1")
        config = self.setup_shared()
        if self.images is None or self.texts is None:
            source = self._locate()
            captioned = self._read(source)
            finder = CaptionImageFinder("COCO", self.image_roots(source.folder, source.image_folders))
            files = [str(file) for file in finder.find_all([image.path for image in captioned])]
            self.images = GalleryImages(f"COCO {self.split}", files, EvalTransform(config.image_size))
            self.texts = GalleryTexts(captioned)
        if self.vocabulary is None:
            self.setup_tokenizer(config)
            self.report_cut_texts(self.split, self.texts.texts, self.text_processor(clean_caption))

    def _locate(self) -> CaptionSource:
        """Find the annotations; ``auto`` takes the first layout that has the split."""
        layouts: tuple[CocoLayout, ...] = ("karpathy", "blip", "official")
        found = locate_coco(self.root_folder, self.coco_layout)
        for layout in layouts if self.coco_layout == "auto" else ():
            with suppress(DatasetNotFoundError):
                other = locate_coco(self.root_folder, layout)
                if self.split in other.splits:
                    return other
        return found

    def _read(self, source: CaptionSource) -> list[CaptionedImage]:
        """Read the images of the split and check their number."""
        if self.split not in source.splits:
            others = " or ".join(split for split in source.splits if split != "train")
            raise DatasetNotFoundError(
                f"COCO ({source.layout}) in {source.folder} has no {self.split} split: put "
                f"coco_karpathy_{self.split}.json or dataset_coco.json there"
                f"{f', or set --data.split to {others}' if others else ''}"
            )
        where = f"COCO {self.split} ({source.layout})"
        images = list(source.read(self.split))
        n_captions = sum(len(image.captions) for image in images)
        for image in images:
            if blank := [caption for caption in image.captions if not caption.strip()]:
                files = ", ".join(map(str, source.files[self.split]))
                raise DatasetError(
                    f"{where}: image {image.path} has {len(blank)} blank captions; download {files} again"
                )
        rank_zero_info(f"{where}: {len(images):,} images, {n_captions:,} captions")
        if "official" in source.layout:
            _warn(f"{where} is not Karpathy's split: not comparable with published recalls")
        elif (len(images), n_captions) != (KARPATHY_IMAGES, KARPATHY_CAPTIONS):
            _warn(
                f"{where}: {len(images):,} images and {n_captions:,} captions instead of "
                f"{KARPATHY_IMAGES:,} and {KARPATHY_CAPTIONS:,}: not comparable with published recalls"
            )
        return list(islice(images, self.max_images))

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Return the loader of the images and that of the captions."""
        if self.images is None or self.texts is None:
            raise RuntimeError("setup() has not run yet")
        collate = TextCollate(self.text_processor(clean_caption))
        return [
            self.eval_loader(self.images, len(self.images), collate_images),
            self.eval_loader(self.texts, len(self.texts), collate),
        ]

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Return the same loaders: ``split`` says what they give."""
        return self.val_dataloader()


@rank_zero_only
def _warn(message: str) -> None:
    """Warn, once over all processes."""
    log.warning(message)

"""Image-caption pairs for pre-training: COCO, Visual Genome and BLIP's json form (paper, Sec. 4.1)."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError
from data_modules.base import BaseDataModule
from data_modules.caption_data.building import RowBuilder
from data_modules.caption_data.order import CaptionOrder, check_names, resolve_weights
from data_modules.caption_data.rows import CaptionCollate, CaptionDataset, CaptionRows
from data_modules.caption_data.sources import (
    CaptionSource,
    CocoLayout,
    VisualGenomeLayout,
    locate_blip_json,
    locate_coco,
    locate_visual_genome,
)
from data_modules.text import clean_caption
from data_modules.transforms import EvalTransform, TrainTransform
from data_modules.unreadable import UnreadableImages

log = logging.getLogger(__name__)


class CaptionDataModule(BaseDataModule):
    """Captions of COCO and Visual Genome, or of any file in BLIP's json form.

    ``root`` holds ``coco`` and ``visual_genome``, or is one of them, or is ``miniature:DIR``; layouts, counts
    and licences stand in ``data_modules.caption_data.coco`` and ``.visual_genome``. A source without a
    validation file gives ``val_fraction`` of its images; the test loader is the validation loader. No photo
    of any source's validation or test split is trained on, through whichever source. Blank captions are left
    out. Large annotations are kept as memory-mapped tables below ``HF_DATASETS_CACHE``.

    Args:
        backbone: Source of the backbone; gives image size and vocabulary.
        root: Folder of the data, a parent, or ``miniature:DIR`` (drawn in DIR on first use).
        datasets: Which of ``coco`` and ``visual_genome`` to use.
        annotation_files: Further files in BLIP's json form; a path in them means its longest existing suffix,
            an absolute one is opened as it is.
        coco_layout: Which of COCO's annotation files to use; ``auto`` prefers the paper's selection.
        visual_genome_layout: Which of Visual Genome's annotation files to use; ``auto`` as above.
        source_weights: How many times each training caption of a source comes an epoch, by ``coco``,
            ``visual_genome`` or an annotation file's name without ``.json``; 1 where not named. 0.5 draws
            half of them anew every epoch; a caption that comes again is augmented anew. With ``group_size``
            whole groups are drawn. Validation takes every caption once.
        image_size: Side of the square input; ``None``: the backbone's.
        image_root: Where images lie, if apart from the annotations: one folder, or one by name of the source,
            as in ``source_weights``; what is not named lies beside its annotations.
        tokenizer: A ``vocab.txt``, folder or hub id; ``None``: the backbone's own, else beside the data.
        batch_size: Pairs a step and device.
        global_batch_size: Pairs an optimiser step (256 in the paper); resolved by the command.
        eval_batch_size: Pairs an evaluation step; ``None``: as in training.
        num_workers: Processes that load.
        max_words: Words kept of a caption.
        max_tokens: Tokens kept of a caption, [CLS] and [SEP] included.
        val_fraction: Share of images held out where a source has no validation file.
        group_size: Consecutive images that stay together when shuffling, hence become each other's negatives.
        captions_per_epoch: ``all`` captions of an image, or ``one`` drawn anew each epoch; a photo that two
            sources hold counts as an image of each. A weight multiplies either.
        crop_scale_min: Least share of the area a random crop may have; 1.0 resizes the whole image.
        horizontal_flip: Mirror half of the images; off, since captions say left and right.
        randaugment_ops: RandAugment operations an image; 0 switches it off.
        randaugment_magnitude: Their strength, 0 to 10.
        seed: Order and augmentation follow from it, the epoch and the row alone; ``None`` takes the run's.
        max_unreadable: Share of the distinct training images that may be missing or unreadable; other rows
            replace theirs. Evaluation never leaves one out.
    """

    name = "captions"

    def __init__(
        self,
        backbone: str,
        root: str,
        datasets: list[Literal["coco", "visual_genome"]] | None = None,
        annotation_files: list[str] | None = None,
        coco_layout: CocoLayout = "auto",
        visual_genome_layout: VisualGenomeLayout = "auto",
        source_weights: dict[str, float] | None = None,
        image_size: int | None = None,
        image_root: str | dict[str, str] | None = None,
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
        max_unreadable: float = 0.001,
    ) -> None:
        super().__init__(
            backbone,
            root,
            image_size=image_size,
            image_root=None if isinstance(image_root, dict) else image_root,
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
        self.datasets: Sequence[str] = ("coco", "visual_genome") if datasets is None else datasets
        self.annotation_files = annotation_files or []
        self.coco_layout: CocoLayout = coco_layout
        self.visual_genome_layout: VisualGenomeLayout = visual_genome_layout
        self.source_weights = source_weights
        self.source_image_roots = image_root if isinstance(image_root, dict) else {}
        self.val_fraction = val_fraction
        self.group_size = group_size
        self.captions_per_epoch = captions_per_epoch
        self.crop_scale_min = crop_scale_min
        self.horizontal_flip = horizontal_flip
        self.randaugment_ops = randaugment_ops
        self.randaugment_magnitude = randaugment_magnitude
        self.train_set: CaptionDataset | None = None
        self.val_set: CaptionDataset | None = None

    def prepare_data(self) -> None:
        """Draw the miniature if asked for, and make the tables of large annotations, once a machine.

        Raises:
            DatasetNotFoundError: Annotations are missing.
            DatasetError: An annotation file cannot be used.
            ConfigurationError: A key's value cannot be used.
        """
        super().prepare_data()
        if not self.root_folder.is_dir():
            return  # setup says so
        self.setup_shared()
        self._check_keys()
        fitting = self.trainer is None or self.trainer.state.fn == "fit"
        self._builder().keep_tables(["train", "val"] if fitting else ["val"])

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
        evaluation = EvalTransform(config.image_size)
        reported: dict[str, CaptionRows] = {}
        if stage == "fit" and self.train_set is None:
            train, val = self._builder().build(["train", "val"])
            if self.source_weights:
                self._order(train)  # refuses weights that draw nothing
            self.train_set = self._training_set(train, config.image_size)
            self.val_set = CaptionDataset(val, evaluation, self.seed, "val")
            reported = {"train": train, "val": val}
        elif self.val_set is None:
            (val,) = self._builder().build(["val"])
            self.val_set = CaptionDataset(val, evaluation, self.seed, "val")
            reported = {"val": val}
        if stage != "fit" and not len(self.val_set or []):
            raise ConfigurationError(
                "no validation images: there is no validation file; raise --data.val_fraction"
            )
        self.setup_tokenizer(config)
        for split, rows in reported.items():
            if len(rows):
                self.report_cut_texts(split, rows.texts, self.text_processor(clean_caption))

    def _training_set(self, rows: CaptionRows, image_size: int) -> CaptionDataset:
        augmentation = TrainTransform(
            image_size,
            self.crop_scale_min,
            self.horizontal_flip,
            self.randaugment_ops,
            self.randaugment_magnitude,
        )
        if self.horizontal_flip:
            _warn_of_flips(rows)
        unreadable = UnreadableImages(" + ".join(rows.sources), len(rows.files), self.max_unreadable)
        return CaptionDataset(rows, augmentation, self.seed, "train", unreadable)

    def _check_keys(self) -> None:
        if not self.datasets and not self.annotation_files:
            raise ConfigurationError(
                "--data.datasets is empty; name coco, visual_genome or --data.annotation_files"
            )
        if not 0 <= self.val_fraction < 1:
            raise ConfigurationError(f"--data.val_fraction is {self.val_fraction}, expected 0 up to below 1")
        if self.group_size < 1:
            raise ConfigurationError(f"--data.group_size is {self.group_size}, expected at least 1")
        resolve_weights(self.source_weights, self._names())
        check_names("--data.image_root", self.source_image_roots, self._names())

    def _names(self) -> list[str]:
        """Name the sources, in order, as ``source_weights`` does."""
        known = [name for name in ("coco", "visual_genome") if name in self.datasets]
        return known + [Path(file).stem for file in self.annotation_files]

    def _sources(self) -> list[CaptionSource]:
        """Locate the sources, in the order of their names."""
        sources = []
        if "coco" in self.datasets:
            sources.append(locate_coco(self.root_folder, self.coco_layout))
        if "visual_genome" in self.datasets:
            sources.append(locate_visual_genome(self.root_folder, self.visual_genome_layout))
        return sources + [locate_blip_json(Path(file).expanduser()) for file in self.annotation_files]

    def _builder(self) -> RowBuilder:
        return RowBuilder(
            list(zip(self._names(), self._sources(), strict=True)),
            self._roots,
            self.val_fraction,
            self.group_size,
            self.max_unreadable,
        )

    def _roots(self, name: str, source: CaptionSource) -> list[Path]:
        """List the folders below which a source's images may lie."""
        given = self.image_root
        try:  # one folder at a time is what the base class knows
            self.image_root = self.source_image_roots.get(name, given)
            return self.image_roots(source.folder, source.image_folders)
        finally:
            self.image_root = given

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the shuffled loader of ``CaptionBatch``."""
        if self.train_set is None or not len(self.train_set):
            raise ConfigurationError(
                "no training captions: the sources hold none, all their photos are in a validation or test "
                "split, or --data.val_fraction takes all"
            )
        order = self._order(self.train_set.rows)
        collate = CaptionCollate(self.text_processor(clean_caption))
        return self.train_loader(self.train_set, order, sum(order.sizes), collate)

    def _order(self, rows: CaptionRows) -> CaptionOrder:
        names = self._names()
        weights = resolve_weights(self.source_weights, names)
        order = CaptionOrder(
            rows.image,
            rows.groups[rows.image],
            rows.image_sources[rows.image],
            weights,
            self.captions_per_epoch == "one",
            self.seed,
        )
        for number, (name, weight, size) in enumerate(zip(names, weights, order.sizes, strict=True)):
            if not size and (rows.image_sources == number).any():
                raise ConfigurationError(
                    f"--data.source_weights: {name} is {weight}, which draws none of its captions; raise it "
                    "or leave the source out"
                )
        return order

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return the loader of the validation captions in file order; an empty list where there are none."""
        if self.val_set is None or not len(self.val_set):
            return []
        collate = CaptionCollate(self.text_processor(clean_caption))
        return self.eval_loader(self.val_set, len(self.val_set), collate)

    def test_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return the validation loader: pre-training has no test split of its own."""
        return self.val_dataloader()


@rank_zero_only
def _warn_of_flips(rows: CaptionRows) -> None:
    count = rows.count_sides()
    log.warning(
        "--data.horizontal_flip mirrors half of the images, but %s of %s training captions (%.1f%%) say left "
        "or right and then become wrong; switch it off",
        f"{count:,}", f"{len(rows):,}", 100 * count / max(len(rows), 1),
    )  # fmt: skip

"""What all data modules share: where the files are, the backbone's sizes and tokenizer, the loaders."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from contextblip.cores import count_cores
from contextblip.draws import run_seed
from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from contextblip.models.config import BackboneConfig
from contextblip.worlds import RECORD, asked_miniature
from data_modules.files import image_roots
from data_modules.loaders import (
    EpochSampler,
    Order,
    UnpaddedSampler,
    make_loader,
)
from data_modules.resuming import ResumableDataModule
from data_modules.text import (
    CutTexts,
    TextProcessor,
    check_tokenizer,
    count_cut_texts,
    load_tokenizer,
    sample_evenly,
    vocabulary_beside,
)
from data_modules.transforms import normalize_batch

# of the texts whose cuts are counted at setup, which then takes about a second
MOST_TEXTS = 20_000
MOST_DRAWERS = 8  # processes; a world takes a minute or two of one


class BaseDataModule(ResumableDataModule):
    """Shared base: stores arguments, draws the miniature, loads the tokenizer, builds loaders.

    Args:
        backbone: Source of the backbone; gives the image size, the vocabulary and their ids.
        root: The data set's own folder, a parent that holds it, ``miniature:DIR``, or, for the worlds that
            backbones are trained on, ``miniature-lesson-1:DIR``, ``miniature-lesson-2:DIR`` and
            ``miniature-backbone:DIR``.
        image_size: Side of the square input in pixels; ``None``: the backbone's.
        image_root: Where images lie, if apart from the annotations.
        tokenizer: A ``vocab.txt``, a folder or a hub id; ``None``: the backbone's own vocabulary, else one
            beside the data set whose size fits, else bert-base-uncased where the hub's cache has it.
        batch_size: Samples a training step and device.
        global_batch_size: Samples an optimiser step; the command resolves it into accumulated steps.
        eval_batch_size: Samples an evaluation step; ``None``: as in training.
        num_workers: Processes that load; 0 loads in the main process.
        max_words: Words kept of a text; ``None`` keeps all.
        max_tokens: Tokens kept of a text, [CLS] and [SEP] included.
        seed: Order and augmentation follow from it, the epoch and the row alone; ``None`` takes the run's.
        max_unreadable: Share of a training set's distinct images that may be unreadable; 0 allows none.

    Attributes:
        config: Sizes of the backbone, after ``setup``.
        tokenizer: The loaded tokenizer, after ``setup``; before it the argument.
        vocabulary: The local ``vocab.txt`` in use, if any, after ``setup``.
    """

    tokenizer: Any

    def __init__(
        self,
        backbone: str,
        root: str,
        *,
        image_size: int | None,
        image_root: str | None,
        tokenizer: str | None,
        batch_size: int,
        global_batch_size: int | None,
        eval_batch_size: int | None,
        num_workers: int,
        max_words: int | None,
        max_tokens: int,
        seed: int | None,
        max_unreadable: float = 0.001,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.root = root
        self.image_size = image_size
        self.image_root = image_root
        self.tokenizer_source = tokenizer
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.global_batch_size = global_batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.max_words = max_words
        self.max_tokens = max_tokens
        self.max_unreadable = max_unreadable
        self.seed = run_seed() if seed is None else seed
        self.vocabulary: Path | None = None
        self.config: BackboneConfig | None = None
        self._backbone_vocabulary: Path | None = None

    @property
    def root_folder(self) -> Path:
        """The root without the prefix of a miniature world."""
        asked = asked_miniature(self.root)
        return Path(self.root).expanduser() if asked is None else asked.folder

    @property
    def evaluation_batch_size(self) -> int:
        """Samples an evaluation step."""
        return self.eval_batch_size or self.batch_size

    def prepare_data(self) -> None:
        """Draw the miniature world where the root asks for it and none, of whatever size, is there yet."""
        asked = asked_miniature(self.root)
        if asked is None:
            return
        from data_modules.miniature import GENERATOR_VERSION, PRESETS, draw_miniature

        record, (seed, size) = self.root_folder / RECORD, PRESETS[asked.preset]
        if not record.is_file():
            drawers = min(count_cores(), MOST_DRAWERS)
            draw_miniature(self.root_folder, seed=seed, size=size, workers=drawers)
            return
        found = json.loads(record.read_text(encoding="utf-8"))
        if found.get("generator") != GENERATOR_VERSION:
            raise DatasetError(
                f"the miniature world in {self.root_folder} was drawn by generator {found.get('generator')}, "
                f"this is {GENERATOR_VERSION}; remove the folder or name another"
            )
        # the same manner in any size
        manner = {"photos": size.photos, "most_things": size.most_things}
        if any(found.get(key) != value for key, value in manner.items()):
            raise DatasetError(
                f"the miniature world in {self.root_folder} is not of the kind that {self.root} asks for; "
                "remove the folder or name another"
            )

    def setup_shared(self) -> BackboneConfig:
        """Check the root, then read the backbone's sizes, once.

        Returns:
            Sizes of the backbone, with this module's image size.

        Raises:
            DatasetNotFoundError: The root does not exist.
            ConfigurationError: A key's value cannot be used.
        """
        self._check_numbers()
        if not self.root_folder.is_dir():
            raise DatasetNotFoundError(
                f"--data.root {self.root_folder} is no folder; name the data set's folder, "
                f"a parent that holds it, or miniature:DIR to draw the miniature world"
            )
        if self.config is None:
            from contextblip.checkpoints import read_backbone_config

            self.config, self._backbone_vocabulary = read_backbone_config(self.backbone, self.image_size)
        return self.config

    def _check_numbers(self) -> None:
        """Check the keys that count something."""
        least = {"batch_size": 1, "global_batch_size": 1, "eval_batch_size": 1, "num_workers": 0}
        least |= {"max_words": 1, "max_tokens": 3, "randaugment_ops": 0, "randaugment_magnitude": 0}
        for key, lowest in least.items():
            value = getattr(self, key, None)
            if value is not None and value < lowest:
                raise ConfigurationError(f"--data.{key} is {value}, expected at least {lowest}")
        if not 0 <= self.max_unreadable <= 1:
            raise ConfigurationError(f"--data.max_unreadable is {self.max_unreadable}, expected 0 to 1")
        scale = getattr(self, "crop_scale_min", 1.0)
        if not 0 < scale <= 1:
            raise ConfigurationError(f"--data.crop_scale_min is {scale}, expected above 0 up to 1")

    def setup_tokenizer(self, config: BackboneConfig) -> None:
        """Load the tokenizer, once; last in ``setup``: a wrong root is reported before a hub is asked.

        Args:
            config: Sizes of the backbone.

        Raises:
            ConfigurationError: The tokenizer cannot be loaded or does not fit the backbone.
        """
        if self.vocabulary is None:
            own = self.tokenizer_source or self._backbone_vocabulary
            source = str(own or vocabulary_beside(self.root_folder, config, self.backbone))
            self.tokenizer, vocabulary = load_tokenizer(source)
            check_tokenizer(self.tokenizer, config, source, self.backbone, self.max_tokens)
            self.vocabulary = vocabulary

    def image_roots(self, folder: Path, names: Sequence[str]) -> list[Path]:
        """List the folders below which images may lie.

        Args:
            folder: The data set's own folder.
            names: Usual names of image folders.

        Returns:
            Existing folders in order of preference; only those of ``image_root`` where it is given.

        Raises:
            DatasetNotFoundError: ``image_root`` does not exist.
        """
        given = None if self.image_root is None else Path(self.image_root).expanduser()
        return image_roots([folder, self.root_folder], names, given, "--data.image_root")

    def text_processor(self, clean: Callable[[str, int | None], str], prefix: str = "") -> TextProcessor:
        """Build the clean-up and tokenizer for a data set's texts."""
        return TextProcessor(self.tokenizer, clean, self.max_words, self.max_tokens, prefix)

    def report_cut_texts(self, split: str, texts: Sequence[str], text: TextProcessor) -> CutTexts:
        """Log which share of a split's texts loses something; of very many an even sample is looked at.

        Args:
            split: Name of the split, for the line.
            texts: Its published texts.
            text: Clean-up, tokenizer and their limits.

        Returns:
            The counts over the texts looked at.
        """
        looked_at = sample_evenly(texts, MOST_TEXTS)
        cut = count_cut_texts(looked_at, text)
        sampled = f" (an even sample of {len(texts):,})" if len(looked_at) < len(texts) else ""
        name = self.name or type(self).__name__.removesuffix("DataModule")
        rank_zero_info(f"{name} {split}: {cut.describe(text)}{sampled}")
        return cut

    def train_loader(
        self,
        dataset: Dataset[Any],
        order: Callable[[int], Order],
        size: int,
        collate: Callable[[list[Any]], Any],
    ) -> DataLoader[Any]:
        """Build the shuffled loader.

        Args:
            dataset: Takes ``(epoch, row)``.
            order: Rows of an epoch.
            size: Rows an epoch.
            collate: Makes a batch.

        Returns:
            The loader.
        """
        sampler = EpochSampler(order, size, self.batch_size, *self._replicas(), self._accumulation)
        loader = self._loader(dataset, sampler.batch_size, sampler, collate)
        self.continue_in(loader)
        return loader

    def eval_loader(
        self, dataset: Dataset[Any], size: int, collate: Callable[[list[Any]], Any]
    ) -> DataLoader[Any]:
        """Build a loader in file order; every row comes exactly once, on whatever number of devices."""
        replicas, rank = self._replicas()
        sampler = UnpaddedSampler(size, replicas, rank, self.evaluation_batch_size) if replicas > 1 else None
        return self._loader(dataset, self.evaluation_batch_size, sampler, collate)

    def _loader(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        sampler: EpochSampler | UnpaddedSampler | None,
        collate: Callable[[list[Any]], Any],
    ) -> DataLoader[Any]:
        return make_loader(
            dataset,
            batch_size=batch_size,
            num_workers=self.num_workers,
            sampler=sampler,
            collate=collate,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ANN401  # Lightning's
        """Normalise the images on the device: loaders send bytes, a quarter of what floats would be.

        Args:
            batch: As it came from the loader.
            dataloader_idx: Not needed: all loaders send the same kind.

        Returns:
            The batch as ``contextblip.types`` declares it, in the precision of the module's weights.
        """
        del dataloader_idx
        module = self.trainer.lightning_module if self.trainer is not None else None
        return normalize_batch(batch, torch.float32 if module is None else cast(torch.dtype, module.dtype))

    @property
    def samples_a_step(self) -> int:
        """Samples an optimiser step, over all devices and accumulated batches."""
        return self.batch_size * self._replicas()[0] * self._accumulation

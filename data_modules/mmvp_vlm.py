"""MMVP-VLM: two images, two statements, each statement must pick its own image (paper, Sec. 4.5)."""

import csv
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError, DatasetError
from contextblip.types import Query
from data_modules.base import BaseDataModule
from data_modules.files import ImageFinder, require_file, subfolders
from data_modules.retrieval import CandidateSet, RetrievalCollate, RetrievalDataset, RetrievalItem
from data_modules.text import clean_retrieval_text
from data_modules.transforms import EvalTransform

NAME = "MMVP-VLM"
FOLDERS = ("mmvp_vlm", "MMVP_VLM", "mmvp", "MMVP", "mmvp_vlm_sample")
QUESTIONS_FILE = "Questions.csv"
IMAGE_FOLDER = "MLLM_VLM Images"
COLUMNS = ("Question ID", "Type", "Statement")


class MMVPVLMDataModule(BaseDataModule):
    """MMVP-VLM pairs.

    Source: https://huggingface.co/datasets/MMVP/MMVP_VLM (Tong et al., CVPR 2024), MIT. 135 pairs, 15 of each
    of 9 patterns; rows with the ids 2k-1 and 2k form a pair and have one ``Type``::

        MMVP_VLM/Questions.csv                       Question ID,Type,Statement
        MMVP_VLM/MLLM_VLM Images/<Type>/<id>.jpg

    A sample is one pair: ``images`` ``(2, 3, H, W)`` float32 and two queries whose only phenomenon is the
    ``Type``; batches are ``RetrievalBatch`` with the protocol ``pairs``. There is nothing to train on;
    validate, test and predict see all pairs.

    Args:
        backbone: Source of the backbone; gives image size and vocabulary.
        root: Folder of the data, a parent, or ``miniature:DIR`` (drawn in DIR on first use).
        image_size: Side of the square input; ``None``: the backbone's.
        image_root: Folder of the images, if apart from ``Questions.csv``.
        tokenizer: A ``vocab.txt``, folder or hub id; ``None``: the backbone's own, else bert-base-uncased.
        prompt_prefix: Written before each statement; the paper's is "a photo of ".
        batch_size: Pairs a step and device.
        eval_batch_size: Pairs an evaluation step; ``None``: ``batch_size``.
        num_workers: Processes that load.
        max_words: Words kept of a statement, prefix included.
        max_tokens: Tokens kept of a statement, [CLS] and [SEP] included.
    """

    def __init__(
        self,
        backbone: str,
        root: str,
        image_size: int | None = None,
        image_root: str | None = None,
        tokenizer: str | None = None,
        prompt_prefix: str = "a photo of ",
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        max_words: int | None = 30,
        max_tokens: int = 30,
    ) -> None:
        super().__init__(
            backbone,
            root,
            image_size=image_size,
            image_root=image_root,
            tokenizer=tokenizer,
            batch_size=batch_size,
            global_batch_size=None,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            max_words=max_words,
            max_tokens=max_tokens,
            seed=0,
        )
        self.prompt_prefix = prompt_prefix
        self.dataset: RetrievalDataset | None = None

    def setup(self, stage: str) -> None:
        """Read the pairs.

        Args:
            stage: ``validate``, ``test`` or ``predict``.

        Raises:
            DatasetNotFoundError: ``Questions.csv`` or images are missing.
            DatasetError: ``Questions.csv`` cannot be used.
            ConfigurationError: The stage is ``fit``.
        """
        if stage == "fit":
            raise ConfigurationError(f"{NAME} has no training split; use `lightning test`")
        config = self.setup_shared()
        questions = require_file(NAME, subfolders(self.root_folder, FOLDERS), [QUESTIONS_FILE])
        pairs = read_pairs(questions)
        finder = ImageFinder(NAME, self.image_roots(questions.parent, (IMAGE_FOLDER,)))
        names = [f"{IMAGE_FOLDER}/{kind}/{number}.jpg" for kind, pair in pairs for number, _ in pair]
        files = [Path(file) for file in finder.find_all(names)]
        sets = [
            CandidateSet(
                "-".join(str(number) for number, _ in pair), tuple(files[2 * row : 2 * row + 2]), False
            )
            for row, (_, pair) in enumerate(pairs)
        ]
        items = [_make_item(row, sets[row].name, kind, pair) for row, (kind, pair) in enumerate(pairs)]
        self.dataset = RetrievalDataset(NAME, sets, items, EvalTransform(config.image_size), self.seed)
        self.setup_tokenizer(config)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the loader of all pairs in file order."""
        if self.dataset is None:
            raise ConfigurationError(f"{NAME}: call setup before asking for a loader")
        collate = RetrievalCollate(self.text_processor(clean_retrieval_text, self.prompt_prefix), "pairs")
        return self.eval_loader(self.dataset, len(self.dataset), collate)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the loader of all pairs in file order."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the loader of all pairs in file order."""
        return self.val_dataloader()


Pair = tuple[str, tuple[tuple[int, str], tuple[int, str]]]


def read_pairs(path: Path) -> list[Pair]:
    """Read ``Questions.csv``.

    Args:
        path: The file.

    Returns:
        ``Type`` and, odd id first, id and statement of both rows, for each pair in file order.

    Raises:
        DatasetError: A column, a partner or an id is missing, or a pair has two types.
    """
    rows = _read_rows(path)
    pairs: list[Pair] = []
    for number in (number for number in rows if number % 2):
        if number + 1 not in rows:
            raise DatasetError(f"{NAME}: {path} has question {number} without its partner {number + 1}")
        (kind, first), (other_kind, second) = rows[number], rows[number + 1]
        if kind != other_kind:
            raise DatasetError(
                f"{NAME}: {path}: pair {number}-{number + 1} has two types, {kind} and {other_kind}"
            )
        pairs.append((kind, ((number, first), (number + 1, second))))
    if lonely := [number for number in rows if number % 2 == 0 and number - 1 not in rows]:
        raise DatasetError(f"{NAME}: {path} has question {lonely[0]} without its partner {lonely[0] - 1}")
    return pairs


def _read_rows(path: Path) -> dict[int, tuple[str, str]]:
    """Type and statement by question id; statements may hold quotes and commas."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise DatasetError(f"{NAME}: {path} lacks the column {missing[0]}; download it again")
            return {
                int(row["Question ID"]): (_cell(row, "Type").strip(), _cell(row, "Statement"))
                for row in reader
            }
    except (UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise DatasetError(f"{NAME}: {path} cannot be read ({error}); download it again") from error


def _cell(row: dict[str, str | None], column: str) -> str:
    value = row[column]
    if not value or not value.strip():
        raise ValueError(f"question {row['Question ID']} has no {column}")
    return value


def _make_item(
    row: int, name: str, kind: str, pair: tuple[tuple[int, str], tuple[int, str]]
) -> RetrievalItem:
    first, second = (
        Query(set_name=name, query_index=index, text=text, phenomena=[kind], n_propositions=None)
        for index, (_, text) in enumerate(pair)
    )
    return RetrievalItem(row, (first, second), (0, 1))

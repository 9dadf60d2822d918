"""MMVP-VLM: two images, two statements, each statement must pick its own image (paper, Sec. 4.5)."""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from contextblip.errors import ConfigurationError, DatasetError
from contextblip.types import Query
from data_modules.base import BaseDataModule
from data_modules.files import ImageFinder, first_file, read_text, require_file, subfolders
from data_modules.retrieval import CandidateSet, RetrievalCollate, RetrievalDataset, RetrievalItem
from data_modules.text import clean_retrieval_text
from data_modules.transforms import EvalTransform

NAME = "MMVP-VLM"
FOLDERS = ("mmvp_vlm", "MMVP_VLM", "mmvp", "MMVP", "mmvp_vlm_sample")
QUESTIONS_FILE = "Questions.csv"
IMAGE_FOLDER = "MLLM_VLM Images"
# as published, and as the published README spells it
IMAGE_FOLDERS = (IMAGE_FOLDER, "MMVP_VLM_Images", "MLLM_VLM_Images", "MMVP VLM Images")
N_PAIRS = 135
COLUMNS = ("Question ID", "Type", "Statement")

Pair = tuple[str, tuple[tuple[int, str], tuple[int, str]]]

log = logging.getLogger(__name__)


class MMVPVLMDataModule(BaseDataModule):
    """MMVP-VLM pairs.

    Source: https://huggingface.co/datasets/MMVP/MMVP_VLM (Tong et al., CVPR 2024), MIT. 135 pairs, 15 of each
    of 9 patterns; rows with the ids 2k-1 and 2k form a pair and have one ``Type``::

        MMVP_VLM/Questions.csv                       Question ID,Type,Statement
        MMVP_VLM/MLLM_VLM Images/<Type>/<id>.jpg     or MMVP_VLM_Images/<Type_with_underscores>/<id>.jpg

    A sample is one pair: ``images`` ``(2, 3, H, W)`` uint8 and two queries whose only phenomenon is the
    ``Type``; batches are ``RetrievalBatch`` with the protocol ``pairs``. There is nothing to train on;
    validate, test and predict see all pairs.

    Args:
        backbone: Source of the backbone; gives image size and vocabulary.
        root: Folder of the data, a parent, or ``miniature:DIR`` (drawn in DIR on first use).
        image_size: Side of the square input; ``None``: the backbone's.
        image_root: Folder of the images, if apart from ``Questions.csv``.
        tokenizer: A ``vocab.txt``, folder or hub id; ``None``: the backbone's own, else beside the data.
        prompt_prefix: Written before each statement; the paper's is "a photo of ".
        batch_size: Pairs a step and device.
        eval_batch_size: Pairs an evaluation step; ``None``: ``batch_size``.
        num_workers: Processes that load.
        max_words: Words kept of a statement, prefix included.
        max_tokens: Tokens kept of a statement, [CLS] and [SEP] included.
    """

    name = NAME

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
        questions = find_questions(self.root_folder)
        pairs = read_pairs(questions)
        if len(pairs) != N_PAIRS:
            log.warning(
                "%s: %s holds %s pairs, not the %s of the full set; do not report its accuracy as %s's",
                *(NAME, questions, len(pairs), N_PAIRS, NAME),
            )
        finder = ImageFinder(NAME, self.image_roots(questions.parent, IMAGE_FOLDERS))
        files = finder.find_all(image_names(pairs))
        sets = [
            CandidateSet(
                "-".join(str(number) for number, _ in pair),
                Path(),
                tuple(files[2 * row : 2 * row + 2]),
                False,
            )
            for row, (_, pair) in enumerate(pairs)
        ]
        items = [_make_item(row, sets[row].name, kind, pair) for row, (kind, pair) in enumerate(pairs)]
        self.dataset = RetrievalDataset(NAME, sets, items, EvalTransform(config.image_size), self.seed)
        self.setup_tokenizer(config)
        self.report_cut_texts(
            "all",
            [text for _, pair in pairs for _, text in pair],
            self.text_processor(clean_retrieval_text, self.prompt_prefix),
        )

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


def find_questions(root: Path) -> Path:
    """Find ``Questions.csv``.

    Args:
        root: The data set's own folder or a parent that holds it.

    Returns:
        Path of the file.

    Raises:
        DatasetNotFoundError: It lies in none of the usual places.
    """
    remedy = None
    if (
        root.is_dir()
        and (above := first_file(list(root.absolute().parents[:2]), [QUESTIONS_FILE])) is not None
    ):
        remedy = f"{root} lies too deep: set --data.root to {above.parent}"
    return require_file(NAME, subfolders(root, FOLDERS), [QUESTIONS_FILE], remedy=remedy)


def image_names(pairs: Sequence[Pair]) -> list[str]:
    """Name the images of the pairs.

    Args:
        pairs: As read.

    Returns:
        Paths as published, two a pair, odd id first.
    """
    return [f"{IMAGE_FOLDER}/{kind}/{number}.jpg" for kind, pair in pairs for number, _ in pair]


def read_pairs(path: Path) -> list[Pair]:
    """Read ``Questions.csv``.

    Args:
        path: The file.

    Returns:
        ``Type`` and, odd id first, id and statement of both rows, for each pair in file order.

    Raises:
        DatasetError: A column, a partner or an id is missing, an id stands twice, or a pair has two types.
    """
    rows = _read_rows(path)
    pairs: list[Pair] = []
    for number in rows:
        partner = number + 1 if number % 2 else number - 1
        if partner not in rows:
            raise DatasetError(
                f"{NAME}: {path} has question {number} without its partner {partner}; a pair is an odd id "
                "and the next even one, restore the missing row or remove this one"
            )
        if number % 2:
            (kind, first), (other_kind, second) = rows[number], rows[partner]
            if kind != other_kind:
                raise DatasetError(
                    f"{NAME}: {path}: pair {number}-{partner} has two types, {kind} and {other_kind}; "
                    "correct one or download the file again"
                )
            pairs.append((kind, ((number, first), (partner, second))))
    if not pairs:
        raise DatasetError(f"{NAME}: {path} holds no questions; download it again")
    return pairs


def _read_rows(path: Path) -> dict[int, tuple[str, str]]:
    """Type and statement by question id; statements may hold quotes and commas."""
    rows: dict[int, tuple[str, str]] = {}
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, NAME), newline=""))
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        if missing := [name for name in COLUMNS if name not in reader.fieldnames]:
            raise DatasetError(f"{NAME}: {path} lacks the column {missing[0]}; download it again")
        for row in reader:
            if not any(row.values()):
                continue  # what spreadsheets leave at the end
            if None in row:
                raise ValueError(f"question {row['Question ID']} has a comma outside quotes")
            number = int(_cell(row, "Question ID"))
            if number in rows:
                raise ValueError(f"question {number} stands twice")
            rows[number] = (_cell(row, "Type").strip(), _cell(row, "Statement"))
    except (csv.Error, ValueError) as error:
        raise DatasetError(f"{NAME}: {path} cannot be read ({error}); download it again") from error
    return rows


def _cell(row: dict[str, str | None], column: str) -> str:
    value = row[column]
    if not value or not value.strip():
        raise ValueError(f"question {row['Question ID']} has no {column}")
    return value


def _make_item(
    row: int, name: str, kind: str, pair: tuple[tuple[int, str], tuple[int, str]]
) -> RetrievalItem:
    first, second = (
        Query(
            set_name=name,
            query_index=index,
            text=text,
            phenomena=[kind],
            n_propositions=None,
            challenging=False,
            frames=[],
            samples=[],
            parts=[],
        )
        for index, (_, text) in enumerate(pair)
    )
    return RetrievalItem(row, (first, second), (0, 1))

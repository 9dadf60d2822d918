"""Count what texts are like: words, tokens, blanks, repeats, and how many a model would see cut."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contextblip.errors import ConfigurationError

if TYPE_CHECKING:  # a second of imports that a wrong root need not pay
    from transformers import BertTokenizer

Histogram = Counter[int]
PERCENTILES = (50, 95, 99)
# only COCO and Visual Genome have more texts a split, and for them a sample this large is as good as all
MOST_TOKENISED = 50_000


@dataclass(frozen=True)
class TextSettings:
    """How a model would read the texts.

    Attributes:
        tokenizer: The tokenizer; ``None`` where none could be loaded.
        source: The vocabulary it was read from, or why there is none.
        max_words: Words kept of a text.
        max_tokens: Tokens kept of a text, [CLS] and [SEP] included.
    """

    tokenizer: BertTokenizer | None
    source: str
    max_words: int
    max_tokens: int


@dataclass
class TextCounter:
    """Take texts one by one, in memory that grows by 8 bytes a text and the few that are tokenised.

    Attributes:
        n: Texts.
        words: How many texts have how many words, separated by white space.
        blank_ends: Texts that begin or end with white space.
        empty: Texts of nothing but white space.
        non_ascii: Texts with a character beyond ASCII.
    """

    n: int = 0
    words: Histogram = field(default_factory=Counter)
    blank_ends: int = 0
    empty: int = 0
    non_ascii: int = 0
    _hashes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, text: str) -> None:
        """Count one text."""
        stripped = text.strip()
        self.n += 1
        self.words[len(text.split())] += 1
        self.blank_ends += stripped != text
        self.empty += not stripped
        self.non_ascii += not text.isascii()
        self._hashes.append(hash(text))

    @property
    def repeats(self) -> int:
        """Texts that occurred before, letter by letter."""
        return self.n - len(np.unique(np.frombuffer(self._hashes, dtype=np.int64))) if self.n else 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for the report."""
        return {
            "texts": self.n,
            "words": describe(self.words),
            "blank_ends": self.blank_ends,
            "empty": self.empty,
            "repeats": self.repeats,
            "non_ascii": self.non_ascii,
        }


class EvenSample:
    """Keep evenly spaced texts of a stream whose length is not known before its end.

    Args:
        most: Most texts kept; of more than that, at least half as many.
    """

    def __init__(self, most: int = MOST_TOKENISED) -> None:
        self.most = most
        self.texts: list[str] = []
        self._stride = 1
        self._seen = 0

    def add(self, text: str) -> None:
        """Take the next text."""
        if self._seen % self._stride == 0:
            self.texts.append(text)
            if len(self.texts) > self.most:
                self.texts = self.texts[::2]
                self._stride *= 2
        self._seen += 1


def describe(histogram: Histogram) -> dict[str, float] | None:
    """Describe a distribution of whole numbers.

    Args:
        histogram: How often each number occurs.

    Returns:
        ``mean``, ``p50`` (the median), ``p95``, ``p99`` and ``max``; ``None`` where nothing was counted.
    """
    values = np.repeat(sorted(histogram), [histogram[value] for value in sorted(histogram)])
    if not len(values):
        return None
    percentiles = np.percentile(values, PERCENTILES)
    return {
        "mean": float(values.mean()),
        **{f"p{name}": float(value) for name, value in zip(PERCENTILES, percentiles, strict=True)},
        "max": int(values.max()),
    }


def count_tokens(texts: Sequence[str], tokenizer: BertTokenizer) -> Histogram:
    """Count the tokens of the published texts, whole and not cleaned, [CLS] and [SEP] included.

    Args:
        texts: As published.
        tokenizer: A BERT tokenizer.

    Returns:
        How many texts have how many tokens.
    """
    lengths: Histogram = Counter()
    for start in range(0, len(texts), 1000):
        ids = tokenizer(list(texts[start : start + 1000]), truncation=False, verbose=False)["input_ids"]
        lengths.update(map(len, ids))
    return lengths


def count_cuts(
    texts: Sequence[str], settings: TextSettings, clean: Callable[[str, int | None], str]
) -> dict[str, int] | None:
    """Count the texts of which a model would see only a part.

    Args:
        texts: As published.
        settings: How a model would read them.
        clean: The clean-up that its data module uses.

    Returns:
        Texts cut by words, by tokens and by either, and ``of`` how many; ``None`` without a tokenizer.
    """
    from data_modules.text import TextProcessor, count_cut_texts

    if settings.tokenizer is None or not texts:
        return None
    processor = TextProcessor(settings.tokenizer, clean, settings.max_words, settings.max_tokens)
    cut = count_cut_texts(texts, processor)
    return {"of": cut.n, "words": cut.words, "tokens": cut.tokens, "either": cut.either}


def add_cuts(parts: Sequence[dict[str, int] | None]) -> dict[str, int] | None:
    """Add what ``count_cuts`` returned for several splits; ``None`` where one has no counts."""
    counted = [part for part in parts if part is not None]
    if not counted or len(counted) < len(parts):
        return None
    return {key: sum(part[key] for part in counted) for key in counted[0]}


def load_settings(tokenizer: str | None, root: Path, max_words: int, max_tokens: int) -> TextSettings:
    """Load the tokenizer: the one named, else one beside the data.

    Args:
        tokenizer: A ``vocab.txt``, folder or hub id; ``None``: look beside the data.
        root: Root of the data set.
        max_words: Words kept of a text.
        max_tokens: Tokens kept of a text.

    Returns:
        The settings; without a tokenizer where none was named and none lies beside the data.

    Raises:
        ConfigurationError: The tokenizer that was named cannot be loaded.
    """
    from data_modules.text import DEFAULT_TOKENIZER, load_tokenizer

    source = tokenizer or _vocabulary_beside(root)
    remedy = f"put a vocab.txt into {root}, or name one by --tokenizer"
    if source is None:
        why = f"no vocab.txt beside the data; {remedy} (a file, or {DEFAULT_TOKENIZER} of the hub)"
        return TextSettings(None, f"no tokenizer: {why}", max_words, max_tokens)
    try:
        loaded, vocabulary = load_tokenizer(source)
    except ConfigurationError as error:
        if tokenizer is not None:
            raise ConfigurationError(str(error).replace("--data.tokenizer", "--tokenizer")) from error
        why = f"no tokenizer: {source} is no vocabulary of {DEFAULT_TOKENIZER}; {remedy}"
        return TextSettings(None, why, max_words, max_tokens)
    return TextSettings(loaded, str(vocabulary), max_words, max_tokens)


def _vocabulary_beside(root: Path) -> str | None:
    """Find a ``vocab.txt`` where data modules look for one."""
    from data_modules.text import DEFAULT_TOKENIZER

    parent = root.resolve().parent  # a root such as "." has no parent in its name
    folders = (root, parent, root / DEFAULT_TOKENIZER, parent / DEFAULT_TOKENIZER)
    found = (folder / "vocab.txt" for folder in folders if (folder / "vocab.txt").is_file())
    return next((str(path) for path in found), None)

"""From a published text to token ids: the two published clean-ups, tokenizer loading, batches of tokens."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import ne, or_
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from contextblip.errors import ConfigurationError
from contextblip.models.config import PRESETS, BackboneConfig

if TYPE_CHECKING:  # a second of imports that `--help` need not pay
    from transformers import BertTokenizer

DEFAULT_TOKENIZER = "bert-base-uncased"
HUB_TIMEOUT = 5.0
SPECIAL_TOKENS = ("[DEC]", "[ENC]")

_RETRIEVAL_DELETED = re.compile(r"[,.'!?\"()*#:;~]")
_RETRIEVAL_BLANKED = re.compile(r"[-/]")
_CAPTION_BLANKED = re.compile(r"[.!\"()*#:;~]")
_SPACES = re.compile(r"\s{2,}")


def _tidy(text: str, max_words: int | None) -> str:
    """Merge runs of white space, strip, and keep the first ``max_words`` words."""
    # only runs are merged and only blanks and line ends stripped: a lone tab stays, as published
    text = _SPACES.sub(" ", text).rstrip("\n").strip(" ")
    return text if max_words is None else " ".join(text.split(" ")[:max_words])


def clean_retrieval_text(text: str, max_words: int | None = 30) -> str:
    """Clean a description as ContextBLIP's fine-tuning and zero-shot code does.

    Lower-cases, deletes ``,.'!?"()*#:;~``, turns ``-`` and ``/`` into spaces.

    Args:
        text: The published text.
        max_words: Words kept; ``None`` keeps all.

    Returns:
        The cleaned text.
    """
    text = _RETRIEVAL_DELETED.sub("", text.lower())
    return _tidy(_RETRIEVAL_BLANKED.sub(" ", text), max_words)


def clean_caption(text: str, max_words: int | None = 30) -> str:
    """Clean a caption as Salesforce's BLIP does in pre-training.

    Lower-cases and turns ``.!"()*#:;~`` into spaces; commas, apostrophes and hyphens stay.

    Args:
        text: The published text.
        max_words: Words kept; ``None`` keeps all.

    Returns:
        The cleaned text.
    """
    return _tidy(_CAPTION_BLANKED.sub(" ", text.lower()), max_words)


def load_tokenizer(source: str) -> tuple["BertTokenizer", Path]:
    """Load a BERT tokenizer and add [DEC] and [ENC], as BLIP does.

    Args:
        source: A ``vocab.txt``, a folder that holds one, or a hub id.

    Returns:
        The tokenizer and the ``vocab.txt`` it was read from.

    Raises:
        ConfigurationError: Nothing can be loaded from ``source``.
    """
    # workers are forked after the tokenizer ran; its thread pool would not survive and would warn
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import BertTokenizer

    vocabulary = _find_vocabulary(source)
    try:
        tokenizer = BertTokenizer(vocab=str(vocabulary))
    except Exception as error:  # the tokenizer's own library raises plain exceptions
        raise ConfigurationError(
            f"tokenizer {source!r}: {vocabulary} is no WordPiece vocabulary ({_first_line(error)}); "
            "pass another by --data.tokenizer"
        ) from error
    tokenizer.add_tokens(list(SPECIAL_TOKENS), special_tokens=True)
    return tokenizer, vocabulary


def _find_vocabulary(source: str) -> Path:
    """Return the local ``vocab.txt`` of a file, a folder or a hub id (asked once, then cached)."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if (path / "vocab.txt").is_file():
        return path / "vocab.txt"
    if path.exists() or path.suffix == ".txt" or source.startswith(("/", ".", "~")):
        raise ConfigurationError(
            f"tokenizer {source!r}: no vocab.txt there; pass a vocab.txt, a folder that holds one, "
            "or a hub id by --data.tokenizer"
        )
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        if (cached := _cached_vocabulary(source)) is not None:
            return cached
        # asked once before the download asks: that tries for half a minute where there is no network
        get_hf_file_metadata(hf_hub_url(source, "vocab.txt"), timeout=HUB_TIMEOUT)
        return Path(hf_hub_download(source, "vocab.txt"))
    except Exception as error:  # the hub raises its own, the HTTP library's and the system's errors
        raise ConfigurationError(
            f"tokenizer {source!r}: no such file or folder here, and the Hugging Face hub does not give it "
            f"({_first_line(error)}); pass its vocab.txt, or a folder that holds it, by --data.tokenizer"
        ) from error


def vocabulary_beside(root: Path, config: BackboneConfig, backbone: str) -> str:
    """Choose a vocabulary for a backbone that brings none: one beside the data that fits, else BERT's.

    The hub is not asked, only what it gave before: what uses the network is named by the user.

    Args:
        root: Folder of the data set, or a parent.
        config: Sizes of the backbone.
        backbone: Where the backbone comes from, for the message.

    Returns:
        A ``vocab.txt``, beside the data or bert-base-uncased's in the hub's local cache.

    Raises:
        ConfigurationError: None beside the data fits, nor is or fits BERT's.
    """
    for folder in (root, root.parent, root / DEFAULT_TOKENIZER, root.parent / DEFAULT_TOKENIZER):
        path = folder / "vocab.txt"
        # [DEC] and [ENC] come on top of the file's lines
        if path.is_file() and len(path.read_text(encoding="utf-8").splitlines()) + 2 == config.vocab_size:
            return str(path)
    missing = f"backbone {backbone} brings no vocabulary and no vocab.txt beside {root} has its "
    if config.vocab_size != PRESETS["base"].vocab_size:
        raise ConfigurationError(f"{missing}{config.vocab_size - 2} lines; pass one by --data.tokenizer")
    if (cached := _cached_vocabulary(DEFAULT_TOKENIZER)) is None:
        raise ConfigurationError(
            f"{missing}{config.vocab_size - 2} lines; pass one by --data.tokenizer, or --data.tokenizer "
            f"{DEFAULT_TOKENIZER} to fetch BERT's from the Hugging Face hub"
        )
    return str(cached)


def _cached_vocabulary(hub_id: str) -> Path | None:
    """Return a hub id's ``vocab.txt`` that was downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, "vocab.txt")
    return Path(cached) if isinstance(cached, str) else None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def check_tokenizer(
    tokenizer: "BertTokenizer", config: BackboneConfig, source: str, backbone: str, max_tokens: int
) -> None:
    """Check that a tokenizer's ids are those the backbone was trained with.

    Args:
        tokenizer: With [DEC] and [ENC] added.
        config: Sizes of the backbone.
        source: Where the tokenizer comes from, for the message.
        backbone: Where the backbone comes from, for the message.
        max_tokens: Longest text, [CLS] and [SEP] included.

    Raises:
        ConfigurationError: An id or a size differs, or ``max_tokens`` is out of range.
    """
    enc_token_id = tokenizer.convert_tokens_to_ids("[ENC]")
    if enc_token_id != config.enc_token_id or len(tokenizer) > config.vocab_size:
        raise ConfigurationError(
            f"tokenizer {source} has {len(tokenizer)} tokens with [ENC] {enc_token_id}, but backbone "
            f"{backbone} has {config.vocab_size} with [ENC] {config.enc_token_id}; pass the backbone's own "
            "vocabulary by --data.tokenizer"
        )
    if tokenizer.pad_token_id != config.pad_token_id:
        raise ConfigurationError(
            f"tokenizer {source} pads with id {tokenizer.pad_token_id}, but backbone {backbone} "
            f"with {config.pad_token_id}; pass the backbone's own vocabulary by --data.tokenizer"
        )
    if not 3 <= max_tokens <= config.max_positions:
        raise ConfigurationError(
            f"--data.max_tokens is {max_tokens}, expected 3 to {config.max_positions}, "
            f"the longest text of backbone {backbone}"
        )


@dataclass(frozen=True)
class TextProcessor:
    """Clean and tokenise a batch of texts.

    Attributes:
        tokenizer: A BERT tokenizer.
        clean: One of the two published clean-ups.
        max_words: Words kept by the clean-up; ``None`` keeps all.
        max_tokens: Tokens kept, [CLS] and [SEP] included; [SEP] stays last.
        prefix: Written before every text, before the clean-up.
    """

    tokenizer: "BertTokenizer"
    clean: Callable[[str, int | None], str]
    max_words: int | None = 30
    max_tokens: int = 30
    prefix: str = ""

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokenise texts, padded to the batch's longest.

        Args:
            texts: B published texts.

        Returns:
            Token ids and attention mask, each ``(B, L)`` int64.
        """
        cleaned = [self.clean(self.prefix + text, self.max_words) for text in texts]
        encoded = self.tokenizer(cleaned, truncation=True, max_length=self.max_tokens, padding="longest")
        return torch.tensor(encoded["input_ids"]), torch.tensor(encoded["attention_mask"])


@dataclass(frozen=True)
class CutTexts:
    """How many texts lose something of their end.

    Attributes:
        n: Texts looked at.
        words: Those with more words than ``max_words``.
        tokens: Those with more tokens than ``max_tokens`` although their words were cut.
        either: Those that lose anything.
    """

    n: int
    words: int
    tokens: int
    either: int

    def describe(self, processor: TextProcessor) -> str:
        """Say it in words, with the limits that did it."""
        shares = [f"{100 * count / max(self.n, 1):.1f}%" for count in (self.either, self.words, self.tokens)]
        limits = [f"{shares[2]} at max_tokens {processor.max_tokens}"]
        if processor.max_words is not None:
            limits.insert(0, f"{shares[1]} at max_words {processor.max_words}")
        return f"{shares[0]} of {self.n:,} texts are cut ({', '.join(limits)})"


def count_cut_texts(texts: Sequence[str], processor: TextProcessor) -> CutTexts:
    """Count the texts that a processor does not keep whole.

    Args:
        texts: Published texts.
        processor: Clean-up, tokenizer and their limits.

    Returns:
        The counts over all of the texts.
    """
    words = tokens = either = 0
    for start in range(0, len(texts), 1000):  # in parts: the ids of a million texts would fill the memory
        published = [processor.prefix + text for text in texts[start : start + 1000]]
        whole = [processor.clean(text, None) for text in published]
        kept = [processor.clean(text, processor.max_words) for text in published]
        by_words = list(map(ne, whole, kept))
        encoded = processor.tokenizer(kept, return_attention_mask=False, return_token_type_ids=False)
        by_tokens = [len(ids) > processor.max_tokens for ids in encoded["input_ids"]]
        words += sum(by_words)
        tokens += sum(by_tokens)
        either += sum(map(or_, by_words, by_tokens))
    return CutTexts(len(texts), words, tokens, either)


def sample_evenly(texts: Sequence[str], most: int) -> Sequence[str]:
    """Return at most ``most`` evenly spaced texts, all of them where there are no more."""
    if len(texts) <= most:
        return texts
    return [texts[number * len(texts) // most] for number in range(most)]

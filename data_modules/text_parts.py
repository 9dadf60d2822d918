"""Split descriptions into parts that are scored one by one: sentences, or given propositions."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from lightning.pytorch.utilities import rank_zero_info

from contextblip.errors import DatasetError
from contextblip.types import Query
from data_modules.retrieval import RetrievalItem

TextPartsKind = Literal["whole", "sentences", "propositions"]

_STOP = re.compile(r"(?P<stop>[.!?…]+)(?P<closing>[\"'”’)\]]*)(?=\s|[A-Z]|$)")
_OPENING = "\"'“‘(["
# these never end a sentence
_NEVER_LAST = frozenset(["mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e", "cf", "fig", "approx"])
# these end one only before a capital
_MAY_BE_LAST = frozenset(["etc", "al", "inc", "ltd", "co", "corp", "jr", "sr"])
_LETTERS_WITH_STOPS = re.compile(r"(?:[a-z]\.)+[a-z]")  # a.m., U.S.
_INITIAL = re.compile(r"(?:^|\b[A-Z][\w.]+\s+)[A-Z]$")  # J. Smith, George W. Bush


def split_sentences(text: str) -> list[str]:
    """Split a description into sentences.

    A sentence ends at a full stop, question or exclamation mark, also before a small letter or without a
    blank before a capital, since descriptions are typed in haste; not within numbers, after abbreviations or
    initials, after the number of a list, or at dots that a small letter follows.

    Args:
        text: The published text, with a letter or digit in it.

    Returns:
        Sentences in order with their marks, none without a letter or digit; the stripped text where it has
        no more than one.
    """
    sentences, start = [], 0
    for match in _STOP.finditer(text):
        if _is_end(text[start : match.start()], match["stop"], text[match.end() :]):
            sentences.append(text[start : match.end()].strip())
            start = match.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if any(map(str.isalnum, sentence))] or [text.strip()]


def _is_end(before: str, stop: str, after: str) -> bool:
    """Tell whether a mark between what stands before it in the sentence and after it ends the sentence."""
    following = after.lstrip().lstrip(_OPENING)[:1]
    if stop != ".":
        return not (following.islower() and ("…" in stop or ".." in stop))
    words = before.split()
    word = words[-1].lstrip(_OPENING) if words else ""
    lowered = word.lower()
    if lowered in _NEVER_LAST or (lowered == "no" and following.isdigit()):
        return False
    if not after[:1].isspace() and after and not word[-1:].islower():
        return False  # a capital right behind: only a small letter before it tells of a forgotten blank
    if lowered in _MAY_BE_LAST or _LETTERS_WITH_STOPS.fullmatch(lowered):
        return not following.islower()
    is_number_of_list = len(words) == 1 and word.isdigit()
    is_initial = following.isupper() and _INITIAL.search(" ".join(words)) is not None
    return not is_number_of_list and not is_initial


def with_parts(
    name: str,
    items: Sequence[RetrievalItem],
    kind: TextPartsKind,
    split: Callable[[str], Sequence[str]],
) -> list[RetrievalItem]:
    """Give the queries the parts that their texts are scored by, and say in one line how many there are.

    Args:
        name: Name of data set and split, for the line.
        items: Queries, in file order.
        kind: What the parts are called.
        split: From a published text to its parts; blank ones are left out, and a text of which none is left
            is scored whole.

    Returns:
        The items with their queries' ``parts``.

    Raises:
        DatasetError: No text has parts, so that the file they are from is another split's.
    """
    found = [
        replace(item, queries=tuple(_with_parts(query, split(query["text"])) for query in item.queries))
        for item in items
    ]
    counts = [len(query["parts"]) for item in found for query in item.queries]
    whole = counts.count(0)
    if whole == len(counts):
        raise DatasetError(
            f"{name}: none of the {len(counts):,} texts has {kind}; are they another split's? "
            "Download their file again or set --data.text_parts sentences"
        )
    line = f"{name}: {len(counts) - whole:,} texts are scored by {sum(counts):,} {kind}"
    rank_zero_info(f"{line}; {whole:,} without any are scored whole" if whole else line)
    return found


def _with_parts(query: Query, parts: Sequence[str]) -> Query:
    changed = query.copy()
    changed["parts"] = [part for part in parts if part.strip()]
    return changed

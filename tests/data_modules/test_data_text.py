"""Clean-ups as published, tokenizers as BLIP extends them."""

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch

from contextblip.errors import ConfigurationError
from contextblip.models.config import PRESETS
from data_modules.text import (
    CutTexts,
    TextProcessor,
    check_tokenizer,
    clean_caption,
    clean_retrieval_text,
    count_cut_texts,
    load_tokenizer,
    sample_evenly,
    vocabulary_beside,
)


def test_clean_ups_are_the_published_ones(parity: Path) -> None:
    cases = json.loads((parity / "pre_caption_cases.json").read_text(encoding="utf-8"))
    assert len(cases) > 50
    for case in cases:
        assert clean_retrieval_text(case["text"]) == case["finetune_zeroshot"]
        assert clean_caption(case["text"]) == case["pretrain_blip30"]


@pytest.mark.parametrize(
    ("text", "retrieval", "caption"),
    [
        ("A Dog's bowl, half-full. ", "a dogs bowl half full", "a dog's bowl, half-full"),
        ('the "Q" (left)/right #2', "the q left right 2", "the q left /right 2"),
        ("  two   blanks\n", "two blanks", "two blanks"),
        ("one\ttab", "one\ttab", "one\ttab"),
        ("", "", ""),
    ],
)
def test_clean_up_cases(text: str, retrieval: str, caption: str) -> None:
    assert clean_retrieval_text(text) == retrieval
    assert clean_caption(text) == caption


@pytest.mark.parametrize("clean", [clean_retrieval_text, clean_caption])
def test_max_words(clean: Callable[[str, int | None], str]) -> None:
    text = " ".join(f"w{number}" for number in range(40))
    assert clean(text, 30) == " ".join(f"w{number}" for number in range(30))
    assert clean(text, 3) == "w0 w1 w2"
    assert clean(text, None) == text


def test_ids_of_the_added_tokens(world: Path) -> None:
    tokenizer, vocabulary = load_tokenizer(str(world))
    assert vocabulary == world / "vocab.txt"
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[DEC]", "[ENC]"]) == [0, 510, 511]
    assert len(tokenizer) == 512
    check_tokenizer(tokenizer, PRESETS["miniature"], "vocab.txt", "tiny", max_tokens=30)


def test_ids_of_the_real_vocabulary(real_data: Path) -> None:
    tokenizer, _ = load_tokenizer(str(real_data / "bert-base-uncased" / "vocab.txt"))
    assert tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", "[DEC]", "[ENC]"]) == [101, 102, 30522, 30523]
    check_tokenizer(tokenizer, PRESETS["base"], "vocab.txt", "random:base", max_tokens=30)


def test_foreign_tokenizer_is_refused_with_both_names(world: Path) -> None:
    tokenizer, _ = load_tokenizer(str(world))
    with pytest.raises(ConfigurationError, match=r"tokenizer mine has 512 .* backbone random:base has 30524"):
        check_tokenizer(tokenizer, PRESETS["base"], "mine", "random:base", max_tokens=30)


@pytest.mark.parametrize("max_tokens", [2, 65])
def test_max_tokens_out_of_range(world: Path, max_tokens: int) -> None:
    tokenizer, _ = load_tokenizer(str(world))
    with pytest.raises(ConfigurationError, match=f"--data.max_tokens is {max_tokens}, expected 3 to 64"):
        check_tokenizer(tokenizer, PRESETS["miniature"], "mine", "tiny", max_tokens=max_tokens)


def test_missing_vocabulary(tmp_path: Path) -> None:
    for source in (str(tmp_path), str(tmp_path / "vocab.txt"), "vocab_of_nobody.txt"):
        with pytest.raises(ConfigurationError, match=r"no vocab\.txt there; pass .* by --data\.tokenizer"):
            load_tokenizer(source)


def test_hub_that_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, timeout: float) -> None:
        raise OSError(f"no route to {url} in {timeout} s\nsecond line")

    def download(repo_id: str, filename: str) -> str:
        raise AssertionError(f"{repo_id}/{filename} is asked for, with all of the hub's own retries")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    with pytest.raises(ConfigurationError, match="no-such-tokenizer") as error:
        load_tokenizer("no-such-tokenizer")
    assert "no route to https://huggingface.co/no-such-tokenizer/resolve/main/vocab.txt" in str(error.value)
    assert "pass its vocab.txt, or a folder that holds it, by --data.tokenizer" in str(error.value)
    assert "\n" not in str(error.value)


def test_hub_that_gives_it(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: str(world / "vocab.txt"))
    assert load_tokenizer("some-tokenizer")[1] == world / "vocab.txt"


def test_hub_cache_needs_no_network(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(world / "vocab.txt"))
    tokenizer, vocabulary = load_tokenizer("cached-tokenizer")
    assert len(tokenizer) == 512
    assert vocabulary == world / "vocab.txt"


def test_a_vocabulary_that_lies_nowhere_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object, **__: object) -> None:
        raise AssertionError("the hub is asked for what nobody named")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", ask)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    with pytest.raises(ConfigurationError) as error:
        vocabulary_beside(tmp_path, PRESETS["base"], "model_base.pth")
    assert str(error.value) == (
        f"backbone model_base.pth brings no vocabulary and no vocab.txt beside {tmp_path} has its 30522 "
        "lines; pass one by --data.tokenizer, or --data.tokenizer bert-base-uncased to fetch BERT's from the "
        "Hugging Face hub"
    )
    # fetched before, it needs no network
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "cached.txt"))
    assert vocabulary_beside(tmp_path, PRESETS["base"], "model_base.pth") == str(tmp_path / "cached.txt")
    # beside the data one is taken that has the backbone's number of lines
    beside = tmp_path / "vocab.txt"
    for lines, found in ((30521, tmp_path / "cached.txt"), (30522, beside)):
        beside.write_text("word\n" * lines)
        assert vocabulary_beside(tmp_path / "data", PRESETS["base"], "model_base.pth") == str(found)


def test_batches_are_padded_to_their_longest_and_end_with_sep(world: Path) -> None:
    tokenizer, _ = load_tokenizer(str(world))
    text = TextProcessor(tokenizer, clean_caption, max_words=None, max_tokens=6)
    input_ids, attention_mask = text(["red", "a red circle left of a blue square"])
    assert input_ids.shape == attention_mask.shape == (2, 6)
    assert input_ids.dtype == attention_mask.dtype == torch.int64
    assert attention_mask.tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert input_ids[:, 0].tolist() == [tokenizer.cls_token_id] * 2
    assert input_ids[0, 2] == input_ids[1, 5] == tokenizer.sep_token_id
    assert text(["red"])[0].shape == (1, 3)


def test_prefix_comes_before_the_clean_up(world: Path) -> None:
    tokenizer, _ = load_tokenizer(str(world))
    plain = TextProcessor(tokenizer, clean_retrieval_text)
    prefixed = TextProcessor(tokenizer, clean_retrieval_text, prefix="A red ")
    assert torch.equal(prefixed(["circle"])[0], plain(["a red circle"])[0])


def test_cut_texts_are_those_the_processor_shortens(world: Path) -> None:
    tokenizer, _ = load_tokenizer(str(world))
    texts = ["red", "a red, red circle!", "a - red - circle", "a circle left of a square", ""]
    words = TextProcessor(tokenizer, clean_retrieval_text, max_words=3, max_tokens=30)
    tokens = TextProcessor(tokenizer, clean_retrieval_text, max_words=None, max_tokens=6)
    both = TextProcessor(tokenizer, clean_retrieval_text, max_words=3, max_tokens=4)
    assert count_cut_texts(texts, words) == CutTexts(5, 2, 0, 2)
    # "left" and "of" are tokens of their own; punctuation that is cleaned away counts nowhere
    assert count_cut_texts(texts, tokens) == CutTexts(5, 0, 1, 1)
    assert count_cut_texts(texts, both) == CutTexts(5, 2, 3, 3)
    assert count_cut_texts([], both) == CutTexts(0, 0, 0, 0)


def test_the_prefix_counts(world: Path) -> None:
    tokenizer, _ = load_tokenizer(str(world))
    text = TextProcessor(tokenizer, clean_retrieval_text, max_words=3, prefix="a ")
    assert count_cut_texts(["red circle", "red circle left"], text).words == 1


def test_words_and_shares_of_cut_texts(world: Path) -> None:
    tokenizer, _ = load_tokenizer(str(world))
    text = TextProcessor(tokenizer, clean_retrieval_text, max_words=None, max_tokens=6)
    line = CutTexts(2000, 0, 346, 346).describe(text)
    assert line == "17.3% of 2,000 texts are cut (17.3% at max_tokens 6)"
    assert CutTexts(0, 0, 0, 0).describe(text).startswith("0.0% of 0 texts")


def test_more_than_one_part_is_counted(world: Path) -> None:
    tokenizer, _ = load_tokenizer(str(world))
    text = TextProcessor(tokenizer, clean_retrieval_text, max_words=2)
    texts = ["a red circle"] * 1500 + ["red"] * 700
    assert count_cut_texts(texts, text) == CutTexts(2200, 1500, 0, 1500)


def test_even_samples() -> None:
    texts = [str(number) for number in range(10)]
    assert sample_evenly(texts, 10) is texts
    assert sample_evenly(texts, 4) == ["0", "2", "5", "7"]

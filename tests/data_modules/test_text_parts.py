"""Splitting descriptions into sentences or propositions, and the batches that come of it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from data_modules import ImageCoDeDataModule
from data_modules.imagecode_files import read_descriptions, read_proposition_texts, read_propositions
from data_modules.text_parts import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("a man", ["a man"]),
        ("  A man.  He sits! Is it red?  ", ["A man.", "He sits!", "Is it red?"]),
        ("a man. he sits", ["a man.", "he sits"]),  # typed in haste
        ("a brown tint.The top comic", ["a brown tint.", "The top comic"]),
        ("There are 1.5 planks. The time is 4:20.", ["There are 1.5 planks.", "The time is 4:20."]),
        ("Family of 5. Everyone smiles", ["Family of 5.", "Everyone smiles"]),
        ("the hand... is up... The end...", ["the hand... is up...", "The end..."]),
        ("out of view.. ", ["out of view.."]),
        (
            "Mr. Crab, i.e. a crab, vs. Dr. Who at approx. 5 ft",
            ["Mr. Crab, i.e. a crab, vs. Dr. Who at approx. 5 ft"],
        ),
        ("Spongebob shakes Mr.Crabs", ["Spongebob shakes Mr.Crabs"]),
        ("cups, pans, etc. on a shelf. No. 7 wins", ["cups, pans, etc. on a shelf.", "No. 7 wins"]),
        ("Cups, pans, etc. He cooks at 5 p.m. with her", ["Cups, pans, etc.", "He cooks at 5 p.m. with her"]),
        ("J. Smith met George W. Bush. He waved", ["J. Smith met George W. Bush.", "He waved"]),
        ("touching the edge of the A. The photo", ["touching the edge of the A.", "The photo"]),
        ('fingers like a "V". The thumb', ['fingers like a "V".', "The thumb"]),
        ('She says "stop!" Then he goes.', ['She says "stop!"', "Then he goes."]),
        ("1. A dog sits. He barks", ["1. A dog sits.", "He barks"]),
        ("toward his body. .  ", ["toward his body."]),  # a lone mark is no sentence
        ("T", ["T"]),
        ("...", ["..."]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_sentences_of_the_real_texts_lose_no_letter(real_data: Path) -> None:
    texts = [
        text
        for name in ("train_data.json", "valid_data.json", "test_data_unlabeled.json")
        for rows in read_descriptions(real_data / "imagecode" / name).values()
        for _, text in rows
    ]
    assert len(texts) == 21_202
    several = 0
    for text in texts:
        sentences = split_sentences(text)
        assert all(sentence == sentence.strip() != "" for sentence in sentences)
        assert list(filter(str.isalnum, "".join(sentences))) == list(filter(str.isalnum, text))
        several += len(sentences) > 1
    assert 0.4 < several / len(texts) < 0.5


def make(backbone: Path, root: Path, **keys: Any) -> ImageCoDeDataModule:  # noqa: ANN401
    return ImageCoDeDataModule(str(backbone), str(root), **{"batch_size": 4, "num_workers": 0, **keys})


def rewrite(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def test_whole_texts_have_no_parts(backbone: Path, imagecode_folder: Path) -> None:
    module = make(backbone, imagecode_folder)
    module.setup("test")
    (batch,) = list(module.test_dataloader())
    assert batch["parts"] is None
    assert not any(query["parts"] for query in batch["queries"])


def test_propositions_of_a_batch(
    backbone: Path, imagecode_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Blank ones are dropped; a text without any comes whole; n_propositions keeps counting all."""
    rewrite(imagecode_folder / "valid_split.json", {"a circle ": ["a", " ", "circle a"], "a square": ["b"]})
    module = make(backbone, imagecode_folder, text_parts="propositions")
    with caplog.at_level(logging.INFO):
        module.setup("test")
    (line,) = [text for text in caplog.messages if "scored by" in text]
    assert line == ("IMAGECODE valid: 2 texts are scored by 3 propositions; 1 without any are scored whole")
    (batch,) = list(module.test_dataloader())
    assert [query["parts"] for query in batch["queries"]] == [["a", "circle a"], [], ["b"]]
    assert [query["n_propositions"] for query in batch["queries"]] == [3, None, 1]
    parts = batch["parts"]
    assert parts["query_index"].tolist() == [0, 0, 1, 2]
    text = module.text_processor(lambda text, _: text)
    input_ids, attention_mask = text(["a", "circle a", "a red circle", "b"])
    assert torch.equal(parts["input_ids"], input_ids)
    assert torch.equal(parts["attention_mask"], attention_mask)
    whole = make(backbone, imagecode_folder)
    whole.setup("test")
    (expected,) = list(whole.test_dataloader())
    assert torch.equal(batch["input_ids"], expected["input_ids"])


def test_sentences_of_a_batch(backbone: Path, imagecode_folder: Path) -> None:
    rewrite(
        imagecode_folder / "test_data_unlabeled.json", {"open-images-1_00": ["a circle. red. ", "a square"]}
    )
    module = make(backbone, imagecode_folder, text_parts="sentences")
    module.setup("predict")
    (batch,) = list(module.predict_dataloader())
    assert [query["parts"] for query in batch["queries"]] == [["a circle.", "red."], ["a square"]]
    assert batch["parts"]["query_index"].tolist() == [0, 0, 1]
    assert int(batch["target_index"].max()) == -1


def test_limits_hold_for_each_part(
    backbone: Path, imagecode_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(
        imagecode_folder / "valid_split.json", {"a circle ": ["a red", "a blue"], "a square": ["a square"]}
    )
    module = make(backbone, imagecode_folder, text_parts="propositions", max_words=2)
    with caplog.at_level(logging.INFO):
        module.setup("test")
    assert any("25.0% of 4 texts are cut" in text for text in caplog.messages), "only the whole text is"


def test_no_file_of_propositions(backbone: Path, imagecode_folder: Path) -> None:
    (imagecode_folder / "valid_split.json").unlink()
    with pytest.raises(
        DatasetNotFoundError,
        match="IMAGECODE valid: --data.text_parts propositions, but no valid_split.json or "
        "dev_model_split_2.json in .*: put it there, or set --data.text_parts sentences",
    ):
        make(backbone, imagecode_folder, text_parts="propositions").setup("validate")
    with pytest.raises(DatasetNotFoundError, match="IMAGECODE train: .* none are published: set"):
        make(backbone, imagecode_folder, text_parts="propositions", test_split="train").setup("test")


def test_propositions_of_another_split(backbone: Path, imagecode_folder: Path) -> None:
    rewrite(imagecode_folder / "valid_split.json", {"another text": ["b"]})
    with pytest.raises(DatasetError, match="none of the 3 texts has propositions; are they another split's"):
        make(backbone, imagecode_folder, text_parts="propositions").setup("test")


@pytest.mark.parametrize("text_parts", ["sentences", "propositions"])
def test_training_takes_whole_texts(backbone: Path, imagecode_folder: Path, text_parts: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--data.text_parts {text_parts} is for test, validate"):
        make(backbone, imagecode_folder, text_parts=text_parts).setup("fit")


@pytest.mark.parametrize("content", [[], {"a": "b"}, {"a": [1]}])
def test_a_file_of_another_form(tmp_path: Path, content: object) -> None:
    rewrite(tmp_path / "x.json", content)
    with pytest.raises(DatasetError, match="is not an object of text and propositions"):
        read_proposition_texts(tmp_path / "x.json")


def test_real_propositions_cover_every_text(real_data: Path, backbone: Path, world: Path) -> None:
    root = real_data / "imagecode"
    texts = read_proposition_texts(root / "valid_split.json")
    assert sum(not part.strip() for parts in texts.values() for part in parts) == 4
    assert all(any(part.strip() for part in parts) for parts in texts.values())
    assert {text: len(parts) for text, parts in texts.items()} == read_propositions(root / "valid_split.json")
    module = make(
        backbone,
        root / "mini",
        image_root=str(root),
        tokenizer=str(world),
        text_parts="propositions",
        batch_size=34,
    )
    module.setup("validate")
    queries = [item.queries[0] for item in module.datasets["val"].items]
    assert len(queries) == 34
    for query in queries:
        assert query["parts"] == [part for part in texts[query["text"]] if part.strip()]

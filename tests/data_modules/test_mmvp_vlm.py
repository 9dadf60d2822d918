"""MMVP-VLM: pairs by question id, patterns by Type."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from data_modules import MMVPVLMDataModule
from data_modules.mmvp_vlm import read_pairs

HEADER = "Question ID,Type,Statement\n"


def make(backbone: Path, root: Path, **keys: Any) -> MMVPVLMDataModule:  # noqa: ANN401
    """A module that loads in this process."""
    return MMVPVLMDataModule(str(backbone), str(root), **{"num_workers": 0, **keys})


def test_all_pairs_of_the_world(backbone: Path, world: Path) -> None:
    module = make(backbone, world, batch_size=16)
    module.setup("test")
    batches = list(module.test_dataloader())
    assert [len(batch["images"]) for batch in batches] == [16] * 8 + [7]
    queries = [query for batch in batches for query in batch["queries"]]
    assert len(queries) == 270
    kinds = Counter(query["phenomena"][0] for query in queries)
    assert len(kinds) == 9
    assert set(kinds.values()) == {30}
    assert [len(list(loader())) for loader in (module.val_dataloader, module.predict_dataloader)] == [9, 9]


def test_form_of_a_real_batch(backbone: Path, real_data: Path, world: Path) -> None:
    module = make(backbone, real_data / "mmvp_vlm_sample", tokenizer=str(world))
    module.setup("test")
    (batch,) = list(module.test_dataloader())
    assert batch["images"].shape == (4, 2, 3, 32, 32)
    assert batch["candidate_mask"].all()
    assert batch["set_index"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert batch["target_index"].tolist() == [0, 1] * 4
    assert not batch["is_video"].any()
    assert batch["protocol"] == "pairs"
    assert batch["queries"][6] == {
        "set_name": "7-8",
        "query_index": 0,
        "text": 'letter "Q" in it',
        "phenomena": ["Text"],
        "n_propositions": None,
    }
    assert not torch.equal(batch["images"][0, 0], batch["images"][0, 1])


def test_prefix_is_tokenised_and_not_stored(real_data: Path) -> None:
    vocabulary = str(real_data / "bert-base-uncased")
    sample = real_data / "mmvp_vlm_sample"
    decoded = []
    for prefix in ("a photo of ", ""):
        module = MMVPVLMDataModule(
            "random:base", str(sample), tokenizer=vocabulary, prompt_prefix=prefix, num_workers=0
        )
        module.setup("test")
        batch = next(iter(module.test_dataloader()))
        decoded.append(module.tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True))
        assert batch["queries"][0]["text"] == "people standing"
    assert decoded == ["a photo of people standing", "people standing"]


def test_pairs_follow_the_ids_not_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "Questions.csv"
    path.write_text(HEADER + '4,Color,"blue, no red"\n1,Text,"letter ""Q"""\n3,Color,red\n2,Text,b\n')
    assert read_pairs(path) == [
        ("Text", ((1, 'letter "Q"'), (2, "b"))),
        ("Color", ((3, "red"), (4, "blue, no red"))),
    ]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("1,Text,a\n", "question 1 without its partner 2"),
        ("2,Text,a\n", "question 2 without its partner 1"),
        ("1,Text,a\n2,Color,b\n", "pair 1-2 has two types, Text and Color"),
        ("one,Text,a\n", "cannot be read"),
        ("1,Text\n", r"cannot be read \(question 1 has no Statement\)"),
    ],
)
def test_broken_questions(tmp_path: Path, rows: str, reason: str) -> None:
    path = tmp_path / "Questions.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(DatasetError, match=f"MMVP-VLM: {path}.*{reason}"):
        read_pairs(path)


def test_missing_column(tmp_path: Path) -> None:
    (tmp_path / "Questions.csv").write_text("Question ID,Statement\n1,a\n2,b\n")
    with pytest.raises(DatasetError, match="lacks the column Type"):
        read_pairs(tmp_path / "Questions.csv")


def test_missing_files(backbone: Path, tmp_path: Path, write_image: Callable[..., Path]) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"MMVP-VLM not found: looked for Questions\.csv in"):
        make(backbone, tmp_path).setup("test")
    (tmp_path / "Questions.csv").write_text(HEADER + "1,Text,a\n2,Text,b\n")
    write_image(tmp_path / "MLLM_VLM Images" / "Text" / "1.jpg")
    with pytest.raises(
        DatasetNotFoundError, match=r"1 of 2 images not found, first MLLM_VLM Images/Text/2\.jpg"
    ):
        make(backbone, tmp_path).setup("test")
    write_image(tmp_path / "MLLM_VLM Images" / "Text" / "2.jpg")
    module = make(backbone, tmp_path)
    module.setup("test")
    assert len(module.dataset or []) == 1


def test_nothing_to_train_on(backbone: Path, world: Path) -> None:
    with pytest.raises(ConfigurationError, match="no training split; use `lightning test`"):
        make(backbone, world).setup("fit")

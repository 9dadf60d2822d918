"""MMVP-VLM: pairs by question id, patterns by Type."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from data_modules import MMVPVLMDataModule
from data_modules.mmvp_vlm import find_questions, image_names, read_pairs

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
        "challenging": False,
        "frames": [],
        "samples": [],
        "parts": [],
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
        (
            "0,Text,a\n1,Text,b\n",
            "question 0 without its partner -1; a pair is an odd id and the next even one",
        ),
        ("1,Text,a\n2,Text,b\n1,Text,c\n", r"cannot be read \(question 1 stands twice\); download it again"),
        ("1,Text,blue, no red\n2,Text,b\n", r"cannot be read \(question 1 has a comma outside quotes\)"),
        (",Text,a\n", r"cannot be read \(question  has no Question ID\)"),
        ("1,,a\n", r"cannot be read \(question 1 has no Type\)"),
        ("1,Text, \n", r"cannot be read \(question 1 has no Statement\)"),
        ("", "holds no questions; download it again"),
        ("one,Text,a\n", "cannot be read"),
        ("1,Text\n", r"cannot be read \(question 1 has no Statement\)"),
    ],
)
def test_broken_questions(tmp_path: Path, rows: str, reason: str) -> None:
    path = tmp_path / "Questions.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(DatasetError, match=f"MMVP-VLM: {path}.*{reason}"):
        read_pairs(path)


@pytest.mark.parametrize("encode", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_as_spreadsheets_save_them(tmp_path: Path, encode: str, newline: str) -> None:
    path = tmp_path / "Questions.csv"
    lines = ["Question ID,Type , Statement", '31,Text,"letter ""Q"" in it"', "32, Text,café", "", ",,"]
    path.write_bytes(newline.join([*lines, ""]).encode(encode))
    pairs = read_pairs(path)
    assert pairs == [("Text", ((31, 'letter "Q" in it'), (32, "café")))]  # ids need not start at 1
    assert image_names(pairs) == ["MLLM_VLM Images/Text/31.jpg", "MLLM_VLM Images/Text/32.jpg"]


def test_questions_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "Questions.csv").write_bytes((HEADER + "1,Text,café\n").encode("latin-1"))
    with pytest.raises(DatasetError, match=r"^MMVP-VLM: .*Questions\.csv is not UTF-8 .*; download it again"):
        read_pairs(tmp_path / "Questions.csv")


@pytest.mark.parametrize("folder", ["MLLM_VLM Images", "MMVP_VLM_Images", "MLLM_VLM_Images", ""])
@pytest.mark.parametrize("kind", ["Camera Perspective", "Camera_Perspective"])
def test_image_folders_as_published_and_as_the_readme_spells_them(
    backbone: Path, tmp_path: Path, world: Path, write_image: Callable[..., Path], folder: str, kind: str
) -> None:
    (tmp_path / "Questions.csv").write_text(HEADER + "269,Camera Perspective,a\n270,Camera Perspective,b\n")
    for number in (269, 270):
        write_image(tmp_path / folder / kind / f"{number}.jpg", colour=(number - 200, 0, 0))
    module = make(backbone, tmp_path, tokenizer=str(world))
    module.setup("test")
    (batch,) = list(module.test_dataloader())
    assert batch["queries"][0]["phenomena"] == ["Camera Perspective"]
    assert [int(image[0, 0, 0]) for image in batch["images"][0]] == [69, 70]


def test_a_part_of_the_full_set_is_named(
    backbone: Path, real_data: Path, world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample = real_data / "mmvp_vlm_sample"
    make(backbone, sample, tokenizer=str(world)).setup("test")
    (message,) = [text for text in caplog.messages if "pairs" in text]
    assert message == (
        f"MMVP-VLM: {sample / 'Questions.csv'} holds 4 pairs, not the 135 of the full set; do not report its "
        "accuracy as MMVP-VLM's"
    )
    caplog.clear()
    make(backbone, world).setup("test")
    assert not [text for text in caplog.messages if "pairs" in text]


def test_where_the_questions_may_lie(tmp_path: Path) -> None:
    home = tmp_path / "MMVP_VLM"
    (home / "MLLM_VLM Images" / "Text").mkdir(parents=True)
    (home / "Questions.csv").touch()
    assert find_questions(tmp_path) == find_questions(home) == home / "Questions.csv"
    for deep in (home / "MLLM_VLM Images", home / "MLLM_VLM Images" / "Text"):
        with pytest.raises(DatasetNotFoundError, match=rf"{deep} lies too deep: set --data\.root to {home}$"):
            find_questions(deep)


def test_unreadable_image_is_named(
    backbone: Path, tmp_path: Path, world: Path, write_image: Callable[..., Path]
) -> None:
    (tmp_path / "Questions.csv").write_text(HEADER + "1,Text,a\n2,Text,b\n")
    for number in (1, 2):
        write_image(tmp_path / "MLLM_VLM Images" / "Text" / f"{number}.jpg")
    broken = tmp_path / "MLLM_VLM Images" / "Text" / "2.jpg"
    broken.write_bytes(b"")
    module = make(backbone, tmp_path, tokenizer=str(world))
    module.setup("test")
    with pytest.raises(DatasetError) as error:
        list(module.test_dataloader())
    assert str(error.value) == (
        f"MMVP-VLM, set 1-2: cannot read image {broken} (empty file); restore or download this file"
    )


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

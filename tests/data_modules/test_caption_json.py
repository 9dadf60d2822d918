"""JSON decoded record by record."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contextblip.errors import DatasetError
from data_modules.caption_data import json_records as caption_json
from data_modules.caption_data.json_records import parsed, stream_list, stream_lists

RECORDS: list[Any] = [
    {"text": 'a \\" ] } é 日本', "list": [1, 2.5, None, True], "deep": {"a": {"b": []}}},
    {},
    "text",
    -12.25e3,
    1234567890123,
    [],
    None,
]


@pytest.fixture(params=[1, 3, 64, 1 << 20])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks that end everywhere in a record, and one that holds the file."""
    monkeypatch.setattr(caption_json, "CHUNK", request.param)
    return int(request.param)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.usefixtures("chunk")
def test_a_list_is_what_json_says(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "x.json"
    for content in (RECORDS, [], RECORDS * 50):
        path.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
        assert list(stream_list(path, "X")) == content


@pytest.mark.usefixtures("chunk")
def test_lists_of_an_object_come_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"info": {"images": 3}, "b": [1, 2], "rest": [9], "a": [{"c": 4}], "n": 12}))
    assert list(stream_lists(path, "X", ("a", "b"))) == [("b", 1), ("b", 2), ("a", {"c": 4})]


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert list(stream_list(tmp_path / "x.json", "X")) == [1]


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty; download it again"),
        ("  \n", "is empty; download it again"),
        ('{"a": 1}', "holds an object, expected a list"),
        ("nonsense", "holds something else, expected a list"),
        ('[{"a": 1}, {"b": "tw', r"is not valid JSON \(cut off after 20 characters\); download it again"),
        ('[{"a": 1}', r"is not valid JSON \(cut off after 9 characters\)"),
        ('[{"a": 1},', r"is not valid JSON \(cut off after 10 characters\)"),
        ('[{"a": 1, "b"', r"is not valid JSON \(cut off after 13 characters\)"),
        ('[{"a": 1} {"b": 2}]', r"is not valid JSON \(expected , or \], found \{, character 10\)"),
        ('[{"a": 1}, {b: 2}]', r"is not valid JSON \(Expecting property name.*, character 12\)"),
        ("[" * 200_000, r"is not valid JSON \(nested too deeply, character 1\); download it again"),
        ('[{"a": ' + "9" * 5000 + "}]", r"is not valid JSON \(Exceeds the limit .*, character 1\)"),
        ("[1] 2", r"is not valid JSON \(text after the end, character 4\)"),
        (b'[{"a": "caf\xe9"}]', r"is not UTF-8 \('utf-8' codec can't decode byte 0xe9"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DatasetError, match=rf"^X: {path} {said}") as error:
        list(stream_list(path, "X"))
    assert "\n" not in str(error.value)


def test_an_object_without_the_list_or_with_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": []}')
    with pytest.raises(DatasetError, match=rf"^X: {path} has no list 'b'; download it again"):
        list(stream_lists(path, "X", ("a", "b")))
    path.write_text('{"a": 3}')
    with pytest.raises(DatasetError, match=r"is not valid JSON \(expected \[, found 3, character 6\)"):
        list(stream_lists(path, "X", ("a",)))
    with pytest.raises(DatasetError, match="holds an object, expected a list"):
        list(stream_list(path, "X"))
    path.write_text('{"a": [1], "b": 2, "a": [3]}')
    with pytest.raises(DatasetError, match=f"^X: {path} has the key 'a' twice; download it again"):
        list(stream_lists(path, "X", ("a",)))
    path.write_text("[]")
    with pytest.raises(DatasetError, match="holds a list, expected an object"):
        list(stream_lists(path, "X", ("a",)))


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=rf"^X: cannot open {tmp_path} \(Is a directory\); make it readable"
    ):
        list(stream_list(tmp_path, "X"))


@pytest.mark.parametrize(
    ("parse", "said"),
    [
        (lambda row: row["caption"], "entry 1: no 'caption'"),
        (lambda row: row["image"].strip(), "entry 1: 'int' object has no attribute 'strip'"),
    ],
)
def test_an_entry_of_another_form_is_numbered(parse: Callable[[Any], Any], said: str) -> None:
    records = [{"image": "1.jpg", "caption": "a"}, {"image": 7}]
    with pytest.raises(DatasetError, match=f"^X: x.json is not a form: {said}; download it again or correct"):
        list(parsed(records, parse, dataset="X", path=Path("x.json"), form="a form"))


def test_only_the_record_at_hand_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_json, "CHUNK", 64)
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"number": number} for number in range(1000)])[:-1])  # cut off at the end
    records = stream_list(path, "X")
    assert [next(records) for _ in range(990)][-1] == {"number": 989}
    with pytest.raises(DatasetError, match="cut off"):
        list(records)

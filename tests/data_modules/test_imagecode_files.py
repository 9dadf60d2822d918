"""IMAGECODE's files: the rank rule, phenomena, propositions, counts."""

import json
from collections import Counter
from pathlib import Path

import pytest

from contextblip.candidate_order import sort_candidates
from contextblip.errors import DatasetError, DatasetNotFoundError
from data_modules.imagecode_files import (
    find_split_file,
    is_video_set,
    parse_phenomena,
    read_annotations,
    read_descriptions,
    read_propositions,
    require_targets,
)
from data_modules.imagecode_items import make_items
from data_modules.imagecode_sets import list_sets

STATIC = "open-images-1_00"
VIDEO = "MSR-VTT-videoTestVideo_video1-shot1"


@pytest.mark.parametrize(("split", "sets", "differing"), [("valid", 1039, 450), ("test", 1046, 427)])
def test_order_of_the_real_file_names(real_data: Path, split: str, sets: int, differing: int) -> None:
    official = json.loads((real_data / "imagecode" / f"image_filenames_{split}.json").read_text())
    assert len(official) == sets
    assert all(sort_candidates(sorted(names)) == names for names in official.values())
    assert sum(sorted(names) != names for names in official.values()) == differing


def test_targets_are_ranks_not_numbers(real_data: Path) -> None:
    descriptions = read_descriptions(real_data / "imagecode" / "valid_data.json")
    official = json.loads((real_data / "imagecode" / "image_filenames_valid.json").read_text())
    root = real_data / "imagecode" / "image-sets"
    present = {name: rows for name, rows in descriptions.items() if (root / name).is_dir()}
    assert len(present) == 53
    numbered = 0
    for candidates in list_sets(present, [root], Path("valid_data.json")):
        files = list(candidates.names)
        assert files == official[candidates.name]
        for target, _ in present[candidates.name]:
            numbered += files[target] != f"img{target}.jpg"
    assert numbered > 80  # reading N as the target would be wrong that often


@pytest.mark.parametrize(
    ("split", "sets", "texts", "video"),
    [
        ("train_data.json", 7317, 16594, 13093),
        ("valid_data.json", 1039, 2302, 1872),
        ("test_data_unlabeled.json", 1046, 2306, 1821),
    ],
)
def test_counts_of_the_real_splits(real_data: Path, split: str, sets: int, texts: int, video: int) -> None:
    descriptions = read_descriptions(real_data / "imagecode" / split)
    assert len(descriptions) == sets
    assert sum(map(len, descriptions.values())) == texts
    assert sum(len(rows) for name, rows in descriptions.items() if is_video_set(name)) == video
    targets = {target for rows in descriptions.values() for target, _ in rows}
    assert targets == ({-1} if "unlabeled" in split else set(range(10)))


def test_texts_keep_their_blanks(real_data: Path) -> None:
    descriptions = read_descriptions(real_data / "imagecode" / "valid_data.json")
    texts = [text for rows in descriptions.values() for _, text in rows]
    propositions = read_propositions(real_data / "imagecode" / "valid_split.json")
    assert sum(text != text.strip() for text in texts) == 854
    assert sum(text.strip() not in propositions for text in texts) >= 800  # keys are the untrimmed texts


def test_the_test_split_lists_texts_without_targets(tmp_path: Path) -> None:
    path = tmp_path / "test_data_unlabeled.json"
    path.write_text(json.dumps({STATIC: ["one ", "two"], VIDEO: ["three"]}))
    assert read_descriptions(path) == {STATIC: [(-1, "one "), (-1, "two")], VIDEO: [(-1, "three")]}
    with pytest.raises(DatasetError) as error:
        require_targets(read_descriptions(path), path)
    assert str(error.value) == (
        f"IMAGECODE: {path}, set {STATIC}: texts without targets; training and validation need "
        '{"<target>": text}, download the file again'
    )


def test_targets_keep_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"s": {"7": "b", "0": "a", "10": "c"}}')
    assert read_descriptions(tmp_path / "x.json") == {"s": [(7, "b"), (0, "a"), (10, "c")]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"s": {"null": "a"}}', ', set s: target "null" is no whole number from 0; correct the entry'),
        ('{"s": {"": "a"}}', ', set s: target "" is no whole number from 0'),
        ('{"s": {"-1": "a"}}', ', set s: target "-1" is no whole number from 0'),
        ('{"s": {"1.0": "a"}}', ', set s: target "1.0" is no whole number from 0'),
        ('{"s": {"01": "a"}}', ', set s: target "01" is no whole number from 0'),
        ('{"s": {"1": " "}}', ', set s: target "1" has an empty text; correct the entry'),
        ('{"s": ["a", ""]}', ", set s: description 1 has an empty text"),
        ('{"s": {"1": null}}', ', set s: target "1" is of type NoneType, not a text'),
        ('{"s": [5]}', ", set s: description 0 is of type int, not a text"),
        ('{"s": null}', ", set s: its descriptions are of type NoneType, expected an object or a list"),
        ('{"s": "a circle"}', ", set s: its descriptions are of type str, expected an object or a list"),
        ('["s"]', " holds a list, expected an object of sets; download it again"),
        ("{}", " holds no sets; download it again"),
        ('{"s": {"1": "a", "1": "b"}}', ' has the key "1" twice in one object; remove one'),
        ('{"s": ["a"], "s": ["b"]}', ' has the key "s" twice in one object'),
        ('{"s": ', " is not valid JSON (Expecting value: line 1 column 7 (char 6)); download it again"),
    ],
)
def test_descriptions_that_cannot_be_used(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "train_data.json"
    path.write_text(content)
    with pytest.raises(DatasetError) as error:
        read_descriptions(path)
    assert str(error.value).startswith(f"IMAGECODE: {path}{problem}")


def test_descriptions_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "train_data.json"
    path.write_bytes('{"s": ["café"]}'.encode("latin-1"))
    with pytest.raises(DatasetError, match=rf"^IMAGECODE: {path} is not UTF-8 .*; download it again$"):
        read_descriptions(path)


def test_where_a_split_may_lie(tmp_path: Path) -> None:
    for folder in ("", "imagecode", "data"):
        path = tmp_path / folder / "valid_data.json"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert find_split_file(tmp_path, "valid") == path
        path.unlink()


def test_a_root_that_is_missing_too_deep_or_lacks_the_texts(tmp_path: Path) -> None:
    def remedy(root: Path) -> str:
        with pytest.raises(DatasetNotFoundError) as error:
            find_split_file(root, "train")
        message = str(error.value)
        assert message.startswith(
            f"IMAGECODE not found: looked for train_data.json in {root}, {root}/imagecode"
        )
        assert "\n" not in message
        return message.split("; ", 1)[1]

    home = tmp_path / "home"
    assert remedy(home) == f"{home} is no folder; set --data.root to the folder of the data set"
    (home / "image-sets" / STATIC).mkdir(parents=True)
    expected = "set --data.root to the folder of the data set or to a parent that holds it"
    assert remedy(home) == expected
    (home / "image-sets.zip").touch()
    assert remedy(home) == (
        f"{home / 'image-sets.zip'} holds images alone: put train_data.json beside it or set --data.root to "
        "the folder of both"
    )
    (home / "train_data.json").touch()
    for deep in (home / "image-sets", home / "image-sets" / STATIC):
        assert remedy(deep) == f"{deep} lies too deep: set --data.root to {home}"


def test_phenomenon_codes() -> None:
    assert parse_phenomena("col,q,con") == ["colors", "quantities", "context"]
    assert parse_phenomena("s, t,cor,v,n,neg,img") == [
        "spatial",
        "temporal",
        "coreference",
        "occlusion",
        "nuances",
        "negation",
        "meta_properties",
    ]
    assert parse_phenomena(",neg") == ["negation"]
    assert parse_phenomena("") == []


def test_counts_of_the_real_phenomena(real_data: Path) -> None:
    annotations = read_annotations(real_data / "imagecode" / "manual_annotation_valid.yaml")
    assert (annotations.n_sets, annotations.n_entries) == (1030, 2275)
    first_200 = {"s": 141, "q": 97, "con": 94, "col": 85, "cor": 83, "v": 77, "n": 56, "neg": 42, "t": 30}
    assert annotations.challenging_codes == first_200 | {"img": 24, "": 3}
    first_1002 = first_200 | {"con": 474, "v": 456, "n": 264, "neg": 179}
    assert annotations.annotated_codes == first_1002 | {"img": 24, "": 230}
    assert not any(names for names in list(annotations.phenomena.values())[1002:])


def test_accuracies_run_over_the_entries_that_match_a_text(real_data: Path) -> None:
    root = real_data / "imagecode"
    annotations = read_annotations(root / "manual_annotation_valid.yaml")
    descriptions = read_descriptions(root / "valid_data.json")
    items = make_items(descriptions, annotations, read_propositions(root / "valid_split.json"))
    queries = [item.queries[0] for item in items]
    matched = Counter(name for query in queries for name in query["phenomena"])
    counted = Counter(name for names in annotations.phenomena.values() for name in names)
    assert counted - matched == {"context": 1, "occlusion": 1}  # one entry has no text
    assert (matched["context"], matched["occlusion"], matched["negation"]) == (473, 455, 179)
    known = {(name, target) for name, rows in descriptions.items() for target, _ in rows}
    assert (len(known - annotations.phenomena.keys()), len(annotations.phenomena.keys() - known)) == (29, 2)
    challenging = [item for item in items if item.queries[0]["challenging"]]
    assert len(challenging) == 200
    assert len({item.set_row for item in challenging}) == 95
    assert sum(is_video_set(item.queries[0]["set_name"]) for item in challenging) == 151


def test_an_empty_annotation_is_no_phenomenon(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text('"s":\n  "1":\n    "annotation": ""\n  "0":\n    "annotation": "v,,Others, v"\n')
    annotations = read_annotations(path)
    assert annotations.phenomena == {("s", 1): [], ("s", 0): ["occlusion", "Others"]}
    assert annotations.challenging_codes == {"": 2, "v": 2, "Others": 1}
    items = make_items({"s": [(1, "a"), (2, "b")]}, annotations, {"a ": 3})
    assert [(item.queries[0]["phenomena"], item.queries[0]["challenging"]) for item in items] == [
        ([], True),
        ([], False),
    ]
    assert items[0].queries[0]["n_propositions"] is None


def test_challenging_are_the_first_200_entries(tmp_path: Path) -> None:
    entries = {f"s{number}": {"0": {"annotation": "con"}} for number in range(201)}
    (tmp_path / "x.yaml").write_text(json.dumps(entries))  # JSON is YAML
    annotations = read_annotations(tmp_path / "x.yaml")
    assert ("s199", 0) in annotations.challenging
    assert ("s200", 0) not in annotations.challenging
    assert (annotations.challenging_codes, annotations.annotated_codes) == ({"con": 200}, {"con": 201})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('"s":\n  "1":\n    "annotation": "v"\n"s":\n  "2": 1', 'the key "s" stands twice in one mapping in'),
        ('"s":\n  "1":\n    "annotation": "v"\n  "1": 1', 'the key "1" stands twice'),
        ("s: [1", "while parsing a flow sequence"),
        ("s: 1", "'int' object has no attribute 'items'"),
        ('"s":\n  "x":\n    "annotation": ""', "invalid literal for int"),
        ('"s":\n  "1": {}', "'annotation'"),
        ('"s":\n  "1":\n    "annotation": 5', "descriptor 'strip'"),
        ("", "'NoneType' object has no attribute 'items'"),
    ],
)
def test_annotations_that_cannot_be_used(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "manual_annotation_valid.yaml"
    path.write_text(content)
    with pytest.raises(DatasetError) as error:
        read_annotations(path)
    message = str(error.value)
    assert message.startswith(f"IMAGECODE: {path} is no annotation file ({reason}")
    assert message.endswith("); download it again")
    assert "\n" not in message


def test_annotations_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b'"\xff": 1')
    with pytest.raises(DatasetError, match=r"^IMAGECODE: .*x\.yaml is not UTF-8"):
        read_annotations(tmp_path / "x.yaml")


def test_propositions_given_twice(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ["b"], "a": []}')
    with pytest.raises(DatasetError, match='has the key "a" twice in one object'):
        read_propositions(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"a": ["b", " ", "b"], "a ": []}')
    assert read_propositions(tmp_path / "x.json") == {"a": 3, "a ": 0}  # blank and repeated ones count


def test_counts_of_the_real_propositions(real_data: Path) -> None:
    propositions = read_propositions(real_data / "imagecode" / "valid_split.json")
    descriptions = read_descriptions(real_data / "imagecode" / "valid_data.json")
    texts = [text for rows in descriptions.values() for _, text in rows]
    assert Counter(propositions[text] for text in texts) == {1: 72, 2: 899, 3: 1215, 4: 99, 5: 14, 6: 3}
    blank = json.loads((real_data / "imagecode" / "valid_split.json").read_text())
    assert sum(not part.strip() for parts in blank.values() for part in parts) == 4
    assert sum(propositions.values()) == sum(map(len, blank.values()))  # blank ones count


def test_both_published_proposition_files_agree(real_data: Path) -> None:
    root = real_data / "imagecode"
    assert read_propositions(root / "valid_split.json") == read_propositions(root / "dev_model_split_2.json")

"""Annotations of any text: what is written is read back equal, or refused in one line of our own."""

import csv
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contextblip.errors import DatasetError
from data_modules.caption_data.sources import locate_blip_json, locate_coco, locate_visual_genome
from data_modules.caption_data.tables import caption_table
from data_modules.imagecode_files import (
    parse_phenomena,
    read_annotations,
    read_descriptions,
    read_image_order,
    read_proposition_texts,
)
from data_modules.mmvp_vlm import read_pairs

# with halves of characters, which JSON can hold and UTF-8 cannot
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.text("'\"\\,;\n\r\t \0\ufeff\u2028é漢😀\ud83d{}[]:#&*!|>%@`-0a", max_size=30),
)
WRITABLE = TEXTS.filter(lambda text: is_writable(text))
IDS = st.integers(-(10**20), 10**20)
AS_ASCII = st.booleans()


def is_writable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def is_path(text: str) -> bool:
    return bool(text) and "\0" not in text and is_writable(text)


@contextmanager
def folder_with(name: str, content: object, ascii_only: bool = True) -> Iterator[Path]:
    """Write a JSON file into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(content, ensure_ascii=ascii_only)
        (Path(folder) / name).write_text(text, encoding="utf-8", errors="surrogatepass")
        yield Path(folder)


@contextmanager
def refused_if(wrong: bool) -> Iterator[None]:
    """Expect an error of ours where something is wrong, and nothing at all otherwise."""
    if not wrong:
        yield
        return
    with pytest.raises(DatasetError) as error:
        yield
    str(error.value).encode()  # it can be printed


@given(
    rows=st.lists(
        st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3), st.one_of(st.none(), IDS, TEXTS)),
        max_size=6,
    ),
    ascii_only=AS_ASCII,
)
def test_captions_in_blips_form(rows: list[tuple[str, list[str], object]], ascii_only: bool) -> None:
    content = [
        {"image": image, "caption": captions[0] if len(captions) == 1 else captions}
        | ({} if number is None else {"image_id": number})
        for image, captions, number in rows
    ]
    images: dict[str, tuple[str, list[str]]] = {}
    wrong = False
    for image, captions, number in rows:
        name = f"={image}" if number is None else str(number)
        path, known = images.setdefault(name, (image, []))
        known += captions
        wrong |= path != image or not is_path(image) or not all(map(is_writable, [name, *captions]))
    with folder_with("x.json", content, ascii_only) as folder, refused_if(wrong):
        read = list(locate_blip_json(folder / "x.json").read("train"))
        assert [(image.path, image.captions) for image in read] == list(images.values())


@given(
    images=st.dictionaries(IDS, st.tuples(TEXTS, st.lists(TEXTS, max_size=3)), max_size=5),
    annotations_first=st.booleans(),
    ascii_only=AS_ASCII,
    data=st.data(),
)
def test_captions_in_cocos_form(
    images: dict[int, tuple[str, list[str]]], annotations_first: bool, ascii_only: bool, data: st.DataObject
) -> None:
    listed = [{"id": number, "file_name": name} for number, (name, _) in images.items()]
    rows = [(number, text) for number, (_, texts) in images.items() for text in texts]
    mixed = data.draw(st.permutations(list(enumerate(rows))))
    members = {
        "images": listed,
        "annotations": [
            {"id": place, "image_id": number, "caption": text} for place, (number, text) in mixed
        ],
    }
    content = {key: members[key] for key in sorted(members, reverse=not annotations_first)}
    expected = [
        (f"train2017/{name}", [text for _, (owner, text) in mixed if owner == number])
        for number, (name, _) in images.items()
    ]
    wrong = not all(is_path(name) and all(map(is_writable, texts)) for name, texts in images.values())
    with folder_with("captions_train2017.json", content, ascii_only) as folder, refused_if(wrong):
        read = list(locate_coco(folder).read("train"))
        assert [(image.path, image.captions) for image in read] == expected


@given(
    images=st.dictionaries(
        IDS,
        st.tuples(TEXTS, st.sampled_from(["train", "restval", "val", "test"]), st.lists(TEXTS, max_size=3)),
        max_size=5,
    ),
    ascii_only=AS_ASCII,
)
def test_captions_in_karpathys_form(images: dict[int, tuple[str, str, list[str]]], ascii_only: bool) -> None:
    content = {
        "images": [
            {
                "cocoid": number,
                "filename": name,
                "split": split,
                "sentences": [{"raw": text} for text in texts],
            }
            for number, (name, split, texts) in images.items()
        ],
        "dataset": "coco",
    }
    wanted = [(name, texts) for name, split, texts in images.values() if split in ("train", "restval")]
    wrong = not all(is_path(name) for name, _, _ in images.values())
    looked_at = wanted if ascii_only else [(name, texts) for name, _, texts in images.values()]
    wrong |= not all(is_writable(text) for _, texts in looked_at for text in texts)
    with folder_with("dataset_coco.json", content, ascii_only) as folder, refused_if(wrong):
        assert [(image.path, image.captions) for image in locate_coco(folder).read("train")] == wanted


@given(images=st.dictionaries(IDS, st.lists(TEXTS, max_size=3), max_size=5), ascii_only=AS_ASCII)
def test_phrases_of_visual_genome(images: dict[int, list[str]], ascii_only: bool) -> None:
    regions = [
        {"id": number, "regions": [{"phrase": text} for text in texts]} for number, texts in images.items()
    ]
    listed = [{"image_id": number, "url": f"https://x/VG_100K/{number}.jpg"} for number in images]
    wrong = not all(is_writable(text) for texts in images.values() for text in texts)
    with folder_with("region_descriptions.json", regions, ascii_only) as folder:
        (folder / "image_data.json").write_text(json.dumps(listed))
        with refused_if(wrong):
            read = list(locate_visual_genome(folder).read("train"))
            assert [image.captions for image in read] == list(images.values())


@given(captions=st.lists(st.lists(WRITABLE, min_size=1, max_size=3), min_size=1, max_size=6))
def test_captions_keep_every_character_in_their_table(captions: list[list[str]]) -> None:
    content = [{"image": f"{number}.jpg", "caption": texts} for number, texts in enumerate(captions)]
    with folder_with("x.json", content) as folder:
        table = caption_table(locate_blip_json(folder / "x.json"), "train")
        kept = [[text for text in texts if text.strip()] for texts in captions]
        assert list(table["captions"]) == [texts for texts in kept if texts]


@given(
    sets=st.dictionaries(TEXTS, st.dictionaries(st.integers(0, 10**20), TEXTS, max_size=4), max_size=4),
    secret=st.booleans(),
    ascii_only=AS_ASCII,
)
def test_descriptions_of_imagecode(sets: dict[str, dict[int, str]], secret: bool, ascii_only: bool) -> None:
    content: dict[str, object] = {
        name: list(texts.values()) if secret else {str(target): text for target, text in texts.items()}
        for name, texts in sets.items()
    }
    every = [text for texts in sets.values() for text in texts.values()]
    wrong = not sets or not all(text.strip() and is_writable(text) for text in every)
    wrong |= not all(map(is_writable, sets))
    with folder_with("train_data.json", content, ascii_only) as folder, refused_if(wrong):
        assert read_descriptions(folder / "train_data.json") == {
            name: [(-1 if secret else target, text) for target, text in texts.items()]
            for name, texts in sets.items()
        }


@given(lists=st.dictionaries(TEXTS, st.lists(TEXTS, max_size=4), max_size=4), ascii_only=AS_ASCII)
def test_propositions_and_image_names_of_imagecode(lists: dict[str, list[str]], ascii_only: bool) -> None:
    wrong = not all(is_writable(text) for key, texts in lists.items() for text in (key, *texts))
    with folder_with("image_filenames_valid.json", lists, ascii_only) as folder, refused_if(wrong):
        path = folder / "image_filenames_valid.json"
        assert read_proposition_texts(path) == lists
        assert read_image_order([folder], "valid") == lists


@given(
    sets=st.dictionaries(
        WRITABLE,
        st.dictionaries(st.integers(0, 10**20).map(str), WRITABLE, min_size=1, max_size=4),
        max_size=4,
    ),
    flow=st.sampled_from([None, True, False]),
)
def test_phenomena_of_imagecode(sets: dict[str, dict[str, str]], flow: bool | None) -> None:
    content = {
        name: {target: {"annotation": text} for target, text in targets.items()}
        for name, targets in sets.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manual_annotation_valid.yaml"
        text = yaml.safe_dump(content, default_flow_style=flow, sort_keys=False)
        path.write_text(text)
        read = read_annotations(path)
    expected = {
        (name, int(target)): parse_phenomena(text.strip())
        for name, targets in sets.items()
        for target, text in targets.items()
    }
    assert dict(read.phenomena) == expected
    assert list(read.phenomena) == list(expected)


@given(
    pairs=st.dictionaries(st.integers(0, 10**9), st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=5),
    shuffled=st.randoms(),
    mark=st.booleans(),
)
def test_questions_of_mmvp(pairs: dict[int, tuple[str, str, str]], shuffled: object, mark: bool) -> None:
    """Rows in any order, with or without a byte order mark."""
    rows = [
        row
        for number, (kind, first, second) in pairs.items()
        for row in ((2 * number + 1, kind, first), (2 * number + 2, kind, second))
    ]
    shuffled.shuffle(rows)  # type: ignore[attr-defined]  # a random.Random of hypothesis
    every = [text for texts in pairs.values() for text in texts]
    wrong = not all(text.strip() and is_writable(text) for text in every)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "Questions.csv"
        encoding = "utf-8-sig" if mark else "utf-8"
        with path.open("w", encoding=encoding, errors="surrogatepass", newline="") as file:
            csv.writer(file).writerows([("Question ID", "Type", "Statement"), *rows])
        with refused_if(wrong):
            read = {pair[0][0]: (kind, pair[0][1], pair[1][1]) for kind, pair in read_pairs(path)}
            assert read == {
                2 * number + 1: (kind.strip(), first, second)
                for number, (kind, first, second) in pairs.items()
            }

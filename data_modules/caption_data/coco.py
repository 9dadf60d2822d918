"""COCO captions: the official layout, Karpathy's split and BLIP's files of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from contextblip.errors import DatasetError
from contextblip.worlds import is_drawn
from data_modules.caption_data.blip import read_blip_rows
from data_modules.caption_data.images import (
    CaptionedImage,
    CaptionSource,
    Files,
    Split,
    as_captions,
    as_path,
    coco_key,
    key_of_path,
    not_found,
)
from data_modules.caption_data.json_records import parsed, stream_lists
from data_modules.files import first_file, subfolders

CocoLayout = Literal["auto", "official", "karpathy", "blip"]

NAME = "COCO"
FOLDERS = ("coco", "COCO", "mscoco", "MSCOCO")
IMAGE_FOLDERS = ("images",)
YEARS = (2017, 2014)
KARPATHY = "dataset_coco.json"
KARPATHY_SPLITS: Mapping[Split, Sequence[str]] = {
    "train": ("train", "restval"),
    "val": ("val",),
    "test": ("test",),
}
BLIP_NAMES: Mapping[Split, Sequence[str]] = {
    "train": ("coco.json", "coco_karpathy_train.json"),
    "val": ("coco_karpathy_val.json",),
    "test": ("coco_karpathy_test.json",),
}
LAYOUTS: Mapping[CocoLayout, str] = {
    "karpathy": f"{KARPATHY} (Karpathy)",
    "blip": "coco.json or coco_karpathy_{train,val,test}.json (BLIP)",
    "official": "captions_{train,val}2017.json or captions_{train,val}2014.json (official)",
}


# train2017 is train2014 and most of val2014, from which Karpathy took his test photos
CAUTION_2017 = (
    "its training photos include those of Karpathy's test split, so image-text retrieval on that split would "
    "be contaminated; use Karpathy's or BLIP's annotations for that"
)


def locate_coco(root: Path, layout: CocoLayout = "auto") -> CaptionSource:
    """Locate COCO captions.

    Source: https://cocodataset.org (Lin et al., 2014; Chen et al., 2015). Captions CC BY 4.0, photos under
    their Flickr licences; about 5 captions an image. Official: 118,287 + 5,000 images (2017) or 82,783 +
    40,504 (2014). Karpathy's split of the 2014 photos: 113,287 (its train and restval) + 5,000 + 5,000::

        coco/annotations/dataset_coco.json                         Karpathy (files also without annotations/)
        coco/annotations/coco.json                                 BLIP, training captions alone
        coco/annotations/coco_karpathy_{train,val,test}.json       BLIP
        coco/annotations/captions_{train,val}{2017,2014}.json      official
        coco/images/{train,val}2017/000000000009.jpg               (or without images/)
        coco/images/{train,val}2014/COCO_train2014_000000000009.jpg

    Args:
        root: Its own folder or a parent that holds ``coco``.
        layout: Which; ``auto`` prefers Karpathy's split, the paper's selection, in its own or BLIP's files.

    Returns:
        The source; which splits it has depends on the files.

    Raises:
        DatasetNotFoundError: No annotation file lies there.
    """
    folders = [place for base in subfolders(root, FOLDERS) for place in (base / "annotations", base)]
    finders: Mapping[CocoLayout, Callable[[list[Path]], CaptionSource | None]] = {
        "karpathy": _find_karpathy,
        "blip": _find_blip,
        "official": _find_official,
    }
    wanted = [name for name in LAYOUTS if layout in ("auto", name)]
    for name in wanted:
        if (source := finders[name](folders)) is not None:
            return source
    raise not_found(NAME, [LAYOUTS[name] for name in wanted], root, FOLDERS)


def _source(
    layout: str,
    files: Mapping[Split, Files],
    reader: Any,  # noqa: ANN401  # see CaptionSource
    val_name: str,
) -> CaptionSource:
    place = next(iter(files.values()))[0].parent
    folder = place.parent if place.name == "annotations" else place
    return CaptionSource(NAME, layout, folder, IMAGE_FOLDERS, files, reader, val_name)


def _find_official(folders: list[Path]) -> CaptionSource | None:
    splits: tuple[Split, ...] = ("train", "val")
    for year in YEARS:
        for folder in folders:
            places = {split: folder / f"captions_{split}{year}.json" for split in splits}
            if files := {split: (path,) for split, path in places.items() if path.is_file()}:
                reader, val_name = partial(_read_official, year=year), f"captions_val{year}.json"
                source = _source(f"official {year}", files, reader, val_name)
                # the files of a year share no photo; drawn worlds number those of each split from 1
                caution = "" if year == 2014 or is_drawn(source.folder) else CAUTION_2017
                return replace(source, disjoint=True, caution=caution)
    return None


def _find_karpathy(folders: list[Path]) -> CaptionSource | None:
    if (path := first_file(folders, [KARPATHY])) is None:
        return None
    return _source("Karpathy", dict.fromkeys(KARPATHY_SPLITS, (path,)), _read_karpathy, KARPATHY)


def _find_blip(folders: list[Path]) -> CaptionSource | None:
    for folder in folders:
        places = {split: first_file([folder], names) for split, names in BLIP_NAMES.items()}
        if files := {split: (path,) for split, path in places.items() if path is not None}:
            return _source("BLIP", files, _read_blip, BLIP_NAMES["val"][0])
    return None


def _read_official(files: Files, split: Split, *, year: int) -> Iterator[CaptionedImage]:
    (path,) = files
    images: dict[Any, CaptionedImage] = {}
    orphans: dict[Any, list[str]] = {}

    seen: set[int] = set()

    def parse(member: tuple[str, Any]) -> None:
        kind, row = member
        if kind == "images":
            name = as_path(row["file_name"])
            if row["id"] in images:
                raise _twice(path, f"image {row['id']!r:.60}")
            images[row["id"]] = CaptionedImage(coco_key(row["id"]), f"{split}{year}/{name}")
            return
        if "id" in row:
            if row["id"] in seen:
                raise _twice(path, f"annotation {row['id']!r:.60}")
            seen.add(row["id"])
        if (number := row["image_id"]) in images:
            images[number].captions += as_captions(row["caption"])
        else:  # the file may list annotations before images
            orphans.setdefault(number, []).extend(as_captions(row["caption"]))

    members = stream_lists(path, NAME, ("images", "annotations"))
    for _ in parsed(members, parse, dataset=NAME, path=path, form="in COCO's caption form"):
        pass
    for number, captions in orphans.items():
        if number not in images:
            raise DatasetError(
                f"{NAME}: {path} has captions of image {number!r:.60}, which it does not list; "
                "download it again"
            )
        images[number].captions += captions
    yield from images.values()


def _read_karpathy(files: Files, split: Split) -> Iterator[CaptionedImage]:
    (path,) = files
    wanted = KARPATHY_SPLITS[split]
    seen: set[str] = set()

    def parse(member: tuple[str, Any]) -> CaptionedImage | None:
        _, row = member
        name = as_path(row["filename"])
        image = as_path(f"{row['filepath']}/{name}") if row.get("filepath") else name
        key = coco_key(row["cocoid"]) if "cocoid" in row else key_of_path(image) or image
        if key in seen:  # in other splits too: a photo of two would be trained and tested on
            raise _twice(path, f"image {key.removeprefix('coco/')}")
        seen.add(key)
        if row["split"] not in wanted:
            return None
        return CaptionedImage(key, image, as_captions([sentence["raw"] for sentence in row["sentences"]]))

    members = stream_lists(path, NAME, ("images",))
    rows = parsed(members, parse, dataset=NAME, path=path, form="in Karpathy's form")
    yield from (image for image in rows if image is not None)


def _twice(path: Path, what: str) -> DatasetError:
    return DatasetError(f"{NAME}: {path} lists {what} twice; remove one or download it again")


def _read_blip(files: Files, split: Split) -> Iterator[CaptionedImage]:
    del split  # each has its own file
    yield from read_blip_rows(files[0], NAME, {})

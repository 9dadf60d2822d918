"""The data sets: what they are, which parts they come in and how many of everything were published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contextblip.downloads.remote_files import RemoteFile
from data_modules.catalogue.files import COCO, IMAGECODE, MMVP_VLM, VISUAL_GENOME


class RoundedCounts(tuple[int, ...]):
    """Counts of several editions, published only to the thousand: rounded or cut off, either is accepted."""

    def __contains__(self, found: object) -> bool:
        """Say whether a count agrees with one of the editions."""
        return isinstance(found, int) and any(-500 <= found - count < 1000 for count in self)


@dataclass(frozen=True)
class ExpectedCount:
    """How many there should be.

    Attributes:
        label: Of what, such as ``train texts``.
        count: The published number; several where several editions are in use.
    """

    label: str
    count: int | tuple[int, ...]


@dataclass(frozen=True)
class DatasetEntry:
    """A data set as published.

    Attributes:
        name: On the command line; also the folder that a download makes.
        title: For people.
        what: What it serves for here, one line.
        homepage: Where it is described.
        licence: Of annotations and images.
        parts: Files by part.
        default_parts: What is downloaded unless parts are named.
        layouts: Published counts of each layout that can be read.
        notes: What a user should know before downloading.
    """

    name: str
    title: str
    what: str
    homepage: str
    licence: str
    parts: Mapping[str, tuple[RemoteFile, ...]]
    default_parts: tuple[str, ...]
    layouts: Mapping[str, tuple[ExpectedCount, ...]]
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        """All files of all parts, each once."""
        return self.files_of(tuple(self.parts))

    @property
    def disk(self) -> int:
        """Bytes that the default parts need as far as known, for photos weigh the same extracted."""
        files = self.files_of(self.default_parts)
        return sum((file.likely_size or 0) * (1 if file.extract_to is None else 2) for file in files)

    def files_of(self, parts: Sequence[str]) -> tuple[RemoteFile, ...]:
        """List the files of some parts, each once, for parts may share one."""
        return tuple(dict.fromkeys(file for part in parts for file in self.parts[part]))


def _counts(**counts: int | tuple[int, ...]) -> tuple[ExpectedCount, ...]:
    """Write counts briefly: ``train_texts=1`` for ``train texts``."""
    return tuple(ExpectedCount(label.replace("_", " "), count) for label, count in counts.items())


_KARPATHY = {
    "train_images": 113_287,
    "train_texts": 566_747,
    "val_images": 5_000,
    "val_texts": 25_010,
    "test_images": 5_000,
    "test_texts": 25_010,
}
DATASETS: dict[str, DatasetEntry] = {
    "coco": DatasetEntry(
        "coco",
        "COCO captions",
        "captions for pre-training; 5k retrieval",
        "https://cocodataset.org",
        "captions CC BY 4.0; photos under their Flickr licences",
        COCO,
        ("2014", "karpathy"),
        {
            "official 2017": _counts(
                train_images=118_287,
                train_texts=591_753,
                val_images=5_000,
                val_texts=25_014,
                images=123_287,
                texts=616_767,
            ),
            "official 2014": _counts(
                train_images=82_783,
                train_texts=414_113,
                val_images=40_504,
                val_texts=202_654,
                images=123_287,
                texts=616_767,
            ),
            "karpathy": _counts(**_KARPATHY, images=123_287, texts=616_767),
            # ALBEF's coco.json holds the training captions alone
            "blip": _counts(**_KARPATHY, images=(113_287, 123_287), texts=(566_747, 616_767)),
        },
        notes=(
            "2014 and 2017 are the same photos in other folders, and every layout finds either; the lists of "
            "Karpathy and BLIP name those of 2014",
            "part blip is coco_karpathy_{train,val,test}.json; BLIP's coco.json was not published alone: if "
            "anywhere, it is in ALBEF's json_pretrain.zip (visual_genome --parts albef)",
        ),
    ),
    "visual_genome": DatasetEntry(
        "visual_genome",
        "Visual Genome regions",
        "captions for pre-training",
        "https://homes.cs.washington.edu/~ranjay/visualgenome",
        "CC BY 4.0",
        VISUAL_GENOME,
        ("annotations", "images", "blip"),
        {
            "official": _counts(train_images=108_077, train_texts=5_408_689, images=108_077, texts=5_408_689),
            "blip": _counts(
                train_images=RoundedCounts((100_000,)),
                train_texts=RoundedCounts((769_000, 821_000)),
                images=RoundedCounts((100_000,)),
                texts=RoundedCounts((769_000, 821_000)),
            ),
        },
        notes=(
            "visualgenome.org no longer belongs to its authors: use the homepage above",
            "part blip brings image_data.json too, by which photos that COCO has as well count as one image",
            "the papers say 769K texts, the file that BLIP published holds 821K: both are accepted",
        ),
    ),
    "imagecode": DatasetEntry(
        "imagecode",
        "IMAGECODE",
        "retrieval among ten similar images",
        "https://github.com/McGill-NLP/imagecode",
        "texts MIT (hub: AFL-3.0); NDCR's propositions Apache-2.0; frames under their videos' terms",
        IMAGECODE,
        ("texts", "annotations", "images"),
        {
            "official": _counts(
                train_sets=7_317,
                train_texts=16_594,
                valid_sets=1_039,
                valid_texts=2_302,
                test_sets=1_046,
                test_texts=2_306,
                sets=9_402,
                texts=21_202,
                images=94_020,
            )
        },
    ),
    "mmvp_vlm": DatasetEntry(
        "mmvp_vlm",
        "MMVP-VLM",
        "pairs that CLIP confuses",
        "https://huggingface.co/datasets/MMVP/MMVP_VLM",
        "MIT",
        MMVP_VLM,
        ("questions", "images"),
        {"official": _counts(pairs=135, statements=270, texts=270, types=9, images=270)},
        notes=(
            "the hub has the photos one by one, in folders by type; their list here rests on the order in "
            "which the published evaluation counts the types, thirty photos each: one that is not found "
            "(HTTP 404) lies in another type's folder",
        ),
    ),
}

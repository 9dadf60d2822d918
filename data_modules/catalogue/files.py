"""The published files of each data set: addresses, sizes and hashes as far as they were found in public."""

from __future__ import annotations

from contextblip.downloads.remote_files import RemoteFile
from contextblip.groups import MMVP_TYPES

_COCO = ("https://s3.amazonaws.com/images.cocodataset.org", "http://images.cocodataset.org")
_SALESFORCE = "https://storage.googleapis.com/sfr-vision-language-research"
_ALBEF = "https://storage.googleapis.com/sfr-pcl-data-research/ALBEF"
_VISUAL_GENOME = "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset"
_VISUAL_GENOME_IMAGES = "https://cs.stanford.edu/people/rak248/VG_100K_2"
_DATA_OPTIM = "hf://datasets/BAAI/DataOptim@7a01adb91d764edeff06b34a84a9af4feeaa950e/images/visual_genome"
_IMAGECODE = "https://raw.githubusercontent.com/McGill-NLP/imagecode"
_IMAGECODE_HUB = "hf://datasets/BennoKrojer/ImageCoDe"
_NDCR = "https://raw.githubusercontent.com/YunxinLi/NDCR"
_MMVP = "hf://datasets/MMVP/MMVP_VLM"
# Images of each type, numbered through in the order in which the published evaluation counts them: no list
# of the folders was published
_MMVP_A_TYPE = 30


def _coco(path: str, size: int, sha256: str, extract_to: str) -> RemoteFile:
    name = path.rpartition("/")[2]
    return RemoteFile(name, tuple(f"{base}/{path}" for base in _COCO), size, sha256, extract_to)


def _karpathy(split: str, md5: str) -> RemoteFile:
    name = f"coco_karpathy_{split}.json"
    return RemoteFile(f"annotations/{name}", (f"{_SALESFORCE}/datasets/{name}",), md5=md5)


def _imagecode(name: str, commit: str, size: int, sha256: str) -> RemoteFile:
    urls = tuple(f"{_IMAGECODE}/{revision}/data/{name}" for revision in (commit, "main"))
    return RemoteFile(name.rpartition("/")[2], urls, size, sha256)


def _ndcr(name: str, commit: str, size: int, sha256: str) -> RemoteFile:
    urls = tuple(f"{_NDCR}/{revision}/data/{name}" for revision in (commit, "main"))
    return RemoteFile(name, urls, size, sha256)


COCO: dict[str, tuple[RemoteFile, ...]] = {
    "2017": (
        _coco(
            "annotations/annotations_trainval2017.zip",
            252_907_541,
            "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            ".",
        ),
        _coco(
            "zips/train2017.zip",
            19_336_861_798,
            "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            "images",
        ),
        _coco(
            "zips/val2017.zip",
            815_585_330,
            "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            "images",
        ),
    ),
    "2014": (
        _coco(
            "annotations/annotations_trainval2014.zip",
            252_872_794,
            "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
            ".",
        ),
        _coco(
            "zips/train2014.zip",
            13_510_573_713,
            "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
            "images",
        ),
        _coco(
            "zips/val2014.zip",
            6_645_013_297,
            "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
            "images",
        ),
    ),
    "karpathy": (
        RemoteFile(
            "caption_datasets.zip",
            (
                "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
                "hf://datasets/gpantaz/karpathy_split/caption_datasets.zip",
            ),
            36_745_453,
            "4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
            "annotations",
            note="holds Flickr8k's and Flickr30k's splits too; the first address has answered 403 at times",
        ),
    ),
    "blip": (
        _karpathy("train", "aa31ac474cf6250ebb81d18348a07ed8"),
        _karpathy("val", "b273847456ef5580e33713b1f7de52a0"),
        _karpathy("test", "3ff34b0ef2db02d01c37399f6a2a6cd1"),
    ),
}

_VISUAL_GENOME_IMAGE_DATA = RemoteFile(
    "image_data.json.zip",
    (f"{_VISUAL_GENOME}/image_data.json.zip",),
    1_780_854,
    "b87a94918cb2ff4d952cf1dfeca0b9cf6cd6fd204c2f8704645653be1163681a",
    ".",
)
VISUAL_GENOME: dict[str, tuple[RemoteFile, ...]] = {
    "annotations": (
        _VISUAL_GENOME_IMAGE_DATA,
        RemoteFile(
            "region_descriptions.json.zip",
            (f"{_VISUAL_GENOME}/region_descriptions.json.zip",),
            extract_to=".",
            about=127_377_968,
            note="no hash was published by its authors: the first download's is recorded",
        ),
    ),
    "images": (
        RemoteFile(
            "images.zip",
            (f"{_VISUAL_GENOME_IMAGES}/images.zip", f"{_DATA_OPTIM}/images.zip"),
            9_731_705_982,
            "51c682d2721f880150720bb416e0346a4c787e4c55d7f80dfd1bd3f73ba81646",
            ".",
        ),
        RemoteFile(
            "images2.zip",
            (f"{_VISUAL_GENOME_IMAGES}/images2.zip", f"{_DATA_OPTIM}/images2.zip"),
            5_471_658_058,
            "99da1a0ddf87011319ff3b05cf9176ffee2731cc3c52951162d9ef0d68e3cfb5",
            ".",
        ),
    ),
    "blip": (
        _VISUAL_GENOME_IMAGE_DATA,
        RemoteFile(
            "vg.json",
            (
                f"{_SALESFORCE}/datasets/vg_caption.json",
                f"{_SALESFORCE}/LAVIS/datasets/visual_genome/vg_caption.json",
            ),
            note="the edition with 821K texts; published as vg_caption.json without size or hash",
        ),
    ),
    "albef": (
        RemoteFile(
            "json_pretrain.zip",
            (f"{_ALBEF}/json_pretrain.zip",),
            extract_to="albef",
            note="the edition with 769K texts, among other files: copy its vg.json beside image_data.json",
        ),
    ),
}

IMAGECODE: dict[str, tuple[RemoteFile, ...]] = {
    "texts": (
        _imagecode(
            "train_data.json",
            "15b993f545c6e659d80afa133c313f2b377e89f5",
            2_392_766,
            "0de229dcffd6e160208a9173b8829fa31e35db040f058170c1f770e08f305b69",
        ),
        _imagecode(
            "valid_data.json",
            "15b993f545c6e659d80afa133c313f2b377e89f5",
            321_098,
            "cb4b8482354ba9bac62b6e101f145f9e59722dcf3b3fd42583f5b6de12bc698a",
        ),
        _imagecode(
            "test_data_unlabeled.json",
            "ce74dd1017dd41ab0eaa072fd1ee6e461396da56",
            316_435,
            "b8cc677826af2e5fd1a61c0d1b165054b7d27989551a4d98a15954e93e660d5b",
        ),
    ),
    "annotations": (
        _imagecode(
            "analysis/manual_annotation_valid.yaml",
            "15b993f545c6e659d80afa133c313f2b377e89f5",
            487_407,
            "39cfbd1cc81d3811bcb346bf4b84521ef1e8ae3641dcb1d05b397454d702b8a4",
        ),
        _ndcr(
            "dev_model_split_2.json",
            "abb06f72cb0c825a7e16b7f938004bbc9beb298c",
            619_440,
            "d99c92c9b04a0c28d7f9edbede20086dd9422a0b29783709b3dbbe2076300651",
        ),
        _ndcr(
            "test_model_split_2.json",
            "187e2728cf581fc0495b8e6fa869b3d8035b62c2",
            624_355,
            "c7b66598f94e105c2653a9ea00f7cf9673d36c5d2807f4afd4fcf7c1550961c0",
        ),
    ),
    "images": (
        RemoteFile(
            "image-sets.zip",
            (f"{_IMAGECODE_HUB}/image-sets.zip",),
            about=13_800_000_000,
            note="read as it is, never extracted; no hash was found: the first download's is recorded",
        ),
    ),
}

MMVP_VLM: dict[str, tuple[RemoteFile, ...]] = {
    "questions": (RemoteFile("Questions.csv", (f"{_MMVP}/Questions.csv",), about=9_930),),
    "images": tuple(
        RemoteFile(path, (f"{_MMVP}/{path}",))
        for block, kind in enumerate(MMVP_TYPES)
        for number in range(_MMVP_A_TYPE * block + 1, _MMVP_A_TYPE * (block + 1) + 1)
        for path in [f"MLLM_VLM Images/{kind}/{number}.jpg"]
    ),
}

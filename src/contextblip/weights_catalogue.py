"""Published weights that a backbone can be, with addresses, sizes and hashes as far as they were found.

It lies outside `contextblip.checkpoints`, for importing that package costs torch, which no list needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from contextblip.downloads.remote_files import RemoteFile
from contextblip.errors import ConfigurationError

LICENCE = "BSD-3-Clause"
_BLIP = "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models"
# Backbone tensors of our reader: ViT, text encoder with cross-attention, projections, match head
_PARAMETERS = {
    ("base", 224): 223_452_418,
    ("base", 384): 223_744_258,
    ("large", 224): 445_739_522,
    ("large", 384): 446_128_642,
}
VOCABULARY = RemoteFile(
    "bert-base-uncased/vocab.txt",
    ("hf://google-bert/bert-base-uncased/vocab.txt", "hf://Salesforce/blip-itm-base-coco/vocab.txt"),
    231_508,
    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
)


@dataclass(frozen=True)
class WeightsEntry:
    """Weights as published.

    Attributes:
        name: On the command line.
        what: What they were trained on, one line.
        backbone: File or folder below the root for ``--model.backbone``.
        files: What is downloaded; the first are the weights.
        image_size: Side in pixels that the position embeddings are for.
        parameters: Of the backbone; leftovers in the file, such as BLIP's text decoder, do not count.
        licence: Of the weights.
        note: What a user should know.
    """

    name: str
    what: str
    backbone: str
    files: tuple[RemoteFile, ...]
    image_size: int
    parameters: int
    licence: str = LICENCE
    note: str = ""


def _salesforce(
    name: str, what: str, vit: str, image_size: int, *, about: int | None = None, note: str = ""
) -> WeightsEntry:
    """Describe one of Salesforce's files; it has no vocabulary, so BERT's comes along and is found there."""
    file = RemoteFile(f"{name}.pth", (f"{_BLIP}/{name}.pth",), about=about)
    parameters = _PARAMETERS[vit, image_size]
    return WeightsEntry(name, what, file.path, (file, VOCABULARY), image_size, parameters, note=note)


def _transformers(name: str, what: str, vit: str, about: int, sha256: str | None) -> WeightsEntry:
    """Describe a repository of the hub; its ``main`` may have no safetensors file, hence the older one."""
    repository = f"hf://Salesforce/{name}"
    small = ("config.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
    files = (
        RemoteFile(
            f"{name}/pytorch_model.bin", (f"{repository}/pytorch_model.bin",), sha256=sha256, about=about
        ),
        *(RemoteFile(f"{name}/{file}", (f"{repository}/{file}",)) for file in small),
    )
    return WeightsEntry(name, what, name, files, 384, _PARAMETERS[vit, 384])


_ENTRIES = (
    _salesforce(
        "model_base",
        "ViT-B, pre-trained on 129M images",
        "base",
        224,
        note="the paper starts from this one",
    ),
    _salesforce("model_base_14M", "ViT-B, pre-trained on 14M images", "base", 224),
    _salesforce(
        "model_base_capfilt_large",
        "ViT-B, pre-trained on 129M images, CapFilt-L captions",
        "base",
        224,
        about=2_120_000_000,
    ),
    _salesforce("model_large", "ViT-L, pre-trained on 129M images", "large", 224),
    _salesforce("model_base_retrieval_coco", "ViT-B, tuned for COCO retrieval", "base", 384),
    _salesforce("model_base_retrieval_flickr", "ViT-B, tuned for Flickr30k retrieval", "base", 384),
    _salesforce(
        "model_large_retrieval_coco", "ViT-L, tuned for COCO retrieval", "large", 384, about=3_690_000_000
    ),
    _salesforce("model_large_retrieval_flickr", "ViT-L, tuned for Flickr30k retrieval", "large", 384),
    _transformers(
        "blip-itm-base-coco",
        "transformers' ViT-B for COCO retrieval",
        "base",
        895_000_000,
        "017fb3e7f4e125f13a8a4717f1402dbe0d0bb877474b4a203db13a4447b0227f",
    ),
    _transformers(
        "blip-itm-base-flickr",
        "transformers' ViT-B for Flickr30k retrieval",
        "base",
        895_000_000,
        "8d5e0fa9646853f11ba81db09b89f2265ed60ff1d7e69e594f46e103db391488",
    ),
    _transformers(
        "blip-itm-large-coco",
        "transformers' ViT-L for COCO retrieval",
        "large",
        1_780_000_000,
        "f97fb8b12b0e2bdffa6ffe38b998e1dc208eb877b9baa13237c43868cdc6741e",
    ),
    _transformers(
        "blip-itm-large-flickr", "transformers' ViT-L for Flickr30k retrieval", "large", 1_780_000_000, None
    ),
)
WEIGHTS: dict[str, WeightsEntry] = {entry.name: entry for entry in _ENTRIES}


def find_weights(name: str) -> WeightsEntry:
    """Look weights up.

    Args:
        name: Their name, a file name with ``.pth``, or a hub id of Salesforce's.

    Returns:
        The entry.

    Raises:
        ConfigurationError: There are none of that name.
    """
    key = name.removeprefix("Salesforce/").removesuffix(".pth")
    if key in WEIGHTS:
        return WEIGHTS[key]
    near = get_close_matches(key, WEIGHTS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(WEIGHTS)}"
    raise ConfigurationError(f"no weights {name!r}; {hint}")

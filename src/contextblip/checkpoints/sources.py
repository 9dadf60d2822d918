"""A backbone from whatever the user names: our folder, Salesforce's file, Hugging Face's folder or id."""

from pathlib import Path

from contextblip.checkpoints import huggingface, native, published, salesforce
from contextblip.checkpoints.adapted import from_checkpoint
from contextblip.checkpoints.files import missing_path, read_json
from contextblip.checkpoints.kinds import open_weights
from contextblip.checkpoints.names import ADAPTED_PARTS, is_backbone_name, part_of
from contextblip.checkpoints.native import RANDOM_PREFIX, random_backbone, random_config, with_heads
from contextblip.checkpoints.sizes import fit, infer_config, with_image_size
from contextblip.checkpoints.structures import AdaptedWeights, Backbone, RawBackbone
from contextblip.errors import CheckpointError
from contextblip.models.config import BackboneConfig

ACCEPTED = (
    "a backbone is our folder (config.json, model.safetensors), a Salesforce .pth or .safetensors, "
    "a Hugging Face BLIP folder or id (org/name), random:base or random:miniature"
)


def load_backbone(
    source: str,
    image_size: int | None = None,
    *,
    vision_heads: int | None = None,
    text_heads: int | None = None,
) -> Backbone:
    """Load BLIP's weights; sizes come with them.

    Args:
        source: Our folder, a Salesforce ``.pth``, ``.pt`` or ``.safetensors``, a Hugging Face BLIP folder or
            hub id, or ``random:`` and a preset, drawn from torch's current random state.
        image_size: Side in pixels to fit the position embeddings to; ``None`` keeps the backbone's own.
        vision_heads: Heads of a ViT block where the file shows none; ``None`` means width / 64.
        text_heads: Heads of a text layer where the file shows none; ``None`` means width / 64.

    Returns:
        fp32 weights in our names with their sizes, vocabulary, fingerprint and report.

    Raises:
        CheckpointError: The source is missing, unreadable, of no known kind, incomplete, or holds unknown
            tensors.
        ConfigurationError: ``image_size`` is no multiple of the patch.
    """
    return fit(read_raw(source, vision_heads, text_heads), source, image_size)


def read_backbone_config(source: str, image_size: int | None = None) -> tuple[BackboneConfig, Path | None]:
    """Read the sizes and find the vocabulary of a backbone without loading its values.

    Args:
        source: As for `load_backbone`.
        image_size: Side in pixels; ``None`` keeps the backbone's own.

    Returns:
        Sizes, and the vocabulary file or folder if the source has one.

    Raises:
        CheckpointError: As for `load_backbone`.
        ConfigurationError: ``image_size`` is no multiple of the patch.
    """
    raw = read_raw(source, shapes_only=True)
    return with_image_size(raw.config, image_size), raw.vocabulary


def read_raw(
    source: str, vision_heads: int | None = None, text_heads: int | None = None, *, shapes_only: bool = False
) -> RawBackbone:
    """Find a source's kind and read it; see `load_backbone`."""
    if source.startswith(RANDOM_PREFIX):
        raw = random_backbone(random_config(source), shapes_only=shapes_only)
    else:
        path = Path(source).expanduser()
        if path.is_file():
            return _from_file(path, vision_heads, text_heads, shapes_only)
        if not path.exists() and _may_be_hub_id(source):
            path = huggingface.fetch(source)
        if not path.is_dir():
            raise CheckpointError(f"backbone {source!r}: {missing_path(path)}; {ACCEPTED}")
        raw = _from_folder(path, shapes_only)
    raw.config = with_heads(raw.config, vision_heads, text_heads)
    return raw


def _may_be_hub_id(source: str) -> bool:
    """Whether a name that is no file here may be an id: not one of a weights file, nor in a folder here."""
    path = Path(source)
    is_file_name = path.suffix in (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
    return bool(huggingface.HUB_ID.fullmatch(source)) and not is_file_name and not path.parent.is_dir()


def _from_folder(folder: Path, shapes_only: bool) -> RawBackbone:
    config_file = folder / native.CONFIG_FILE
    if not config_file.is_file():
        inner = sorted(str(file.parent) for file in folder.glob(f"*/{native.CONFIG_FILE}"))
        hint = f"; did you mean {' or '.join(inner[:3])}?" if inner else ""
        raise CheckpointError(
            f"backbone {str(folder)!r}: the folder has no {native.CONFIG_FILE}{hint}; {ACCEPTED}"
        )
    values = read_json(config_file)
    if huggingface.is_huggingface(values):
        return huggingface.read_folder(folder, values, shapes_only=shapes_only)
    return only_backbone(native.read_folder(folder, values, shapes_only=shapes_only), str(folder))


def _from_file(
    path: Path, vision_heads: int | None, text_heads: int | None, shapes_only: bool
) -> RawBackbone:
    """Read a file; only some forms store the sizes that no tensor shows."""
    file = open_weights(path, shapes_only=shapes_only)
    ignored: list[str] = []
    notes: list[str] = []
    config: BackboneConfig | None = None
    vocabulary: Path | None = None
    if file.naming == "salesforce":
        state, ignored, notes = salesforce.to_ours(file.tensors, str(path))
        config = salesforce.stored_config(file.extras, str(path))
    elif file.naming == "published":
        state, ignored, _ = published.to_ours(file.tensors, str(path))
    elif file.naming == "checkpoint":
        adapted = from_checkpoint(file, str(path))
        state = adapted.state_dict
        if not any(map(is_backbone_name, state)):
            raise CheckpointError(
                f"{path}: holds no backbone, only what was trained on {adapted.backbone_source}; name that "
                "as --model.backbone and this file as --model.init_from"
            )
        config, vocabulary = own_backbone(adapted)
    else:
        raise CheckpointError(
            f"{path}: a file without its {native.CONFIG_FILE}; name the folder {path.parent}"
        )
    if config is None:
        config = infer_config(state, vision_heads, text_heads, str(path))
    config = with_heads(config, vision_heads, text_heads)
    vocabulary = vocabulary or _vocabulary_near(path, config)
    return only_backbone(RawBackbone(state, config, vocabulary, ignored, notes), str(path))


def _vocabulary_near(path: Path, config: BackboneConfig) -> Path | None:
    """Find a vocabulary that fits a lone file: beside it, or where `weights download` puts BERT's."""
    for file in (path.with_name("vocab.txt"), path.parent / "bert-base-uncased" / "vocab.txt"):
        # [DEC] and [ENC] come on top of the file's lines
        if file.is_file() and len(file.read_text(encoding="utf-8").splitlines()) + 2 == config.vocab_size:
            return file
    return None


def own_backbone(adapted: AdaptedWeights) -> tuple[BackboneConfig, Path | None]:
    """Find sizes and vocabulary of the backbone that adapted weights hold.

    Args:
        adapted: Weights with a backbone among them.

    Returns:
        Sizes, and the vocabulary of the backbone that the first stage started from, if it still lies there.

    Raises:
        CheckpointError: Neither the file nor the backbone it names tells the number of heads.
    """
    if adapted.backbone_source is None:
        return adapted.config or infer_config(adapted.state_dict, source=adapted.source), None
    try:
        named, vocabulary = read_backbone_config(adapted.backbone_source)
    except CheckpointError as error:
        if adapted.config is None:
            raise CheckpointError(
                f"{adapted.source}: shows no number of heads, nor does the backbone it names: {error}"
            ) from error
        return adapted.config, None
    heads = named.vision_heads, named.text_heads
    return adapted.config or infer_config(adapted.state_dict, *heads, adapted.source), vocabulary


def only_backbone(raw: RawBackbone, source: str) -> RawBackbone:
    """Leave adapted parts out of what was read, and say so."""
    adapted = [name for name in raw.state_dict if part_of(name) in ADAPTED_PARTS]
    if adapted:
        raw.state_dict = {name: t for name, t in raw.state_dict.items() if part_of(name) not in ADAPTED_PARTS}
        raw.ignored += adapted
        raw.notes.append(
            f"only the backbone was taken; for the adapted parts name {source} as --model.init_from"
        )
    return raw

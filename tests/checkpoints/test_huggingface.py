"""Hugging Face's BLIP: all keys both ways, and the same outputs as transformers' own class."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from contextblip.checkpoints import load_backbone, read_backbone_config, save_backbone
from contextblip.checkpoints.huggingface import save_huggingface
from contextblip.errors import CheckpointError
from contextblip.models import BackboneConfig, ContextBLIP
from contextblip.models.contextblip import ITMToken

Retrieval = transformers.BlipForImageTextRetrieval
Theirs = Any  # transformers is not typed here


@pytest.fixture
def theirs(config: BackboneConfig) -> Theirs:
    """Return their class with random weights, biases and norms too."""
    text = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.text_width,
        "intermediate_size": config.text_mlp_width,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.text_heads,
        "max_position_embeddings": config.max_positions,
        "bos_token_id": 18,
    }
    vision = {
        "hidden_size": config.vision_width,
        "intermediate_size": config.vision_mlp_width,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.vision_heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "layer_norm_eps": 1e-6,
    }
    blip_config = transformers.BlipConfig(
        text_config=text,
        vision_config=vision,
        image_text_hidden_size=config.projection_width,
        attn_implementation="eager",
    )
    torch.manual_seed(2)
    model = Retrieval(blip_config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.fixture
def folder(tmp_path: Path, theirs: Theirs) -> Path:
    theirs.save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


@pytest.fixture
def inputs(config: BackboneConfig) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    images = torch.randn(3, 3, config.image_size, config.image_size)
    input_ids = torch.tensor([[2, 7, 8, 9, 3], [2, 7, 3, 0, 0], [2, 5, 6, 3, 0]])
    return images, input_ids, (input_ids > 0).long()


def ours(folder: Path, itm_token: ITMToken) -> ContextBLIP:
    backbone = load_backbone(str(folder))
    model = ContextBLIP.build(backbone.config, adapter_layers=[], itm_token=itm_token)
    model.load_state_dict(backbone.state_dict)
    return model.eval()


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("itm_token", ["cls", "enc"])
def test_outputs_equal_transformers(
    folder: Path, theirs: Theirs, inputs: tuple[Tensor, Tensor, Tensor], itm_token: ITMToken
) -> None:
    images, input_ids, mask = inputs
    model = ours(folder, itm_token)
    image, text = model.encode_images(images), model.encode_text(input_ids, mask)
    fused = model.fuse(input_ids, mask, image.image_embeds)
    # their class never swaps in [ENC]; it must be given to it
    first = model.config.enc_token_id if itm_token == "enc" else 2
    grounded = torch.cat([torch.full((3, 1), first), input_ids[:, 1:]], dim=1)
    plain = theirs(input_ids, images, attention_mask=mask, use_itm_head=False)
    matched = theirs(grounded, images, attention_mask=mask)
    assert_close(image.image_embeds, plain.last_hidden_state)
    real = mask.bool()
    assert_close(text.text_embeds[real], plain.question_embeds[real])
    assert_close(image.image_features @ text.text_features.T, plain.itm_score)
    assert_close(fused.multimodal_embeds[real], matched.question_embeds[real])
    assert_close(model.itm_logits(fused.multimodal_embeds), matched.itm_score)


@torch.no_grad()
def test_the_two_tokens_differ(folder: Path, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    images, input_ids, mask = inputs
    logits = []
    tokens: tuple[ITMToken, ...] = ("cls", "enc")
    for token in tokens:
        model = ours(folder, token)
        embeds = model.encode_images(images).image_embeds
        logits.append(model.itm_logits(model.fuse(input_ids, mask, embeds).multimodal_embeds))
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_sizes_and_enc_token(folder: Path, config: BackboneConfig) -> None:
    values = json.loads((folder / "config.json").read_text())
    values["text_config"]["enc_token_id"] = 3  # published configs carry wrong ones
    (folder / "config.json").write_text(json.dumps(values))
    assert load_backbone(str(folder)).config == config
    assert read_backbone_config(str(folder)) == (config, None)


def test_vocabulary_is_found(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert read_backbone_config(str(folder))[1] == folder
    (folder / "vocab.txt").write_text("[PAD]\n")
    assert load_backbone(str(folder)).vocabulary == folder / "vocab.txt"


@torch.no_grad()
def test_what_we_write_transformers_reads(
    tmp_path: Path,
    config: BackboneConfig,
    state_dict: dict[str, Tensor],
    vocabulary: Path,
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    written = save_huggingface(tmp_path / "written", config, state_dict, vocabulary)
    read, info = Retrieval.from_pretrained(written, output_loading_info=True, attn_implementation="eager")
    assert [info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")] == [
        set(),
        set(),
        set(),
    ]
    images, input_ids, mask = inputs
    model = ContextBLIP.build(config, adapter_layers=[], itm_token="cls").eval()
    model.load_state_dict(state_dict)
    embeds = model.encode_images(images).image_embeds
    expected = model.itm_logits(model.fuse(input_ids, mask, embeds).multimodal_embeds)
    assert_close(read.eval()(input_ids, images, attention_mask=mask).itm_score, expected)
    assert (written / "vocab.txt").read_text() == vocabulary.read_text()


def test_written_and_read_again_bit_by_bit(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    backbone = load_backbone(str(save_huggingface(tmp_path / "written", config, state_dict, None)))
    assert backbone.config == config
    assert backbone.state_dict.keys() == state_dict.keys()
    assert [n for n, t in state_dict.items() if not torch.equal(t, backbone.state_dict[n])] == []
    assert backbone.report.notes == []


@pytest.mark.parametrize("form", ["shards", "bin", "bin-shards"])
def test_other_files_of_weights(folder: Path, theirs: Theirs, form: str) -> None:
    expected = load_backbone(str(folder)).fingerprint
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if form == "shards":
        theirs.save_pretrained(folder, max_shard_size="20KB")
        assert len(list(folder.glob("*.safetensors"))) > 2
    elif form == "bin":
        torch.save(
            {**tensors, "text_encoder.embeddings.position_ids": torch.arange(12)},
            folder / "pytorch_model.bin",
        )
    else:
        names = sorted(tensors)
        halves = {"a.bin": names[::2], "b.bin": names[1::2]}
        for file, part in halves.items():
            torch.save({name: tensors[name] for name in part}, folder / file)
        index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert load_backbone(str(folder)).fingerprint == expected


def test_what_a_config_leaves_out_is_transformers_default(tmp_path: Path) -> None:
    """Configs of some releases hold only what differs; heads are the one size no tensor shows."""
    vision = {
        "image_size": 16,
        "patch_size": 8,
        "hidden_size": 24,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
    }
    text = {"hidden_size": 16, "vocab_size": 20, "num_hidden_layers": 1, "intermediate_size": 8}
    model = Retrieval(transformers.BlipConfig(vision_config=vision, text_config=text))
    model.save_pretrained(tmp_path)
    short = {"model_type": "blip", "vision_config": vision, "text_config": text}
    (tmp_path / "config.json").write_text(json.dumps(short))
    backbone = load_backbone(str(tmp_path))
    heads = (model.config.vision_config.num_attention_heads, model.config.text_config.num_attention_heads)
    assert (backbone.config.vision_heads, backbone.config.text_heads) == heads == (12, 8)
    assert any("epsilon 1e-05" in note for note in backbone.report.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["BlipForConditionalGeneration"]}, "holds BlipForConditionalGeneration"),
        ({"model_type": "clip", "architectures": ["CLIPModel"]}, "only BlipForImageTextRetrieval"),
        ({"text_config": {"hidden_act": "relu"}}, "text_config.hidden_act is 'relu'"),
        ({"vision_config": 3}, "vision_config is no object"),
    ],
)
def test_other_models_are_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | change))
    with pytest.raises(CheckpointError, match=message):
        load_backbone(str(folder))


def test_unknown_and_missing_tensors_are_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "text_decoder.bias": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="no place in the model: text_decoder.bias"):
        load_backbone(str(folder))
    tensors.pop("itm_head.bias")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="missing: itm_head.bias"):
        load_backbone(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match="no weights; looked for model.safetensors and pytorch_model.bin"
    ):
        load_backbone(str(folder))


def test_a_file_alone_asks_for_its_folder(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=f"name the folder {folder}"):
        load_backbone(str(folder / "model.safetensors"))


def test_a_hub_id_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    cached = save_huggingface(tmp_path / "cached", config, state_dict, None)
    weights = cached / "pytorch_model.bin"
    torch.save(load_file(cached / "model.safetensors"), weights)
    (cached / "model.safetensors").unlink()
    asked = []

    def download(repo: str, allow_patterns: list[str]) -> str:
        asked.append((repo, allow_patterns[-1]))
        return str(cached)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_backbone("org/blip").config == config
    assert asked == [("org/blip", "*.safetensors"), ("org/blip", "*.bin")]


def test_an_id_that_cannot_be_had_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        load_backbone("no-such-org/blip-itm")
    message = str(caught.value)
    assert "\n" not in message
    assert "'no-such-org/blip-itm'" in message
    assert "HF_HUB_OFFLINE" in message


def test_a_mistyped_path_is_not_looked_for_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    save_backbone(tmp_path / "assets" / "miniature", config, state_dict, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: shutil.rmtree("/nonexistent"))
    with pytest.raises(CheckpointError, match=r"did you mean assets/miniature\?"):
        load_backbone("assets/minature")

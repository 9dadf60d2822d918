"""Salesforce's checkpoints: both kinds, the loader's two rules, and nothing unknown let through."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from contextblip.checkpoints import infer_config, load_backbone, read_adapted, read_backbone_config
from contextblip.checkpoints.salesforce import from_ours, save_salesforce, to_ours
from contextblip.checkpoints.sizes import resize_positions
from contextblip.errors import CheckpointError
from contextblip.models import BackboneConfig

PARITY = Path(os.environ.get("CONTEXTBLIP_PARITY", Path(__file__).parents[3] / "shared" / "parity"))
HEADS = {"vision_heads": 3, "text_heads": 2}


@pytest.fixture
def plain(tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as Salesforce names them."""
    tensors: dict[str, Tensor] = load_file(
        save_salesforce(tmp_path / "plain.safetensors", config, state_dict)
    )
    return tensors


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def test_names_are_salesforces(plain: dict[str, Tensor], salesforce_names: set[str]) -> None:
    assert plain.keys() == salesforce_names
    assert plain["text_encoder.embeddings.position_ids"].tolist() == [list(range(12))]


def test_pretraining_kind(
    tmp_path: Path, plain: dict[str, Tensor], config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    leftovers = {
        "visual_encoder_m.cls_token",
        "text_encoder_m.embeddings.position_ids",
        "vision_proj_m.weight",
        "text_proj_m.bias",
        "image_queue",
        "text_queue",
        "queue_ptr",
        "text_decoder.bert.embeddings.position_ids",
        "text_decoder.cls.predictions.bias",
    }
    words = torch.randn(20, 16)
    tied = "text_decoder.bert.embeddings.word_embeddings.weight"
    content = {**plain, tied: words, **{name: torch.zeros(3) for name in leftovers}}
    torch.save({"model": content, "optimizer": {"state": {}}, "epoch": 19}, tmp_path / "model_base.pth")
    backbone = load_backbone(str(tmp_path / "model_base.pth"), **HEADS)
    assert backbone.config == config
    assert_same(backbone.state_dict, {**state_dict, "text_encoder.word_embeddings.weight": words})
    assert set(backbone.report.ignored) == leftovers | {"text_encoder.embeddings.position_ids"}
    assert any(tied in note for note in backbone.report.notes)
    assert "text_decoder (1)" in backbone.report.lines()[1]
    assert "position_ids (3)" in backbone.report.lines()[1]


def test_retrieval_kind(tmp_path: Path, plain: dict[str, Tensor], state_dict: dict[str, Tensor]) -> None:
    leftovers = (
        "image_queue",
        "text_queue",
        "idx_queue",
        "ptr_queue",
        "text_encoder_m.embeddings.LayerNorm.bias",
    )
    content = {**plain, **{name: torch.zeros(1, 3) for name in leftovers}}
    torch.save({"model": content}, tmp_path / "model_base_retrieval_coco.pth")
    backbone = load_backbone(str(tmp_path / "model_base_retrieval_coco.pth"), **HEADS)
    assert_same(backbone.state_dict, state_dict)
    assert backbone.report.notes == []


@pytest.mark.parametrize("form", ["bare.pt", "legacy.pth", "wrapped.pth", "parallel.pt", "names.safetensors"])
def test_every_wrapping_is_opened(
    tmp_path: Path, plain: dict[str, Tensor], state_dict: dict[str, Tensor], form: str
) -> None:
    path = tmp_path / form
    if form.startswith("names"):
        save_file(plain, path)
    elif form.startswith("legacy"):
        torch.save(plain, path, _use_new_zipfile_serialization=False)
    elif form.startswith("wrapped"):
        torch.save({"model": plain, "config": {"vit": "base"}}, path)
    else:
        prefix = "module." if form.startswith("parallel") else ""
        torch.save({prefix + name: tensor for name, tensor in plain.items()}, path)
    assert_same(load_backbone(str(path), **HEADS).state_dict, state_dict)


@pytest.mark.parametrize("name", ["ours.pth", "ours.safetensors"])
def test_our_own_files_know_their_heads(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor], name: str
) -> None:
    path = save_salesforce(tmp_path / name, config, state_dict)
    backbone = load_backbone(str(path))
    assert backbone.config == config
    assert_same(backbone.state_dict, state_dict)
    assert read_backbone_config(str(path), 32)[0].image_size == 32


def test_no_temperature_means_blips_start(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    plain.pop("temp")
    save_file(plain, tmp_path / "cold.safetensors")
    backbone = load_backbone(str(tmp_path / "cold.safetensors"), **HEADS)
    assert backbone.state_dict["temperature"].item() == pytest.approx(0.07)


@pytest.mark.parametrize(
    "stranger", ["cls_head.0.weight", "text_encoder.pooler.dense.bias", "visual_encoder.cls"]
)
def test_unknown_leftovers_are_an_error(tmp_path: Path, plain: dict[str, Tensor], stranger: str) -> None:
    plain[stranger] = torch.zeros(2)
    save_file(plain, tmp_path / "vqa.safetensors")
    with pytest.raises(CheckpointError, match=rf"1 tensors have no place in the model: {stranger}"):
        load_backbone(str(tmp_path / "vqa.safetensors"), **HEADS)


def test_missing_tensors_are_an_error(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    for name in ("itm_head.weight", "text_encoder.encoder.layer.1.output.dense.bias"):
        plain.pop(name)
    save_file(plain, tmp_path / "part.safetensors")
    with pytest.raises(
        CheckpointError, match=r"2 backbone .* itm_head.weight, text_encoder.layers.1.mlp.fc2.bias"
    ):
        load_backbone(str(tmp_path / "part.safetensors"), **HEADS)


def test_a_caption_model_is_no_backbone(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    vision = {name: tensor for name, tensor in plain.items() if name.startswith("visual_encoder")}
    torch.save({"model": vision}, tmp_path / "caption.pth")
    with pytest.raises(CheckpointError, match="no BLIP backbone: .* is missing"):
        load_backbone(str(tmp_path / "caption.pth"))


def test_heads_default_to_64_wide(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    save_file(plain, tmp_path / "narrow.safetensors")
    with pytest.raises(CheckpointError, match="width 24 is no multiple of 64"):
        load_backbone(str(tmp_path / "narrow.safetensors"))
    with pytest.raises(CheckpointError, match="vision_heads 5 does not divide the width 24"):
        load_backbone(str(tmp_path / "narrow.safetensors"), vision_heads=5, text_heads=2)


def test_heads_of_published_sizes() -> None:
    shapes = {
        "vision_encoder.patch_embed.weight": (1024, 3, 16, 16),
        "vision_encoder.pos_embed": (1, 1 + 24 * 24, 1024),
        "vision_encoder.blocks.0.mlp.fc1.weight": (4096, 1024),
        "vision_encoder.blocks.23.mlp.fc1.weight": (4096, 1024),
        "text_encoder.word_embeddings.weight": (30524, 768),
        "text_encoder.position_embeddings.weight": (512, 768),
        "text_encoder.layers.0.mlp.fc1.weight": (3072, 768),
        "text_encoder.layers.11.mlp.fc1.weight": (3072, 768),
        "vision_proj.weight": (256, 1024),
    }
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    large = infer_config(state)
    assert (large.image_size, large.vision_layers, large.vision_heads, large.text_heads) == (384, 24, 16, 12)
    assert large.enc_token_id == 30523
    state["vision_encoder.pos_embed"] = torch.empty(1, 12, 1024, device="meta")
    with pytest.raises(CheckpointError, match="11 patch positions do not form a square"):
        infer_config(state)


def test_plain_blip_is_nothing_to_start_a_stage_from(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    save_file(plain, tmp_path / "plain_blip.safetensors")
    with pytest.raises(CheckpointError, match="--model.backbone"):
        read_adapted(tmp_path / "plain_blip.safetensors")


def test_positions_are_resized_bicubically_by_pixel_centres() -> None:
    columns = torch.tensor([7.0, 0.0, 1.0, 0.0, 1.0]).reshape(1, 5, 1)  # [CLS], then 2 x 2 patches
    resized = resize_positions(columns, 4)
    # Keys' kernel, a = -0.75, at a quarter outside the first centre: only the far column has weight
    distance = 1.25
    first = -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    assert resized.shape == (1, 17, 1)
    assert resized[0, 0, 0] == 7
    rows = resized[0, 1:, 0].reshape(4, 4)
    torch.testing.assert_close(rows[:, 0], torch.full((4,), first))
    torch.testing.assert_close(rows[:, 3], torch.full((4,), 1 - first))
    assert torch.equal(resize_positions(columns, 2), columns)


def test_the_loaders_two_rules_as_recorded() -> None:
    """Positions are resized, and the decoder's word embeddings win (published loader, recorded)."""
    if not PARITY.is_dir():
        pytest.skip(f"PARITY NOT CHECKED: no recorded tensors at {PARITY}; set CONTEXTBLIP_PARITY")
    recorded = load_file(PARITY / "checkpoint_quirk.safetensors")
    given = {n.removeprefix("ckpt."): t for n, t in recorded.items() if n.startswith("ckpt.")}
    loaded = {n.removeprefix("loaded."): t for n, t in recorded.items() if n.startswith("loaded.")}
    state, _, _ = to_ours(given, "quirk")
    words = loaded["text_encoder.embeddings.word_embeddings.weight"]
    assert torch.equal(state["text_encoder.word_embeddings.weight"], words)
    positions = loaded["visual_encoder.pos_embed"]
    side = int((positions.shape[1] - 1) ** 0.5)
    assert state["vision_encoder.pos_embed"].shape != positions.shape
    torch.testing.assert_close(resize_positions(state["vision_encoder.pos_embed"], side), positions)


def test_adapted_parts_have_no_name_of_salesforces() -> None:
    assert from_ours({"adapter.up.weight": torch.zeros(1), "score_head.bias": torch.zeros(1)}) == {}


@pytest.mark.parametrize("place", ["vocab.txt", "bert-base-uncased/vocab.txt"])
def test_a_vocabulary_that_lies_beside_and_fits_is_found(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor], place: str
) -> None:
    file = save_salesforce(tmp_path / "model.safetensors", config, state_dict)
    words = tmp_path / place
    words.parent.mkdir(exist_ok=True)
    words.write_text("".join(f"word{number}\n" for number in range(config.vocab_size - 2)))
    assert read_backbone_config(str(file))[1] == words
    words.write_text("one\nword\n")  # of another model
    assert read_backbone_config(str(file))[1] is None

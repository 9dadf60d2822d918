"""Our folder: written whole or not at all, read back bit by bit, refused with one clear line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from contextblip.checkpoints import load_backbone, read_backbone_config, save_backbone
from contextblip.errors import CheckpointError, ConfigurationError
from contextblip.models import PRESETS, BackboneConfig, ContextBLIP


def test_random_backbones_follow_torch_random_state() -> None:
    marks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        marks.append(load_backbone("random:miniature").fingerprint)
    assert marks[0] == marks[1]
    assert marks[0] != marks[2]


def test_random_backbone_fits_its_model() -> None:
    backbone = load_backbone("random:miniature", image_size=32)
    assert backbone.config == replace(PRESETS["miniature"], image_size=32)
    assert backbone.vocabulary is None
    ContextBLIP.build(backbone.config, adapter_layers=[]).load_state_dict(backbone.state_dict)


def test_random_config_needs_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: torch.Tensor) -> None:
        raise AssertionError("a value was drawn")

    monkeypatch.setattr("contextblip.checkpoints.sources.fit", refuse)
    assert read_backbone_config("random:base") == (PRESETS["base"], None)


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(CheckpointError, match=r"did you mean random:miniature\?"):
        load_backbone("random:minature")


def test_a_folder_is_read_back_bit_by_bit(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor], vocabulary: Path
) -> None:
    folder = save_backbone(tmp_path / "a" / "b", config, state_dict, vocabulary)
    backbone = load_backbone(str(folder))
    assert backbone.config == config
    assert backbone.vocabulary == folder / "vocab.txt"
    assert backbone.vocabulary.read_text() == vocabulary.read_text()
    assert backbone.state_dict.keys() == state_dict.keys()
    assert all(torch.equal(backbone.state_dict[name], tensor) for name, tensor in state_dict.items())
    assert backbone.report.matched == len(state_dict) - 1
    assert read_backbone_config(str(folder), 32) == (replace(config, image_size=32), folder / "vocab.txt")
    assert sorted(p.name for p in folder.parent.iterdir()) == ["b"]


def test_half_precision_on_disk_is_single_in_memory(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    folder = save_backbone(tmp_path / "half", config, state_dict, None, torch.float16)
    stored = load_file(folder / "model.safetensors")
    assert stored["itm_head.weight"].dtype == torch.float16
    backbone = load_backbone(str(folder))
    for name, tensor in backbone.state_dict.items():
        original = state_dict[name]
        expected = original if name == "temperature" else original.half().float()
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected), name


def test_adapted_parts_stay_out_of_a_backbone(
    tmp_path: Path, config: BackboneConfig, adapted_model: ContextBLIP
) -> None:
    folder = save_backbone(tmp_path / "bare", config, adapted_model.state_dict(), None)
    assert not [name for name in load_file(folder / "model.safetensors") if name.startswith("adapter")]


def test_metadata_stands_in_both_files(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    folder = save_backbone(tmp_path / "noted", config, state_dict, None, metadata={"steps": "7"})
    with safe_open(folder / "model.safetensors", "pt") as file:
        header = file.metadata()
    written = json.loads((folder / "config.json").read_text())["metadata"]
    mark = load_backbone(str(folder)).fingerprint
    for found in (header, written):
        assert (found["steps"], found["fingerprint"]) == ("7", mark)


def test_files_are_readable_by_the_group_as_the_umask_says(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    folder = save_backbone(tmp_path / "mode", config, state_dict, None)
    modes = {file.name: file.stat().st_mode for file in folder.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_a_failed_write_leaves_the_old_folder(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    folder = save_backbone(tmp_path / "kept", config, state_dict, None)
    before = load_backbone(str(folder)).fingerprint
    changed = {name: tensor + 1 for name, tensor in state_dict.items()}
    with pytest.raises(CheckpointError, match=r"vocabulary .*nowhere"):
        save_backbone(folder, config, changed, tmp_path / "nowhere")
    assert load_backbone(str(folder)).fingerprint == before
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_a_backbone_folder_is_replaced_but_no_other(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor], vocabulary: Path
) -> None:
    folder = save_backbone(tmp_path / "old", config, state_dict, vocabulary)
    changed = {name: tensor + 1 for name, tensor in state_dict.items()}
    save_backbone(folder, config, changed, None)
    assert torch.equal(load_backbone(str(folder)).state_dict["itm_head.bias"], changed["itm_head.bias"])
    assert not (folder / "vocab.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "words"]
    (folder / "notes.md").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not overwritten"):
        save_backbone(folder, config, state_dict, None)
    assert (folder / "notes.md").read_text() == "mine"


def test_tokenizer_folders_are_copied(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    words = tmp_path / "tokenizer"
    words.mkdir()
    (words / "tokenizer.json").write_text("{}")
    (words / "weights.bin").write_text("large")
    folder = save_backbone(tmp_path / "out", config, state_dict, words)
    assert load_backbone(str(folder)).vocabulary == folder
    assert not (folder / "weights.bin").exists()


@pytest.mark.parametrize("size", [18, 2, 0])
def test_image_sizes_must_hold_whole_patches(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor], size: int
) -> None:
    folder = save_backbone(tmp_path / "f", config, state_dict, None)
    with pytest.raises(ConfigurationError, match=f"image_size is {size}.*multiple of the patch size 4"):
        load_backbone(str(folder), size)


def test_adapted_weights_fit_their_backbone_at_every_image_size(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    folder = save_backbone(tmp_path / "f", config, state_dict, None)
    plain, larger = load_backbone(str(folder)), load_backbone(str(folder), 32)
    assert larger.config.num_patches == 64
    assert larger.state_dict["vision_encoder.pos_embed"].shape == (1, 65, 24)
    assert larger.fingerprint == plain.fingerprint
    assert "(1, 17, 24) -> (1, 65, 24)" in larger.report.lines()[1]
    assert plain.report.resized == []


def test_an_absent_path_says_where_and_what_is_near(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    save_backbone(tmp_path / "miniature", config, state_dict, None)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(str(tmp_path / "minature"))
    message = str(caught.value)
    assert "\n" not in message
    assert f"did you mean {tmp_path / 'miniature'}?" in message
    assert "Salesforce .pth" in message


def test_a_folder_without_config_points_into_itself(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    save_backbone(tmp_path / "backbone", config, state_dict, None)
    with pytest.raises(CheckpointError, match=r"no config\.json; did you mean .*backbone\?"):
        load_backbone(str(tmp_path))


def test_a_later_format_asks_for_an_update(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    folder = save_backbone(tmp_path / "new", config, state_dict, None, metadata={"format_version": "99"})
    with pytest.raises(CheckpointError, match="format 99.*update contextblip"):
        load_backbone(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"itm_head.bias": None}, "1 backbone tensors are missing: itm_head.bias"),
        ({"vision_encoder.extra": (2,)}, "1 unknown tensors: vision_encoder.extra"),
        ({"stranger.weight": (2,)}, "1 unknown tensors: stranger.weight"),
        ({"itm_head.bias": (3,)}, r"itm_head.bias is \(3,\), expected \(2,\)"),
    ],
)
def test_damaged_weights_are_named(
    tmp_path: Path,
    config: BackboneConfig,
    state_dict: dict[str, Tensor],
    change: dict[str, tuple[int, ...] | None],
    message: str,
) -> None:
    folder = save_backbone(tmp_path / "f", config, state_dict, None)
    for name, shape in change.items():
        state_dict.pop(name, None)
        if shape is not None:
            state_dict[name] = torch.zeros(shape)
    save_file(state_dict, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_backbone(str(folder))


def test_sizes_that_contradict_the_tensors_are_named(
    tmp_path: Path, config: BackboneConfig, state_dict: dict[str, Tensor]
) -> None:
    folder = save_backbone(tmp_path / "f", config, state_dict, None)
    (folder / "config.json").write_text(json.dumps(replace(config, projection_width=9).to_dict()))
    with pytest.raises(CheckpointError, match=r"vision_proj.weight is \(8, 24\), expected \(9, 24\)"):
        load_backbone(str(folder))
    with pytest.raises(CheckpointError, match=r"word_embeddings.weight is \(20, 16\), expected \(21, 16\)"):
        save_backbone(tmp_path / "g", replace(config, vocab_size=21), state_dict, None)
    assert not (tmp_path / "g").exists()

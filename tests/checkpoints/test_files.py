"""Files that are broken or hostile: nothing runs, one line says what is wrong."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from contextblip.checkpoints import load_backbone, read_adapted
from contextblip.errors import CheckpointError


class Hostile:
    """Creates a file when unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]  # pickle takes any arguments


def assert_refused(path: Path, *words: str) -> None:
    for read in (load_backbone, read_adapted):
        with pytest.raises(CheckpointError) as caught:
            read(str(path))
        message = str(caught.value)
        assert "\n" not in message
        assert str(path) in message
        assert all(word in message for word in words), message


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, legacy: bool) -> None:
    trace, path = tmp_path / "ran", tmp_path / "hostile.pth"
    content = {"model": {"temp": torch.zeros(1)}, "extra": Hostile(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert_refused(path, "refused", "more than tensors")
    assert not trace.exists()
    # the same file does run where care is not taken, so the test can fail
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_a_bare_pickle_does_not_run(tmp_path: Path) -> None:
    trace, path = tmp_path / "ran", tmp_path / "hostile.pt"
    path.write_bytes(pickle.dumps(Hostile(trace)))
    assert_refused(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors", "cut.ckpt"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_files_are_named(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    tensors = {"visual_encoder.cls_token": torch.randn(1, 1, 500)}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_refused(path)


@pytest.mark.parametrize(
    "content", [[torch.zeros(2)], {}, {"epoch": 3}, {"model": {"a": 1}}, {1: torch.zeros(1)}]
)
def test_files_without_a_state_dict_are_named(tmp_path: Path, content: object) -> None:
    path = tmp_path / "odd.pt"
    torch.save(content, path)
    assert_refused(path)


def test_weights_of_another_model_are_named(tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    save_file({"layer1.conv.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}, path)
    assert_refused(path, "unknown model", "fc, layer1")


def test_text_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# words\n")
    assert_refused(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"image_size": 16}', '{"image_size": "x"}'])
def test_a_broken_config_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    assert_refused(tmp_path, "config.json")


def test_a_missing_weights_file_is_never_looked_for_on_the_hub() -> None:
    with pytest.raises(CheckpointError) as refused:
        load_backbone("weights/model_base.pth")
    assert "model_base.pth" in str(refused.value)
    assert "hub does not give" not in str(refused.value)

"""A tiny miniature world and backbone, the real sample files, and a folder that looks like the checkout."""

import logging
import os
from pathlib import Path

import lightning.pytorch  # noqa: F401  # its log handler keeps the error stream it finds, here no single test's
import pytest
import torch

from contextblip.checkpoints import save_backbone
from contextblip.models import BackboneConfig, ContextBLIP
from data_modules.miniature import MiniatureSize, draw_miniature

ROOT = Path(__file__).parents[1]
TINY_WORLD = MiniatureSize(
    captions_train=32, captions_val=8, vg_images=8, sets_train=6, sets_valid=6, sets_test=3, image_size=32
)
TINY_BACKBONE = BackboneConfig(
    image_size=32,
    patch_size=8,
    vision_width=24,
    vision_layers=12,
    vision_heads=2,
    vision_mlp_width=48,
    text_width=24,
    text_layers=2,
    text_heads=2,
    text_mlp_width=48,
    vocab_size=512,
    max_positions=64,
    projection_width=8,
    enc_token_id=511,
)
SMALL_BACKBONE = BackboneConfig(
    image_size=16,
    patch_size=4,
    vision_width=16,
    vision_layers=4,
    vision_heads=2,
    vision_mlp_width=32,
    text_width=16,
    text_layers=2,
    text_heads=2,
    text_mlp_width=32,
    vocab_size=20,
    max_positions=12,
    projection_width=8,
    enc_token_id=19,
)
"""Of tests that need no adapter of the paper's layers: each takes milliseconds."""


LEVELS = {name: logging.getLogger(name).level for name in ("contextblip", "lightning.pytorch")}


@pytest.fixture(autouse=True)
def _loggers_speak() -> None:
    """A test hears its warnings whatever it runs behind: benchmarks silence their process."""
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the checkout, where commands may write; it is the working directory."""
    for name in ("experiments", "assets", "lightning_cli.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shared_folder(variable: str, name: str, missing: str) -> Path:
    """Find a folder beside the checkout; tests that need it are skipped, loudly, where it is absent."""
    folder = Path(os.environ.get(variable, ROOT / ".." / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"{missing} NOT CHECKED: no {folder}; set {variable}")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real sample files."""
    return shared_folder("CONTEXTBLIP_DATA", "data", "REAL FILES")


@pytest.fixture(scope="session")
def parity() -> Path:
    """Folder of what the published code computed."""
    return shared_folder("CONTEXTBLIP_PARITY", "parity", "PARITY")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four data sets in their official layouts."""
    return draw_miniature(tmp_path_factory.mktemp("miniature") / "world", size=TINY_WORLD)


@pytest.fixture(scope="session")
def backbone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random backbone with the world's vocabulary; 12 ViT layers, so the paper's are valid."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ContextBLIP.build(TINY_BACKBONE, adapter_layers=[])
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    return save_backbone(folder, TINY_BACKBONE, model.state_dict(), world / "vocab.txt")

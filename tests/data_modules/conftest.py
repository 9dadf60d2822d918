"""Where the real sample files lie, and how to make small images."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real sample files; tests that need it are skipped, loudly, where it is absent."""
    folder = Path(os.environ.get("CONTEXTBLIP_DATA", REPOSITORY / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"REAL FILES NOT CHECKED: no {folder}; set CONTEXTBLIP_DATA")
    return folder


@pytest.fixture(scope="session")
def parity() -> Path:
    """Folder of what the published code computed."""
    folder = Path(os.environ.get("CONTEXTBLIP_PARITY", REPOSITORY / ".." / "shared" / "parity"))
    if not folder.is_dir():
        pytest.skip(f"PARITY NOT CHECKED: no {folder}; set CONTEXTBLIP_PARITY")
    return folder


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write a small image of one colour."""

    def write(
        path: Path, colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (20, 10)
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return write

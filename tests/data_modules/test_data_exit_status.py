"""Broken data sets end a command with exit status 2 and one line, without a traceback."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contextblip.cli import main

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def fail(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Run a command that must fail; give the one line it says."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)

    def call(*arguments: str) -> str:
        capsys.readouterr()
        shared = [
            "--model.backbone",
            str(backbone),
            "--data.num_workers",
            "0",
            "--trainer.accelerator",
            "cpu",
        ]
        with pytest.raises(SystemExit) as stop:
            main([*arguments, *shared])
        assert stop.value.code == 2
        errors = capsys.readouterr().err.splitlines()
        assert not [line for line in errors if "Traceback" in line]
        (line,) = [line for line in errors if line.startswith("error: ")]
        return line

    yield call
    os.environ.clear()
    os.environ.update(before)


def experiment(name: str) -> str:
    return str(REPOSITORY / "experiments" / name)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.* is deprecated")
def test_an_unreadable_image_in_evaluation(fail: Callable[..., str], imagecode_folder: Path) -> None:
    (image,) = (imagecode_folder / "image-sets").glob("MSR*/img113.jpg")
    image.write_bytes(b"")
    line = fail("test", "--config", experiment("zero_shot.yaml"), "--data.root", str(imagecode_folder))
    assert line == (
        f"error: IMAGECODE, set {image.parent.name}: cannot read image {image} (empty file); "
        "restore or download this file"
    )


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_wrong_root(fail: Callable[..., str], imagecode_folder: Path, verb: str) -> None:
    root = imagecode_folder / "image-sets"
    line = fail(verb, "--config", experiment("finetune.yaml"), "--data.root", str(root))
    assert line.startswith("error: IMAGECODE not found: looked for ")
    assert line.endswith(f"; {root} lies too deep: set --data.root to {imagecode_folder}")


def test_broken_questions(fail: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "Questions.csv").write_text("Question ID,Type,Statement\n1,Text,a\n")
    line = fail("test", "--config", experiment("mmvp_vlm.yaml"), "--data.root", str(tmp_path))
    assert line.startswith(
        f"error: MMVP-VLM: {tmp_path / 'Questions.csv'} has question 1 without its partner 2;"
    )

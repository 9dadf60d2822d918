"""`lightning data`: what it says, what it hands over, and how it fails."""

import json
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from contextblip.cli import main
from contextblip.cli.data_verb import DATASETS, run_data
from contextblip.errors import DatasetError
from data_modules import catalogue

Fail = Callable[[list[str]], str]


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    """A copy of the four data sets."""
    return shutil.copytree(world, tmp_path / "data", ignore=shutil.ignore_patterns(".contextblip"))


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Fail:
    """Run a command that must fail with status 2; give its one line without ``error:``."""

    def call(words: list[str]) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(words)
        lines = capsys.readouterr().err.splitlines()
        assert (stop.value.code, len(lines)) == (2, 1), lines
        return lines[0].removeprefix("error: ")

    return call


def test_names_are_those_of_the_catalogue() -> None:
    assert set(DATASETS) == set(catalogue.DATASETS)


def test_help_names_every_option_and_imports_no_torch() -> None:
    code = (
        "import sys\nfrom contextblip.cli import main\n"
        "try:\n    main(['data', 'verify', '--help'])\nfinally:\n    assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    options = (
        "--root",
        "--image_root",
        "--num_workers",
        "--report",
        "--no_images",
        "--fresh",
        "--allow_part",
    )
    for option in ("NAME", *options):
        assert option in shown
    assert "coco, visual_genome, imagecode, mmvp_vlm" in shown


def test_verify_reports_a_whole_data_set(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = root / "reports" / "mmvp.json"
    main(["data", "verify", "mmvp_vlm", "--root", str(root), "--num_workers", "1", "--report", str(report)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"report: {report}", "mmvp_vlm: all good"]
    assert json.loads(report.read_text())["status"] == "good"


def test_verify_fails_with_one_line(root: Path, refuse: Fail) -> None:
    gone = root / "mmvp_vlm" / "MLLM_VLM Images" / "State" / "61.jpg"
    gone.unlink()
    gone.with_name("62.jpg").write_text("no image")
    assert refuse(["data", "verify", "mmvp_vlm", "--root", str(root)]) == (
        "MMVP-VLM: 1 image is missing: MLLM_VLM Images/State/61.jpg; 1 image is unreadable, first "
        "mmvp_vlm/MLLM_VLM Images/State/62.jpg (no image, or of an unknown format); "
        "copy the folder MLLM_VLM Images of MMVP/MMVP_VLM there (again); "
        f"all are listed in {root}/.contextblip/verify-mmvp_vlm.json"
    )


def test_verify_fails_with_less_than_was_published(root: Path, refuse: Fail) -> None:
    words = ["data", "verify", "imagecode", "--root", str(root), "--num_workers", "1"]
    assert refuse(words) == (
        "IMAGECODE: not the full data set: 15 of 9,402 sets; pass --allow_part if that is meant, or download "
        f"the rest; all counts are in {root}/.contextblip/verify-imagecode.json"
    )
    main([*words, "--allow_part"])


def test_verify_can_leave_images_out_and_start_over(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "verify", "coco", "--root", str(root), "--num_workers", "1", "--allow_part"]
    main([*words, "--no_images"])
    assert "decoded" not in capsys.readouterr().out
    for more, line in (
        ([], "40 images decoded; "),
        ([], "0 images decoded; 40 more"),
        (["--fresh"], "40 images"),
    ):
        main([*words, *more])
        assert line in capsys.readouterr().out


def test_verify_takes_images_from_elsewhere(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = (root / "imagecode" / "image-sets").rename(root / "elsewhere")
    words = ["data", "verify", "imagecode", "--root", str(root), "--image_root", str(moved)]
    main([*words, "--num_workers", "1", "--allow_part"])
    assert "150 images decoded; " in capsys.readouterr().out


def test_stats_prints_and_writes_numbers(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = root / "numbers.json"
    words = [
        "--max_words",
        "5",
        "--max_tokens",
        "7",
        "--tokenizer",
        str(root / "vocab.txt"),
        "--json",
        str(numbers),
    ]
    main(["data", "stats", "imagecode", "--root", str(root), *words])
    shown = capsys.readouterr().out
    assert shown.startswith(f"IMAGECODE in {root}\n\nSets and texts ")
    assert "cut at 5 words" in shown
    assert "cut at 7 tokens" in shown
    assert json.loads(numbers.read_text())["splits"]["train"]["sets"] == 6


def test_download_hands_over_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(
        catalogue, "download_dataset", lambda *names, **options: given.extend([names, options])
    )
    main(["data", "download", "coco", "--root", str(tmp_path)])
    options = ["--parts", "texts", "images", "--mirror", "file:///mnt/copy", "--dry_run"]
    main(["data", "download", "imagecode", "--root", str(tmp_path), *options])
    assert given == [
        ("coco", tmp_path),
        {"parts": None, "mirror": None, "dry_run": False},
        ("imagecode", tmp_path),
        {"parts": ["texts", "images"], "mirror": "file:///mnt/copy", "dry_run": True},
    ]


def test_list_names_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "list"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in DATASETS)


def test_mistakes_are_one_line(tmp_path: Path, refuse: Fail) -> None:
    root = str(tmp_path)
    assert refuse(["data"]) == "data: the following arguments are required: list|download|verify|stats"
    assert refuse(["data", "verfy"]).endswith("did you mean verify?")
    assert "invalid choice: 'imagecod'; did you mean imagecode?" in refuse(
        ["data", "stats", "imagecod", "--root", root]
    )
    assert refuse(["data", "verify", "coco"]).endswith("the following arguments are required: --root")
    assert "'0' is no whole number of at least 1" in refuse(
        ["data", "verify", "coco", "--root", root, "--num_workers", "0"]
    )
    assert "'2' is no whole number of at least 3" in refuse(
        ["data", "stats", "coco", "--root", root, "--max_tokens", "2"]
    )
    assert refuse(["data", "verify", "coco", "--root", f"{root}/none"]) == (
        f"--root {root}/none is no folder; name the data set's folder or a parent that holds it"
    )


@pytest.mark.parametrize("action", ["verify", "stats"])
@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_root_is_an_error_that_names_this_command_s_option(
    tmp_path: Path, refuse: Fail, action: str, name: str
) -> None:
    line = refuse(["data", action, name, "--root", str(tmp_path)])
    assert "not found: looked for" in line
    assert "set --root to the folder of the data set" in line
    assert "--data." not in line


def test_the_kind_of_error_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise DatasetError("a.json is broken; see --data.root")

    monkeypatch.setattr(catalogue, "print_catalogue", broken)
    with pytest.raises(DatasetError, match="a.json is broken; see --root"):
        run_data(Namespace(action="list"))

"""What `verify` says of files that a reader refuses, of what it leaves aside, and how it opens archives."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from contextblip.errors import DatasetError
from data_modules.statistics.captions import collect_captions
from data_modules.statistics.texts import load_settings
from data_modules.verification import verify_dataset


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    """A copy of the four data sets that a test may break."""
    return shutil.copytree(world, tmp_path / "data", ignore=shutil.ignore_patterns(".contextblip"))


def verify(name: str, root: Path, with_images: bool = True) -> dict[str, Any]:
    """Verify in this process; give the report."""
    console = Console(file=io.StringIO(), width=100)
    verify_dataset(name, root, num_workers=1, with_images=with_images, allow_part=True, console=console)
    return read(name, root)


def read(name: str, root: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((root / ".contextblip" / f"verify-{name}.json").read_text())
    return report


@pytest.mark.parametrize(
    ("name", "title", "file", "content", "problem"),
    [
        (
            "imagecode",
            "IMAGECODE",
            "valid_data.json",
            '{"a": {"0": "x"}, "a": {}}',
            ' has the key "a" twice in one object; remove one or download it again',
        ),
        (
            "coco",
            "COCO",
            "annotations/captions_val2017.json",
            '{"annotations": [{"image_id": 7, "id": 1, "caption": "a"}], "images": []}',
            " has captions of image 7, which it does not list; download it again",
        ),
    ],
)
def test_what_a_reader_refuses_is_a_failed_report(
    root: Path, name: str, title: str, file: str, content: str, problem: str
) -> None:
    path = root / name / file
    path.write_text(content)
    with pytest.raises(DatasetError) as error:
        verify(name, root)
    report = root / ".contextblip" / f"verify-{name}.json"
    assert str(error.value) == f"{title}: {path}{problem}; all are listed in {report}"
    found = read(name, root)
    assert (found["status"], found["problems"]) == ("failed", [f"{path}{problem}"])
    assert (found["counts"], found["images"]) == ({}, None)


def test_the_other_year_of_coco_is_mentioned(root: Path) -> None:
    settings = load_settings(str(root / "vocab.txt"), root, 30, 30)
    assert collect_captions("coco", root, settings)["notes"][:-1] == []
    (root / "coco" / "annotations" / "captions_val2014.json").write_text("{}")
    found = verify("coco", root, with_images=False)
    assert found["layout"] == "official 2017"
    assert found["notes"][-1] == "here too, but not verified: official 2014"
    assert collect_captions("coco", root, settings)["notes"][:2] == [
        "data modules use the layout official 2017",
        "here too, but neither read nor counted: official 2014",
    ]


def test_the_archive_is_opened_once_for_all_its_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "imagecode" / "image-sets"
    with zipfile.ZipFile(root / "imagecode" / "image-sets.zip", "w") as archive:
        for path in folder.rglob("*.jpg"):
            archive.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)
    opened: list[str] = []
    original = zipfile.ZipFile.__init__

    def count(self: zipfile.ZipFile, file: Path, *rest: Any) -> None:  # noqa: ANN401
        opened.append(Path(file).name)
        original(self, file, *rest)

    monkeypatch.setattr(zipfile.ZipFile, "__init__", count)
    assert verify("imagecode", root)["images"]["decoded"] == 150
    assert opened.count("image-sets.zip") == 2  # to find the sets and to decode their images

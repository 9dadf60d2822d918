"""What `verify` finds in data sets of the official layouts, whole, cut short and broken."""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from contextblip.errors import ConfigurationError, DatasetError, DatasetNotFoundError
from data_modules.verification import images as verify_images
from data_modules.verification import verify as verification
from data_modules.verification import verify_dataset
from data_modules.verification.images import ImageJob

IMAGES = {
    "coco": "coco/images/train2017/*.jpg",
    "visual_genome": "visual_genome/VG_100K/*.jpg",
    "imagecode": "imagecode/image-sets/open-images-2*/img3.jpg",
    "mmvp_vlm": "mmvp_vlm/MLLM_VLM Images/State/*.jpg",
}
REMEDIES = {
    "coco": "extract train2017.zip (again), or name the folder of the images by --image_root",
    "visual_genome": "extract images.zip (again), or name the folder of the images by --image_root",
    "imagecode": "extract image-sets.zip (again), or name the folder of the sets by --image_root",
    "mmvp_vlm": "copy the folder MLLM_VLM Images of MMVP/MMVP_VLM there (again)",
}


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    """A copy of the four data sets that a test may break."""
    return shutil.copytree(world, tmp_path / "data", ignore=shutil.ignore_patterns(".contextblip"))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that this process decodes."""
    names: list[str] = []
    decode = verify_images.decode

    def counted(job: ImageJob) -> str | None:
        names.append(job.name)
        return decode(job)

    monkeypatch.setattr(verify_images, "decode", counted)
    return names


def run(
    name: str,
    root: Path,
    report: Path | None = None,
    image_root: Path | None = None,
    with_images: bool = True,
    fresh: bool = False,
    allow_part: bool = True,
) -> tuple[str, dict[str, Any]]:
    """Verify in this process; give what is printed and the report, also of a failure."""
    out = io.StringIO()
    try:
        verify_dataset(
            name,
            root,
            image_root=image_root,
            num_workers=1,
            report=report,
            with_images=with_images,
            fresh=fresh,
            allow_part=allow_part,
            console=Console(file=out, width=100),
        )
    except DatasetError as error:
        out.write(f"error: {error}")
    report = report or root / ".contextblip" / f"verify-{name}.json"
    return out.getvalue(), json.loads(report.read_text())


def one_image(name: str, root: Path) -> Path:
    return sorted(root.glob(IMAGES[name]))[0]


@pytest.mark.parametrize(
    ("name", "images", "part"),
    [
        ("coco", 40, "40 of 123,287 images"),
        ("visual_genome", 8, "8 of 108,077 images"),
        ("imagecode", 150, "15 of 9,402 sets"),
    ],
)
def test_a_part_of_a_data_set_passes_where_that_is_meant_and_is_called_a_part(
    root: Path, decoded: list[str], name: str, images: int, part: str
) -> None:
    refused, report = run(name, root, allow_part=False)
    assert f": not the full data set: {part}; pass --allow_part if that is meant" in refused.splitlines()[-1]
    assert report["status"] == "incomplete"
    shutil.rmtree(root / verification.FOLDER)
    decoded.clear()
    out, report = run(name, root)
    assert len(set(decoded)) == len(decoded) == images
    assert out.splitlines()[-1] == f"{name}: good as far as it goes, but not the full data set: {part}"
    assert report["status"] == "incomplete"
    assert report["images"] == {"checked": images, "decoded": images, "remembered": 0}
    assert report["missing"] == report["missing_sets"] == report["unreadable"] == report["problems"] == []


def test_a_whole_data_set_is_all_good(root: Path, decoded: list[str]) -> None:
    out, report = run("mmvp_vlm", root)
    assert len(decoded) == 270
    assert out.splitlines()[-1] == "mmvp_vlm: all good"
    assert [line.split() for line in out.splitlines() if line.startswith("pairs")] == [
        ["pairs", "135", "135", "as", "published"]
    ]
    assert report["status"] == "good"
    assert report["counts"]["pairs"] == {"found": 135, "expected": [135], "fits": True}
    assert (report["dataset"], report["layout"], report["root"]) == ("mmvp_vlm", "official", str(root))
    assert report["files"] == [str(root / "mmvp_vlm" / "Questions.csv")]
    assert set(report["versions"]) == {"python", "contextblip", "pillow"}
    assert report["seconds"] > 0
    assert report["date"].endswith("+00:00")


@pytest.mark.parametrize("name", IMAGES)
def test_a_truncated_image_is_named_with_reason_and_remedy(root: Path, name: str) -> None:
    path = one_image(name, root)
    path.write_bytes(path.read_bytes()[:-300])
    out, report = run(name, root)
    error = out.splitlines()[-1]
    inside = str(path.relative_to(root))
    assert f"1 image is unreadable, first {inside} (" in error
    assert f"{REMEDIES[name]}; all are listed in {root}/.contextblip/verify-{name}.json" in error
    assert [bad["path"] for bad in report["unreadable"]] == [inside]
    assert "truncated" in report["unreadable"][0]["reason"].lower()
    assert report["status"] == "failed"


@pytest.mark.parametrize("name", IMAGES)
def test_a_file_that_is_no_image_is_named(root: Path, name: str) -> None:
    path = one_image(name, root)
    path.write_text("<html>403 Forbidden</html>")
    out, report = run(name, root)
    assert f"1 image is unreadable, first {path.relative_to(root)} (" in out.splitlines()[-1]
    assert report["unreadable"][0]["reason"] == "no image, or of an unknown format"


@pytest.mark.parametrize(
    ("name", "title", "folder"),
    [
        ("coco", "COCO", "train2017"),
        ("visual_genome", "Visual Genome", "VG_100K"),
        ("mmvp_vlm", "MMVP-VLM", "MLLM_VLM Images/State"),
    ],
)
def test_missing_images_are_all_named(root: Path, name: str, title: str, folder: str) -> None:
    gone = sorted(root.glob(IMAGES[name]))[:5]
    for path in gone:
        path.unlink()
    out, report = run(name, root)
    assert sorted(report["missing"]) == sorted(f"{folder}/{path.name}" for path in gone)
    first = ", ".join(report["missing"][:3])
    assert out.splitlines()[-1] == (
        f"error: {title}: 5 images are missing: {first} and 2 more; {REMEDIES[name]}; "
        f"all are listed in {root}/.contextblip/verify-{name}.json"
    )


def test_sets_without_a_folder_are_counted_and_named(root: Path) -> None:
    folder = one_image("imagecode", root).parent
    shutil.rmtree(folder)
    out, report = run("imagecode", root)
    assert out.splitlines()[-1].startswith(
        f"error: IMAGECODE: 1 of 15 sets have no folder of images, first {folder.name}; "
        f"{REMEDIES['imagecode']}; all are listed in "
    )
    assert report["missing_sets"] == [folder.name]


def test_annotations_can_be_checked_before_the_images_are_there(root: Path, decoded: list[str]) -> None:
    shutil.rmtree(root / "imagecode" / "image-sets")
    out, report = run("imagecode", root, with_images=False)
    assert decoded == []
    assert report["images"] is None
    assert "images" not in report["counts"]
    assert out.splitlines()[-1].endswith("not the full data set: 15 of 9,402 sets")


def test_sets_are_verified_inside_the_archive(root: Path, decoded: list[str]) -> None:
    folder = root / "imagecode" / "image-sets"
    bad = one_image("imagecode", root)
    bad.write_bytes(bad.read_bytes()[:-300])
    with zipfile.ZipFile(root / "imagecode" / "image-sets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.rglob("*.jpg"):
            archive.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)
    out, report = run("imagecode", root)
    member = f"imagecode/image-sets.zip/image-sets/{bad.parent.name}/img3.jpg"
    assert len(decoded) == 150
    assert report["layout"] == "official, images in image-sets.zip"
    assert [row["path"] for row in report["unreadable"]] == [member]
    assert f"1 image is unreadable, first {member} (" in out
    assert f"download {root}/imagecode/image-sets.zip again" in out


def test_a_second_run_decodes_only_what_changed(root: Path, decoded: list[str]) -> None:
    run("imagecode", root)
    assert len(decoded) == 150
    decoded.clear()
    changed, touched = (one_image("imagecode", root).with_name(f"img{n}.jpg") for n in (3, 4))
    Image.new("RGB", (9, 9)).save(changed)
    os.utime(touched, ns=(1, 1))
    out, report = run("imagecode", root)
    assert sorted(decoded) == sorted(str(path.relative_to(root)) for path in (changed, touched))
    assert report["images"] == {"checked": 150, "decoded": 2, "remembered": 148}
    assert "2 images decoded; 148 more are unchanged since they were; " in out
    decoded.clear()
    run("imagecode", root, fresh=True)
    assert len(decoded) == 150


def test_a_read_only_root_needs_a_file_for_the_report(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    root.chmod(0o555)
    try:
        with pytest.raises(ConfigurationError) as error:
            verify_dataset("coco", root)
        assert str(error.value) == f"--root {root} is read-only; name a file for the report by --report FILE"
        report = tmp_path / "reports" / "coco.json"
        run("coco", root, report=report)
        run("coco", root, report=report)
        assert len(decoded) == 40
        assert (tmp_path / "reports" / "verified.jsonl").is_file()
        assert not (root / ".contextblip").exists()
    finally:
        root.chmod(0o755)


def test_one_memory_serves_roots_whose_files_have_the_same_names(
    root: Path, tmp_path: Path, decoded: list[str]
) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")  # with the same times
    report = tmp_path / "report.json"
    for folder in (root, copy):
        folder.chmod(0o555)
        run("coco", folder, report=report)
        folder.chmod(0o755)
    assert len(decoded) == 80


def test_wrong_roots_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetNotFoundError, match=r"--root .*/none is no folder; name the data set's folder or"
    ):
        verify_dataset("coco", tmp_path / "none")
    with pytest.raises(
        DatasetNotFoundError, match=r"--image_root .*/none is no folder; name that of the images"
    ):
        verify_dataset("coco", root, image_root=tmp_path / "none")


def test_the_real_files(real_data: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    out, found = run("imagecode", real_data, report=report, with_images=False)
    assert out.splitlines()[-1] == "imagecode: annotations good"
    assert all(count["fits"] for count in found["counts"].values())
    assert found["notes"] == ["manual_annotation_valid.yaml: 2,273 of 2,275 entries match a text"]
    mini = real_data / "imagecode" / "mini"
    out, found = run("imagecode", mini, report=report, image_root=real_data / "imagecode" / "image-sets")
    assert out.splitlines()[-1].endswith("not the full data set: 53 of 9,402 sets")
    assert found["images"]["checked"] == 530
    assert not (real_data / verification.FOLDER).exists()

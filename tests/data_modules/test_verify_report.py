"""What a verification says of its counts."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from data_modules import catalogue
from data_modules.catalogue.entries import RoundedCounts
from data_modules.verification import inspect
from data_modules.verification.images import ImageCheck
from data_modules.verification.inspection import Expected, Inspection, some
from data_modules.verification.report import Report


def report_of(found: dict[str, int], expected: Expected, allow_part: bool = False) -> Report:
    inspection = Inspection("imagecode", "IMAGECODE", "official", found=found)
    counts = inspection.compare(expected)
    return Report(inspection, counts, ImageCheck(5, 0), 1.0, Path("data"), allow_part)


def row_of(report: Report, label: str) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(report.table())
    (row,) = (" ".join(line.split()) for line in out.getvalue().splitlines() if line.startswith(label))
    return row


def test_published_counts_are_good() -> None:
    report = report_of({"sets": 9402, "texts": 21202}, {"sets": 9402, "texts": 21202})
    assert row_of(report, "texts") == "texts 21,202 21,202 as published"
    assert (report.status, report.summary()) == ("good", "imagecode: all good")


def test_fewer_are_a_part_told_by_the_largest_unit() -> None:
    found, expected = {"texts": 123, "sets": 53}, {"sets": 9402, "texts": 21202}
    report = report_of(found, expected)
    assert row_of(report, "sets") == "sets 53 9,402 fewer"
    assert (report.status, report.passed) == ("incomplete", False)
    assert report.failure(Path("a.json")) == (
        "IMAGECODE: not the full data set: 53 of 9,402 sets; pass --allow_part if that is meant, or download "
        "the rest; all counts are in a.json"
    )
    report = report_of(found, expected, allow_part=True)
    assert (report.status, report.passed) == ("incomplete", True)
    assert report.summary() == (
        "imagecode: good as far as it goes, but not the full data set: 53 of 9,402 sets"
    )


def test_more_than_published_fails() -> None:
    report = report_of({"texts": 21_203}, {"texts": 21202})
    assert row_of(report, "texts") == "texts 21,203 21,202 more"
    assert report.status == "failed"
    assert not report_of({"texts": 21_203}, {"texts": 21202}, allow_part=True).passed
    assert report.failure(Path("a.json")) == (
        "IMAGECODE: 21,203 texts, more than the 21,202 published; all are listed in a.json"
    )


def test_counts_that_nobody_published_are_shown() -> None:
    report = report_of({"val texts": 7}, {})
    assert row_of(report, "val texts") == "val texts 7 -"
    assert report.status == "good"


@pytest.mark.parametrize(
    ("found", "row", "status"),
    [
        (768_536, "the edition of 769,000", "good"),
        (821_774, "the edition of 821,000", "good"),
        (800_000, "fewer", "incomplete"),
        (830_000, "more", "failed"),
    ],
)
def test_either_edition_is_accepted_and_named(found: int, row: str, status: str) -> None:
    report = report_of({"texts": found}, {"texts": RoundedCounts((769_000, 821_000))})
    assert row_of(report, "texts") == f"texts {found:,} 769,000 or 821,000 {row}"
    assert report.status == status


def test_visual_genome_has_two_editions() -> None:
    texts = catalogue.expected("visual_genome", "BLIP")["texts"]
    assert isinstance(texts, tuple)
    assert 821_774 in texts
    assert 768_536 in texts


def test_every_published_count_is_known_by_its_label(world: Path) -> None:
    for name, layout in {
        "imagecode": "official",
        "visual_genome": "official",
        "coco": "official 2017",
    }.items():
        assert set(catalogue.expected(name, layout)) == set(inspect(name, world, None, True).found)
    assert set(inspect("mmvp_vlm", world, None, True).found) <= set(
        catalogue.expected("mmvp_vlm", "official")
    )


def test_several_faults_are_one_line() -> None:
    inspection = Inspection(
        "coco", "COCO", "BLIP", found={"images": 9}, problems=["a.json is odd", "b", "c", "d"]
    )
    inspection.missing = ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    check = ImageCheck(9, 0, [("5.jpg", "truncated"), ("6.jpg", "empty file")])
    report = Report(inspection, inspection.compare({}), check, 1.0, Path("data"))
    assert report.failure(Path("a.json")) == (
        "COCO: 4 images are missing: 1.jpg, 2.jpg, 3.jpg and 1 more; 2 images are unreadable, first 5.jpg "
        "(truncated); a.json is odd; b; 2 more faults of the files; copy them there again; "
        "all are listed in a.json"
    )


def test_some_names() -> None:
    assert some(["a"]) == "a"
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some([str(number) for number in range(1203)]) == "0, 1, 2 and 1,200 more"

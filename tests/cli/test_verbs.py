"""`convert` hands over to the reader and writer of weights and prints what they report."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

import contextblip.checkpoints
from contextblip.cli import main
from contextblip.errors import CheckpointError

Fail = Callable[[str], tuple[int, str]]


@dataclass
class Report:
    given: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        return ["264 tensors", "ignored: queue"]


def test_convert_prints_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report()

    def convert(*given: str) -> Report:
        report.given.extend(given)
        return report

    monkeypatch.setattr(contextblip.checkpoints, "convert", convert, raising=False)
    main(["convert", "a.pth", "b", "--to", "huggingface"])
    assert report.given == ["a.pth", "b", "huggingface"]
    assert capsys.readouterr().out == "264 tensors\nignored: queue\nWrote b\n"


def test_convert_names_what_is_wrong(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(*given: str) -> Report:
        raise CheckpointError(f"{given[0]}: no such file")

    monkeypatch.setattr(contextblip.checkpoints, "convert", convert, raising=False)
    assert fail("convert a b --to salesforce") == (2, "error: a: no such file")
    assert fail("convert a b --to salseforce")[1].endswith("did you mean salesforce?")
    assert fail("convert a --to salesforce") == (
        2,
        "error: convert: the following arguments are required: DST",
    )
    assert (
        fail("convert a b --t salesforce")[1] == "error: convert: the following arguments are required: --to"
    )

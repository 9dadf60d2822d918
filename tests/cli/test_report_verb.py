"""`lightning report`: arguments, files, and mistakes in one line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from contextblip.cli import main
from contextblip.cli.report_verb import FORMATS, REPORT_EXAMPLE, TABLES, add_report_arguments, run_report
from contextblip.cli.verbs import VERBS, Verb

Fail = Callable[[str], tuple[int, str]]


@pytest.fixture(autouse=True)
def verb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the command, wherever it is registered already."""
    entry = Verb("print the paper's tables", add_report_arguments, run_report, REPORT_EXAMPLE)
    monkeypatch.setitem(VERBS, "report", entry)


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Fail:
    """Run a command that must fail with one line; give its exit status and that line."""

    def call(line: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(line.split())
        (message,) = capsys.readouterr().err.splitlines()
        assert isinstance(stop.value.code, int)
        return stop.value.code, message

    return call


@pytest.fixture
def run_folder(workplace: Path) -> Path:
    """A zero-shot test of plain BLIP on 40 queries."""
    folder = workplace / "runs" / "blip"
    folder.mkdir(parents=True)
    model = {"class_path": "contextblip.tasks.ZeroShot", "init_args": {"adapter_layers": []}}
    data = {"class_path": "data_modules.ImageCoDeDataModule", "init_args": {"root": "data"}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model, "data": data, "seed_everything": 42}))
    (folder / "metrics.json").write_text(json.dumps({"test/accuracy": 0.25, "n/test/accuracy": 40}))
    (folder / "predictions.jsonl").write_text("")
    return folder


def test_the_verb_knows_the_reports_formats_and_tables() -> None:
    from contextblip import reports

    assert tuple(reports.FORMATS) == FORMATS
    assert reports.TABLES == TABLES


def test_a_report_is_printed_plainly_where_there_is_no_terminal(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", "runs/blip"])
    out = capsys.readouterr().out
    assert run_folder.name in out
    assert out.startswith("Table 15. Accuracy on IMAGECODE's validation split")
    assert "\x1b" not in out
    assert "! run a counted 40 of the 2,302 that the split has: these are no results on IMAGECODE" in out


@pytest.mark.usefixtures("run_folder")
def test_a_file_is_written_in_each_format(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starts = {
        "terminal": "Table 15",
        "markdown": "## Table 15",
        "csv": "table,row,column,ours,n",
        "latex": "% ",
    }
    for name, start in starts.items():
        main(["report", "runs/blip", "--table", "15", "--format", name, "--to", f"out/report.{name}"])
        assert capsys.readouterr().out == f"Wrote out/report.{name}\n"
        assert (workplace / "out" / f"report.{name}").read_text().startswith(start)
    with (workplace / "out" / "report.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["row"], row["ours"], row["paper"], row["flag"]) == ("BLIP", "25.0", "28.4", "partial")


@pytest.mark.usefixtures("run_folder")
def test_mistakes_are_one_line(fail: Fail) -> None:
    assert fail("report runs/blip --table 1") == (
        2,
        "error: runs/blip is on IMAGECODE's validation split, Table 1 on its test split: the two are never "
        "set side by side; use --table 15, which is on the validation split",
    )
    assert fail("report runs/blip --table 9")[1].endswith(
        "'9' is no table that runs fill (1 to 8, 10, 15, 16); run folders stand before --table"
    )
    assert "'runs/blip' is no table that runs fill" in fail("report --table 15 runs/blip")[1]
    assert fail("report runs/absent")[1].startswith("error: runs/absent is no folder")
    assert fail("report runs") == (
        2,
        "error: runs is no run folder, it has no config.yaml; it holds runs: runs/blip",
    )
    assert fail("report runs/blip --format html")[1].endswith("(choose from terminal, markdown, csv, latex)")
    assert fail("report runs/blip --to runs")[1].startswith("error: --to runs: Is a directory")
    assert "Table 16 is on MMVP-VLM: no run given fills it" in fail("report runs/blip --table 16")[1]


def test_help_has_the_options_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", "--help"])
    assert stop.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "--published_denominators" in out
    assert f"Example: {REPORT_EXAMPLE}" in out

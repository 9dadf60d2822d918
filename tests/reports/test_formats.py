"""Each format read back: what stands on one row, what is flagged, that it parses."""

import csv
import re
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from contextblip.reports import (
    Report,
    build_report,
    print_report,
    to_csv,
    to_latex,
    to_markdown,
    to_terminal,
)
from contextblip.reports.formats import CSV_COLUMNS
from contextblip.runs import Run

MakeRun = Callable[..., Run]
Pretrained = Callable[..., str]

BESIDE = """\
| row | column | paper | ours | 95% interval | n | ± sd (seeds) | split | run |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| ContextBLIP | zero-shot, all | 30.6 \\[3\\] | 30.6 | 28.8–32.5 | 2,302 | 0.1 (2) | valid | a |
|  | zero-shot, video | 19.9 | 19.9 | 18.2–21.8 | 1,872 | 0.1 (2) | valid | a |
|  | zero-shot, static | 77.0 \\[3\\] | 77.2 | 73.0–80.9 | 430 | 0.0 (2) | valid | a |
"""
APART = """\
| row | column | ours | 95% interval | n | ± sd (seeds) | split | run |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| ContextBLIP | zero-shot, all | 39.1 | 37.1–41.1 | 2,302 | – | valid | b |
|  | zero-shot, video | 26.7 | 24.8–28.8 | 1,872 | – | valid | b |
|  | zero-shot, static | 93.0 | 90.2–95.1 | 430 | – | valid | b |
"""


@pytest.fixture
def report(make_run: MakeRun, pretrained: Pretrained) -> Report:
    """Table 15 by two real runs of two seeds, and by one on the miniature world."""
    seeds = [
        make_run(
            f"zero_{seed}",
            (704 + seed, 372 + seed, 332),
            init_from=pretrained(f"pretrain_{seed}", seed=seed),
            seed=seed,
        )
        for seed in (0, 2)
    ]
    drawn = make_run("drawn", (900, 500, 400), init_from=pretrained(), root="miniature:data")
    return build_report([*seeds, drawn], [15])


def test_markdown_sets_ours_beside_the_papers_and_the_miniature_apart(report: Report) -> None:
    text = to_markdown(report)
    assert BESIDE in text
    assert APART in text
    assert text.index(BESIDE) < text.index(APART) < text.index("| CLIP | 473M | 21.8 |")
    before = text[: text.index(APART)].rstrip().splitlines()[-1]
    assert before.startswith("**Ours on the miniature world"), "its caption"
    assert "- run a: runs/zero\\_0, runs/zero\\_2 (ZeroShot, backbone b.pth, seeds 0, 2)" in text
    assert "- \\[3\\] doubtful in the paper: Tables 5 to 7 give 31.1 and 79.5" in text


def test_markdown_tables_are_rectangular(report: Report) -> None:
    blocks = [block for block in to_markdown(report).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    for block in blocks:
        lines = block.splitlines()
        assert re.fullmatch(r"\| (---:? \| )*---:? \|", lines[1])
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_csv_has_one_row_a_number_and_never_both_worlds_on_one(report: Report) -> None:
    rows = list(csv.DictReader(StringIO(to_csv(report))))
    assert tuple(rows[0]) == CSV_COLUMNS
    real = [row for row in rows if row["world"] == "real" and row["ours"]]
    drawn = [row for row in rows if row["world"] == "miniature"]
    assert [row["column"] for row in real] == ["zs_all", "zs_video", "zs_image"]
    assert {(row["paper"], row["flag"]) for row in drawn} == {("", "")}
    first = real[0]
    assert float(first["ours"]) == pytest.approx(100 * 705 / 2302, abs=1e-3)
    assert float(first["low"]) < float(first["ours"]) < float(first["high"])
    assert (first["paper"], first["flag"], first["runs"]) == ("30.6", "doubtful", "runs/zero_0;runs/zero_2")
    assert (first["n"], first["seeds"], first["split"]) == ("2302", "2", "valid")
    published = [row for row in rows if row["row"] == "UNITER"]
    assert [row["flag"] for row in published] == ["doubtful"] * 3 + [""] * 3
    assert len(rows) == 3 + 3 + (42 - 6 - 3), "the paper has 42 cells, 6 of them empty, 3 beside ours"


def test_latex_is_balanced_and_escaped(report: Report) -> None:
    text = to_latex(report)
    for name in ("table", "tabular", "itemize"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") > 0
    without_escapes = re.sub(r"\\[\\{}%&_#$]", "", text.partition("\n")[2])
    assert without_escapes.count("{") == without_escapes.count("}")
    assert "%" not in without_escapes, "would begin a comment"
    assert "_" not in without_escapes
    assert "runs/zero\\_0" in text
    for tabular in re.findall(r"\\begin{tabular}{([lr]+)}(.*?)\\end{tabular}", text, re.DOTALL):
        rows = [line for line in tabular[1].splitlines() if line.endswith("\\\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(tabular[0])}


def test_terminal_fits_100_columns_and_keeps_every_number(report: Report) -> None:
    lines = to_terminal(report).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(
        re.search(r"zero-shot, all +30\.6 \[3\] +30\.6 +28\.8–32\.5 +2,302 +0\.1 \(2\)", line)
        for line in lines
    )
    assert any(
        re.search(r"ContextBLIP +240M +30\.6 \[3\] +19\.9 +77\.0 \[3\] +38\.5", line) for line in lines
    )
    console = Console(file=StringIO(), width=160, force_terminal=True)
    print_report(report, console)
    assert isinstance(console.file, StringIO)
    assert "\x1b[1m" in console.file.getvalue(), "headings are bold on a terminal"


def test_what_is_left_out_is_said(make_run: MakeRun, pretrained: Pretrained) -> None:
    run = make_run("zero", (704, 372, 332), init_from=pretrained(), answers=False)
    text = to_terminal(build_report([run], [15, 16], published_denominators=True))
    assert "Left out\n- runs/zero lacks predictions.jsonl: `lightning test` writes them\n" in text
    assert "- Table 16 is on MMVP-VLM: no run given fills it\n" in text
    assert "- --published_denominators changes Table 2 alone" in text


def test_tag_counts_are_stated_in_the_heading(make_run: MakeRun, pretrained: Pretrained) -> None:
    counted = {"accuracy/context": (118, 470)}
    run = make_run("tuned", (886, 537, 349), also=counted, task="InterContext", init_from=pretrained())
    assert "divided by the annotation file's tag counts" in to_markdown(
        build_report([run], [2], published_denominators=True)
    )
    plain = to_markdown(build_report([run], [2]))
    assert "right answers divided by" not in plain
    assert "queries that match an annotated entry (n)" in plain
    row = next(csv.DictReader(StringIO(to_csv(build_report([run], [2], published_denominators=True)))))
    assert (row["n"], row["flag"]) == ("474", "tag_counts")

"""Tables from the committed results alone: numbers by hand, rows that do not belong together, the page."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from benchmarks.miniature_results import CONFIGURATIONS
from benchmarks.miniature_tables import BEGIN, END, between_markers, main, write_tables
from contextblip.comparison.words import points
from contextblip.errors import ConfigurationError
from contextblip.estimates import mcnemar_exact, paired_bootstrap, sign_flip_test
from contextblip.sweeps.identity import short_fingerprint
from contextblip.sweeps.inputs import fingerprint_path, fingerprint_root
from contextblip.sweeps.results import COLUMNS, ResultsFile

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "results" / "miniature.csv", ROOT / "docs" / "miniature.md"
Line = dict[str, str]


def row(point: str, seed: int, video: str, static: str = "1" * 10, stage: str = "zero_shot") -> Line:
    """A row of the results file; of answers, 1 is right."""
    return {
        **dict.fromkeys(COLUMNS, ""),
        "time": "2030-01-01",
        "point": point,
        "seed": str(seed),
        "stage": stage,
        "hash": sha256(f"{point} {seed} {stage}".encode()).hexdigest(),
        "configuration": f"{stage} of {point}",
        "backbone": "b0",
        "data": "miniature:w0",
        "revision": "c" * 40,
        "queries": "q0",
        "ranks_video": video,
        "ranks_static": static,
        "accuracy_video": str(video.count("1") / len(video)),
        "n/accuracy_video": str(len(video)),
    }


def cells(text: str, *start: str) -> list[str]:
    """Find the cells of the first line that begins with some."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {' | '.join(start)} |"))
    return line.strip("| ").split(" | ")[len(start) :]


def last_cells(text: str, configuration: str) -> list[str]:
    """Find the cells of a configuration in the last table, seed by seed."""
    line = next(line for line in reversed(text.splitlines()) if line.startswith(f"| {configuration} |"))
    return line.strip("| ").split(" | ")[2:]


# 20 video queries: the backbone has 4 right; both seeds of the whole those 4, the first 8 more, the other 9
BACKBONE = row("w/o multi-scale adapter", 42, "1111" + "2" * 16)
WHOLE = [
    row("ContextBLIP", 42, "1" * 12 + "3" * 8),
    row("mask ratio π 0.25", 43, "1" * 4 + "a" * 7 + "1" * 9) | {"configuration": "zero_shot of ContextBLIP"},
]


def test_accuracies_by_hand() -> None:
    text = write_tables([*WHOLE, BACKBONE])
    assert "| all (n = 30) | video (n = 20) | static (n = 10) |" in text
    runs, everything, video, static = cells(text, "ContextBLIP", "zero-shot")
    assert runs == "2"
    interval = paired_bootstrap([[1, 1]] * 4 + [[1, 0]] * 7 + [[1, 1]] + [[0, 1]] * 8)
    # 12 and 13 of 20; each has 10 static ones besides
    assert video == f"62.5 ± 3.5 [{points(interval.low)}, {points(interval.high)}]"
    assert everything.startswith("75.0 ± 2.4 [")
    assert static == "100.0 ± 0.0 [100.0, 100.0]"
    assert cells(text, "backbone alone", "zero-shot")[0] == "1"
    assert cells(text, "backbone alone", "zero-shot")[2].startswith("20.0 [")
    assert cells(text, "random masks", "zero-shot") == ["0", "–", "–", "–"]
    assert "Backbone `b0`, world `miniature:w0`; sources `ccccccc`." in text


def test_differences_are_the_paired_ones_of_compare() -> None:
    text = write_tables([*WHOLE, BACKBONE])
    balance = [0] * 4 + [1] * 7 + [2] + [1] * 8  # more right answers of two seeds than of the backbone's
    interval = paired_bootstrap([each / 2 for each in balance])
    assert sign_flip_test(balance).p < 0.001
    shown = f"42.5 [{points(interval.low)}, {points(interval.high)}], p < 0.001"
    _, video, static = cells(text, "ContextBLIP, zero-shot", "backbone alone, zero-shot")
    assert video == f"**{shown}**"
    assert static == "0.0, p = 1.00"
    assert "for the 3 tests" in " ".join(text.split())
    # seed by seed against the one run of the backbone
    first, second, over = last_cells(text, "ContextBLIP, zero-shot")
    assert mcnemar_exact(8, 0) == pytest.approx(0.0078125)
    assert first == "40.0, 8:0, p = 0.008"
    assert second == "45.0, 9:0, p = 0.004"
    assert over == "42.5 [10.7, 74.3]"  # 12.706 * 3.5355 / sqrt(2) = 31.8


def test_seeds_are_paired_with_their_own() -> None:
    """Stage two of a seed stands beside stage one of that seed; what has no partner is a dash."""
    one = [
        row("w/o inter-context encoder", seed, f"{'1' * seed}{'2' * (20 - seed)}", stage="fine_tuned")
        for seed in (4, 5)
    ]
    two = [
        row("ContextBLIP", seed, f"{'1' * (10 + seed)}{'2' * (10 - seed)}", stage="fine_tuned")
        for seed in (5, 6)
    ]
    text = write_tables([*two, *one])
    assert last_cells(text, "ContextBLIP, stage two") == ["50.0, 10:0, p = 0.002", "–", "50.0"]
    # averaged over the seeds that both have: 15 and 5 of 20 of seed 5
    video = cells(text, "ContextBLIP, stage two", "ContextBLIP, stage one")[1]
    assert video.startswith(("50.0 [", "**50.0 ["))
    # one run of a trained configuration is nobody's partner but its own seed's
    text = write_tables([*two, one[0]])
    assert "| ContextBLIP, stage two | ContextBLIP, stage one |" not in text


def mixed(changes: Line) -> Sequence[Line]:
    return [WHOLE[0], WHOLE[1] | changes, BACKBONE]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "b1"}, "rows are of different backbones: zero_shot"),
        ({"data": ""}, "rows are of different worlds: "),
        ({"queries": "q1"}, "rows are of different queries: "),
        ({"configuration": "x"}, "rows of ContextBLIP, zero-shot differ in more than their seeds: "),
        ({"seed": "42"}, "ContextBLIP, zero-shot has several rows of seed 42"),
        ({"ranks_video": "1" * 19}, "ranks_video has 1.0000 of 19 right"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(changes: Line, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as error:
        write_tables(mixed(changes))
    assert "\n" not in str(error.value)


def test_rows_without_answers_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no answers; remove it and run the sweep again"):
        write_tables([BACKBONE | {"queries": "", "ranks_video": "", "ranks_static": ""}])
    with pytest.raises(ConfigurationError, match="`make tables` measures them"):
        write_tables([BACKBONE | {"stage": "pretrain"}])


def test_the_command_prints_or_puts_them_into_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, page = tmp_path / "results.csv", tmp_path / "page.md"
    lines = [",".join(BACKBONE), *(",".join(each.values()) for each in (*WHOLE, BACKBONE))]
    results.write_text("\n".join(lines) + "\n", encoding="utf-8")
    main([str(results)])
    printed = capsys.readouterr().out
    assert printed == write_tables([*WHOLE, BACKBONE])
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n", encoding="utf-8")
    for _ in range(2):
        main([str(results), "--into", str(page)])
        text = page.read_text(encoding="utf-8")
        assert text == f"before\n\n{BEGIN}\n\n{printed}\n{END}\n\nafter\n"
        assert between_markers(text) == printed.strip("\n")
    for words, said in (
        ([str(tmp_path / "none.csv")], "none.csv: no such file"),
        ([str(results), "--into", str(results)], "results.csv has no <!-- table:begin -->"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err


def test_the_page_holds_what_the_committed_results_give(tmp_path: Path) -> None:
    """Neither without the other; and the results are those of the shipped backbone and the present world."""
    page = between_markers(PAGE.read_text(encoding="utf-8"))
    assert (page is not None) == RESULTS.is_file()
    if page is None:
        return
    rows = list(ResultsFile(RESULTS).rows().values())
    assert page == write_tables(rows).strip("\n")
    assert {row["backbone"] for row in rows} == {
        short_fingerprint(fingerprint_path(str(ROOT / "assets/miniature")))
    }
    assert {row["data"] for row in rows} == {short_fingerprint(fingerprint_root(f"miniature:{tmp_path}", ""))}


def test_no_two_configurations_claim_a_row() -> None:
    claimed = [(each.stage, point) for each in CONFIGURATIONS for point in each.points]
    assert len(claimed) == len(set(claimed))

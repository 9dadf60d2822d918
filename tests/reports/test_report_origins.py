"""`lightning report` names what the runs it sets side by side were not all made with."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from contextblip.reports import build_report, to_markdown, to_terminal
from contextblip.reports.origins import differing_origins
from contextblip.runs import Run, read_run

MakeRun = Callable[..., Run]
Pretrained = Callable[..., str]

OLD, NEW = "1" * 40, "2" * 40
START: dict[str, Any] = {
    "command": "test",
    "config": "config.yaml",
    "line": "lightning test",
    "revision": {"commit": OLD, "dirty": False},
    "packages": {"python": "3.11.9", "torch": "2.6.0"},
    "machine": {"cpu": "A", "gpus": [], "precision": "32-true", "processes": 1, "cuda": None, "driver": None},
    "seeds": {"seed_everything": 0},
    "data": {
        "root": "data",
        "annotations": {"imagecode/valid_data.json": "a" * 64, "vocab.txt": "b" * 64},
        "images": {"files": 3, "bytes": 5, "sha256": "c" * 64},
    },
    "weights": {"backbone": {"source": "b.pth", "sha256": "d" * 64}},
}


def start(**changes: object) -> dict[str, Any]:
    """Give a start with some keys of its parts changed."""
    made = deepcopy(START)
    for name, value in changes.items():
        made[name] = made[name] | value if isinstance(value, dict) else value
    return made


def record(folder: str | Path, *starts: dict[str, Any]) -> None:
    (Path(folder) / "provenance.json").write_text(json.dumps({"starts": starts}))


@pytest.fixture
def pair(make_run: MakeRun) -> Callable[..., tuple[Run, Run]]:
    """Make two runs, the second with a start that differs."""

    def make(**changes: object) -> tuple[Run, Run]:
        scores = {"a": "itm", "b": "itc"}
        runs = [make_run(name, (704, 372, 332), adapter_layers=[], score=scores[name]) for name in scores]
        record("runs/a", START)
        record("runs/b", start(**changes))
        return runs[0], runs[1]

    return make


def test_runs_made_alike_are_not_spoken_of(pair: Callable[..., tuple[Run, Run]]) -> None:
    expected = {
        "started": "later",
        "line": "lightning test --seed_everything 1",
        "seeds": {"seed_everything": 1},
    }
    runs = pair(**expected, data={"root": "elsewhere"})
    assert differing_origins(runs) == ()
    assert "Not made alike" not in to_terminal(build_report([runs[0]], [15]))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"revision": {"commit": NEW}}, "revision: 111111111111 in runs/a; 222222222222 in runs/b"),
        ({"revision": {"dirty": True}}, "uncommitted changes: no in runs/a; yes in runs/b"),
        ({"packages": {"torch": "2.7.1"}}, "torch: 2.6.0 in runs/a; 2.7.1 in runs/b"),
        ({"machine": {"precision": "bf16-mixed"}}, "precision: 32-true in runs/a; bf16-mixed in runs/b"),
        ({"machine": {"gpus": ["G", "G"]}}, "hardware: A in runs/a; 2 x G in runs/b"),
        (
            {"weights": {"backbone": {"sha256": "e" * 64}}},
            "backbone: sha256 dddddddddddd in runs/a; sha256 eeeeeeeeeeee in runs/b",
        ),
        (
            {"weights": {"backbone": {"source": "random:base", "drawn_with_seed": 3}}},
            "backbone: sha256 dddddddddddd in runs/a; random:base in runs/b",
        ),
        (
            {"data": {"images": {"files": 4, "bytes": 5, "sha256": "e" * 64}}},
            "IMAGECODE: images: 3 files of 5 bytes (names and sizes cccccccccccc) in runs/a; "
            "4 files of 5 bytes (names and sizes eeeeeeeeeeee) in runs/b",
        ),
        ({"packages": {"unknown": "OSError"}}, "torch: 2.6.0 in runs/a; not known in runs/b"),
    ],
)
def test_each_difference_is_named_with_its_runs(
    changes: dict[str, Any], line: str, pair: Callable[..., tuple[Run, Run]]
) -> None:
    assert line in differing_origins(pair(**changes))


def test_other_annotations_are_named_by_file_wherever_they_lie(pair: Callable[..., tuple[Run, Run]]) -> None:
    same = {"valid_data.json": "a" * 64, "words/vocab.txt": "b" * 64}
    runs = pair(data={"annotations": same})
    assert differing_origins(runs) == ()
    record("runs/b", start(data={"annotations": same | {"valid_data.json": "e" * 64, "more.json": "f" * 64}}))
    (line,) = differing_origins(runs)
    assert line.startswith("IMAGECODE: annotation files (valid_data.json, more.json): sha256 ")


def test_the_report_has_a_section_on_it(pair: Callable[..., tuple[Run, Run]]) -> None:
    report = build_report(pair(revision={"commit": NEW}), [15])
    for text in (to_terminal(report), to_markdown(report)):
        assert text.index("Table 15") < text.index("Not made alike") < text.index("revision: 111111111111")


def test_only_what_the_numbers_belong_to_is_compared(pair: Callable[..., tuple[Run, Run]]) -> None:
    runs = pair()
    record("runs/b", START, start(config="config_test.yaml", revision={"commit": NEW}))
    assert differing_origins(runs) == ()


def test_runs_without_a_record_are_named(pair: Callable[..., tuple[Run, Run]]) -> None:
    a, b = pair()
    said = "what runs/b was made with is not known: no entry in provenance.json there"
    Path("runs/b/provenance.json").write_text("[")
    assert differing_origins([a, b]) == (said,)
    Path("runs/b/provenance.json").unlink()
    assert differing_origins([a, b]) == (said,)
    assert differing_origins([b]) == (), "nothing stands beside it"


def test_trainings_are_compared_with_trainings(make_run: MakeRun, pretrained: Pretrained) -> None:
    runs = []
    for number, name in enumerate("ab"):
        checkpoint = pretrained(f"pretrain_{name}", seed=number, mask_ratio=0.25 + number / 4)
        runs.append(make_run(name, (704, 372, 332), init_from=checkpoint))
        record(f"runs/{name}", START)
    record("runs/pretrain_a", start(command="fit"))
    record("runs/pretrain_b", start(command="fit"), start(command="fit", revision={"commit": NEW}))
    assert differing_origins(runs) == (
        "training of Pretraining: revision: 111111111111 in runs/pretrain_a; "
        "111111111111 then 222222222222 in runs/pretrain_b",
    )
    assert differing_origins([read_run(Path("runs/a"))]) == ()
    (resumed,) = differing_origins([read_run(Path("runs/b"))])
    assert resumed.endswith("revision: 111111111111 then 222222222222 in runs/pretrain_b")

"""`compare`: two runs or two groups, what is printed, and mistakes on the command line."""

import argparse
import json
from pathlib import Path

import pytest
import yaml

from contextblip.cli.compare_verb import add_compare_arguments, run_compare
from contextblip.errors import ConfigurationError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Four runs over 12 queries: a1 and a2 get 3 and 4 right, b1 and b2 11 and 12."""
    config = {
        "model": {"class_path": "contextblip.tasks.ZeroShot"},
        "data": {"class_path": "data_modules.ImageCoDeDataModule"},
    }
    for name, right in (("a1", 3), ("a2", 4), ("b1", 11), ("b2", 12)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(
            yaml.safe_dump({"seed_everything": int(name[1]), "experiment": "zero_shot", **config})
        )
        (folder / "metrics.json").write_text('{"test/accuracy": 0.5}')
        rows = [
            {"set": "s", "query_index": n, "text": "red", "target": 0, "prediction": int(n >= right)}
            | {"logits": [1.0, 0.0], "is_video": True, "phenomena": ["negation"], "n_propositions": 1}
            for n in range(12)
        ]
        (folder / "predictions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path


def compare(*words: object) -> None:
    parser = argparse.ArgumentParser(prog="lightning compare", allow_abbrev=False)
    add_compare_arguments(parser)
    run_compare(parser.parse_args([str(word) for word in words]))


def test_two_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare(runs / "a1", runs / "b1", "--flips", 1)
    shown = capsys.readouterr().out
    assert "B is better than A: 66.7 points" in shown
    assert "(12 queries, 8 flips)" in shown
    assert "B only: s:3 target 0, A 1, B 0: red" in shown
    assert " negation " in shown


def test_options_may_stand_first(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare("--format", "markdown", "--json", runs / "found.json", runs / "a1", runs / "b1")
    assert "\n| all | 12 | 25.0 [" in capsys.readouterr().out
    content = json.loads((runs / "found.json").read_text())
    assert content["rows"][0]["only_b"] == 8


def test_json_that_is_no_file_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compare(runs / "a1", runs / "b1", "--json", runs)
    assert str(caught.value) == f"--json {runs} is a folder; name a file that can be written"
    assert capsys.readouterr().out == "", "before anything is printed"
    with pytest.raises(ConfigurationError, match="; name a file that can be written"):
        compare(runs / "a1", runs / "b1", "--json", runs / "a1" / "config.yaml" / "found.json")


def test_two_groups(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare("--a", runs / "a1", runs / "a2", "--b", runs / "b1", runs / "b2")
    shown = " ".join(capsys.readouterr().out.split())
    assert "(zero_shot, ZeroShot, seeds 1, 2)" in shown
    assert "B is better than A: 66.7 points" in shown
    assert "seeds alone do not explain it" in shown
    assert "exact sign-flip test, clustered by query" in shown


def test_image_sets_can_be_the_clusters(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare(runs / "a1", runs / "b1", "--cluster", "set")
    assert "clustered by image set" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "got"),
    [
        ([], "0 runs"),
        (["x"], "1 run"),
        (["x", "y", "z"], "3 runs"),
        (["--a", "x"], "0 runs and --a"),
        (["x", "y", "--b", "z"], "2 runs and --b"),
    ],
)
def test_neither_two_runs_nor_two_groups(words: list[str], got: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compare(*words)
    assert str(caught.value) == f"compare: takes RUN_A RUN_B, or --a RUN... --b RUN..., but got {got}"


def test_a_missing_run_is_named(runs: Path) -> None:
    with pytest.raises(ConfigurationError, match="elsewhere is no folder"):
        compare(runs / "a1", runs / "elsewhere")


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare("--help")
    shown = capsys.readouterr().out
    assert shown.startswith("usage: lightning compare RUN_A RUN_B [options]\n")
    assert "lightning compare --a runs/base_seed_* --b runs/ours_seed_*" in shown

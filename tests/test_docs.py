"""Every command of the README, the pages and the experiments' files is accepted; conversions really run."""

import argparse
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from contextblip.cli import main
from contextblip.cli.verbs import VERBS
from tests.commands import PAGES, all_commands, page_commands

RUNNING = ("fit", "validate", "test", "predict")
ANSWERED = ("data", "weights", "convert", "sweep")  # have tests of their own below
UNSHOWN = {"validate", "gallery", "summary"}  # their help has an example
COMMANDS = all_commands()


def commands(*names: str) -> list[str]:
    return [command for command in COMMANDS if command.split()[1] in names and "--help" not in command]


def test_the_scan_finds_commands() -> None:
    assert len(COMMANDS) > 80
    assert {command.split()[1] for command in COMMANDS} >= {*RUNNING, *VERBS} - UNSHOWN
    assert not [page for page in PAGES if re.search(r"@[A-Z_]+@", page.read_text(encoding="utf-8"))]
    assert all(
        page_commands(page) for page in PAGES if page.name in ("README.md", "command-line.md", "sweeps.md")
    )


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("command", commands(*RUNNING))
def test_command_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*shlex.split(command)[1:], "--print_config"])
    assert stop.value.code == 0, capsys.readouterr().err
    assert "class_path: contextblip.tasks." in capsys.readouterr().out


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("command", [c for c in COMMANDS if "--help" in c])
def test_help_command_answers(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(command)[1:])
    assert stop.value.code == 0
    assert "mask_ratio" in capsys.readouterr().out


@pytest.mark.parametrize("command", commands("data", "weights"))
def test_data_and_weights_command_answers(
    command: str, checkout: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Downloads are only listed; the rest runs on the miniature world, which is not the full data set."""
    (checkout / "data").symlink_to(world)
    mirror = (checkout / "copy").as_uri()
    (checkout / "copy").mkdir()
    words = [mirror if word.startswith("file://") else word for word in shlex.split(command)[1:]]
    if words[1] == "download":
        main(words if "--dry_run" in words else [*words, "--dry_run"])
        said = capsys.readouterr().out
        assert (f"{mirror}/" if "--mirror" in words else "https://") in said or "are there already" in said
    elif words[:2] == ["data", "verify"]:
        part = [] if "--allow_part" in words else ["--allow_part"]
        main([*words, *part, "--report", str(checkout / "report.json")])
        assert "not the full data set" in capsys.readouterr().out
    else:
        main(words)
        assert capsys.readouterr().out.strip()


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("command", commands("sweep"))
def test_sweep_command_makes_a_plan(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    main([*words, *([] if "--dry_run" in words else ["--dry_run"])])
    said = capsys.readouterr().out
    assert re.search(r"\d+ trials of \d+ stages are \d+ runs", said)
    assert "zero_shot-" in said or "stage_two-" in said
    assert not Path("runs").exists()


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("command", commands(*(name for name in VERBS if name not in ANSWERED)))
def test_command_on_runs_parses(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs finished runs is read by its own parser and not run."""
    name, *words = shlex.split(command)[1:]
    seen: list[argparse.Namespace] = []
    monkeypatch.setitem(VERBS, name, replace(VERBS[name], run=seen.append))
    main([name, *words])
    (arguments,) = seen
    named = [word for word in words if word.startswith("runs/")]
    assert all(word in str(arguments) for word in named)


def test_conversions_run_one_after_the_other(checkout: Path) -> None:
    conversions = [shlex.split(command)[1:] for command in commands("convert")]
    assert {words[words.index("--to") + 1] for words in conversions} == {
        "contextblip",
        "salesforce",
        "huggingface",
    }
    for words in conversions:
        main(words)
        assert (checkout / words[2]).exists()

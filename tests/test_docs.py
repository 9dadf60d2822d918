"""Every command of the README, the pages and the experiments' headers is accepted; conversions really run."""

import re
import shlex
from pathlib import Path

import pytest

from contextblip.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNNING = ("fit", "validate", "test", "predict")


def page_commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("lightning ")]


def header_commands(experiment: Path) -> list[str]:
    header = "\n".join(line for line in experiment.read_text().splitlines() if line.startswith("#"))
    joined = header.replace("\\\n#", "")
    return [line.removeprefix("# ") for line in joined.splitlines() if line.startswith("# lightning ")]


def all_commands() -> list[str]:
    found = [command for page in PAGES for command in page_commands(page)]
    for experiment in sorted((ROOT / "experiments").rglob("*.yaml")):
        found += header_commands(experiment)
    return list(dict.fromkeys(found))


COMMANDS = all_commands()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the checkout, where commands may write."""
    for name in ("experiments", "assets", "lightning_cli.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_scan_finds_commands() -> None:
    assert len(COMMANDS) > 15
    assert not [page for page in PAGES if re.search(r"@[A-Z_]+@", page.read_text(encoding="utf-8"))]
    assert all(page_commands(page) for page in PAGES if page.name in ("README.md", "command-line.md"))


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] in RUNNING and "--help" not in c])
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


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] in ("data", "weights")])
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
        assert (f"{mirror}/" if "--mirror" in words else "https://") in capsys.readouterr().out
    elif words[:2] == ["data", "verify"]:
        part = [] if "--allow_part" in words else ["--allow_part"]
        main([*words, *part, "--report", str(checkout / "report.json")])
        assert "not the full data set" in capsys.readouterr().out
    else:
        main(words)
        assert capsys.readouterr().out.strip()


def test_conversions_run_one_after_the_other(checkout: Path) -> None:
    conversions = [shlex.split(c)[1:] for c in COMMANDS if c.split()[1] == "convert"]
    assert {words[words.index("--to") + 1] for words in conversions} == {
        "contextblip",
        "salesforce",
        "huggingface",
    }
    for words in conversions:
        main(words)
        assert (checkout / words[2]).exists()

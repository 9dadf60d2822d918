"""Every experiment runs, alone and with its overlays, and says what it is; their table is complete."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from contextblip.cli import main
from tests.commands import EXPERIMENTS, ROOT, TABLE, console_lines, header, header_commands

TRAINED = ("Pretraining", "FineTuning", "InterContext", "BackbonePretraining")
# A folder below experiments has to be named here, with what it holds, or the scan fails.
OVERLAYS = ("miniature", "real_sample", "published_code")  # each file has the name of its base
ABLATIONS = "ablations"  # each header names the bases
ON_MINIATURE = ("miniature/ablations", "miniature/published_code")  # comes after the file of the same name
SWEEPS = "sweeps"  # for `lightning sweep`, whose own tests read them


def folder_of(path: Path) -> str:
    return path.parent.relative_to(EXPERIMENTS).as_posix()


def bases(ablation: Path) -> list[str]:
    """Return the experiments that an ablation's header names."""
    (line,) = re.findall(r"^# Base: (.*)$", header(ablation), flags=re.MULTILINE)
    return re.findall(r"\w+\.yaml", line)


def chains(path: Path) -> Iterator[list[Path]]:
    """Yield the lists of files that a file is the last of."""
    folder = folder_of(path)
    if folder == ".":
        yield [path]
    elif folder in OVERLAYS:
        yield [EXPERIMENTS / path.name, path]
    elif folder == ABLATIONS:
        yield from ([EXPERIMENTS / base, path] for base in bases(path))
    else:
        miniature, _, inner = folder.partition("/")
        for chain in chains(EXPERIMENTS / inner / path.name):
            yield [chain[0], EXPERIMENTS / miniature / chain[0].name, *chain[1:], path]


FILES = sorted(EXPERIMENTS.rglob("*.yaml"))
CONFIGS = [path for path in FILES if folder_of(path) != SWEEPS]
CHAINS = [chain for path in CONFIGS for chain in chains(path)]
STUDIES = [path for path in CONFIGS if folder_of(path) in (ABLATIONS, "published_code")]


def name_of(chain: list[Path]) -> str:
    return "+".join(path.relative_to(EXPERIMENTS).with_suffix("").as_posix() for path in chain)


def as_words(chain: list[Path]) -> list[str]:
    return [word for config in chain for word in ("--config", str(config))]


def subcommand(base: Path) -> str:
    """Return fit for what has a training budget, else test."""
    config = read(base)
    name = config["model"]["class_path"].rpartition(".")[2]
    return "fit" if name in TRAINED and "MMVP" not in config["data"]["class_path"] else "test"


def tiny(world: Path, backbone: Path, folder: Path, *, trains: bool = True) -> list[str]:
    return [
        *("--model.backbone", str(backbone), "--data.root", str(world)),
        *("--data.num_workers", "0", "--run_dir", str(folder / "run")),
        *(("--data.batch_size", "4") if trains else ("--data.eval_batch_size", "4")),
        *("--trainer.accelerator", "cpu"),
    ]


def test_every_folder_of_experiments_is_known() -> None:
    found = {path.parent.relative_to(EXPERIMENTS).as_posix() for path in EXPERIMENTS.rglob("*.y*ml")}
    assert found - {SWEEPS} == {".", *OVERLAYS, ABLATIONS, *ON_MINIATURE}
    assert not list(EXPERIMENTS.rglob("*.yml"))
    for path in CONFIGS:
        assert all(config.is_file() for chain in chains(path) for config in chain), path


@pytest.mark.parametrize("chain", CHAINS, ids=name_of)
def test_experiment_runs(
    chain: list[Path], world: Path, backbone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = chain[0]
    gallery = base.stem == "coco_retrieval"
    extra = ["--data.split", "val"] if gallery else []
    if not gallery and "mmvp" not in base.stem:
        extra += ["--data.global_batch_size", "4"]
    if chain[-1].stem == "no_truncation":
        extra += ["--data.max_tokens", "64"]  # all that the tiny backbone has
    shared = tiny(world, backbone, tmp_path, trains=not gallery)
    main([subcommand(base), *as_words(chain), *shared, *extra, "--trainer.fast_dev_run", "2"])
    warned = "say left or right" in caplog.text
    assert warned == ("flips" in name_of(chain) or "published_code/pretrain" in name_of(chain))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_a_study_holds_after_the_miniatures_budget(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Base, the miniature's overlay, the study, the miniature's word on it: the study's values survive."""
    base = next(chains(path))[0]
    last = EXPERIMENTS / "miniature" / path.relative_to(EXPERIMENTS)
    adapted = [last] if last.is_file() else []
    chain = [base, EXPERIMENTS / "miniature" / base.name, path, *adapted]
    resolved = resolve([subcommand(base), *as_words(chain)], capsys)
    for section in ("model", "data"):
        wanted: dict[str, object] = {}
        for file in (path, *adapted):
            wanted |= init_args(file, section)
        assert resolved[section]["init_args"].items() >= wanted.items()
    assert resolved["experiment"] == read(path)["experiment"]


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def init_args(path: Path, section: str) -> dict[str, object]:
    values: dict[str, object] = read(path).get(section, {}).get("init_args", {})
    return values


def resolve(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the values of a command, which is parsed but not run."""
    with pytest.raises(SystemExit) as stop:
        main([*words, "--print_config"])
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    resolved: dict[str, Any] = yaml.safe_load(captured.out)
    return resolved


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_experiment_says_what_it_is(path: Path) -> None:
    assert header(path).startswith("# ")
    if path in STUDIES or folder_of(path) in (".", *ON_MINIATURE):
        assert any(f"--config {path.relative_to(ROOT)}" in command for command in header_commands(path))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_a_study_names_its_table_its_number_and_the_hardware(path: Path) -> None:
    """And holds only keys that differ from each of its bases."""
    for pattern in (
        r"# Paper: .*(Table \d+|no table)",
        r"# Expected\b.*(\d\d\.\d|none published)",
        r"# Hardware: ",
    ):
        assert re.search(f"^{pattern}", header(path), flags=re.MULTILINE), pattern
    assert bases(path)
    name = path.relative_to(EXPERIMENTS).with_suffix("").as_posix()
    assert read(path)["experiment"] == name.removeprefix("ablations/")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.relative_to(EXPERIMENTS).as_posix())
def test_an_ablation_holds_only_keys_that_differ(path: Path) -> None:
    if folder_of(path) == "published_code":
        assert bases(path) == [path.name]
        return
    assert read(path).keys() <= {"experiment", "model", "data"}
    for base in bases(path):
        for section in ("model", "data"):
            before = init_args(EXPERIMENTS / base, section)
            same = {key for key, value in init_args(path, section).items() if before.get(key, ...) == value}
            assert not same, base


def test_the_table_shows_nothing_but_commands() -> None:
    assert all(line.startswith("lightning ") for line in console_lines(TABLE))


def test_the_table_has_every_table_and_every_file() -> None:
    text = TABLE.read_text(encoding="utf-8")
    headings = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for number in range(1, 19):
        assert re.search(rf"\b{number}\b", headings), f"Table {number}"
    for path in FILES:
        if folder_of(path) not in ("miniature", "real_sample", *ON_MINIATURE):
            assert path.relative_to(EXPERIMENTS).as_posix() in text, path
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (EXPERIMENTS / target).exists(), target

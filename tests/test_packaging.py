"""The package list is complete, and a wheel works away from the checkout."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEFAULTS = "lightning_cli.yaml"


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def package_folders() -> dict[str, str]:
    """Find every folder with an ``__init__.py`` and the package it is."""
    found = {}
    for base in (ROOT / "src", ROOT):
        roots = ["contextblip"] if base.name == "src" else ["data_modules", "callbacks"]
        for name in roots:
            for init in (base / name).rglob("__init__.py"):
                found[".".join(init.parent.relative_to(base).parts)] = str(init.parent.relative_to(ROOT))
    return found


def test_every_package_is_listed_with_its_folder() -> None:
    options = setup_cfg()["options"]
    assert set(options["packages"].split()) == set(package_folders())
    mapped = dict(line.split(" = ") for line in options["package_dir"].strip().splitlines())
    expected = {name: folder for name, folder in package_folders().items() if folder.startswith("src")}
    assert mapped == expected


def test_every_dependency_has_a_lower_bound_and_no_upper_one() -> None:
    requirements = [
        line for line in setup_cfg()["options"]["install_requires"].splitlines() if line and line[0] != "#"
    ]
    assert len(requirements) == 20
    assert all(">=" in line and "<" not in line for line in requirements)


def test_the_packaged_defaults_are_the_checkouts() -> None:
    assert (ROOT / DEFAULTS).read_bytes() == (ROOT / "src" / "contextblip" / DEFAULTS).read_bytes()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel of a copy of the sources and install it, without dependencies, into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"
    tracked = ["src", "data_modules", "callbacks", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
    source.mkdir()
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in tracked), str(source)], check=True)
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def test_the_wheel_runs_elsewhere(site: Path, tmp_path: Path) -> None:
    """The installed command trains on a miniature world with nothing of the checkout in reach."""
    sizes = [
        f"--{part}=4" for part in ("captions", "captions-val", "vg-images", "sets", "sets-valid", "sets-test")
    ]
    training = (
        "fit --model contextblip.tasks.BackbonePretraining --data data_modules.CaptionDataModule "
        "--data.root world --data.batch_size 4 --data.num_workers 0 --trainer.fast_dev_run true "
        "--trainer.accelerator cpu"
    )
    where = "import contextblip, data_modules, callbacks; print(contextblip.__file__, data_modules.__file__)"
    commands = [
        ["-c", where],
        ["-m", "data_modules.miniature", "--root", "world", *sizes],
        [str(site / "bin" / "lightning"), *training.split()],
    ]
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    runs = [
        subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for words in commands
    ]
    assert [run.returncode for run in runs] == [0, 0, 0], [run.stderr[-2000:] for run in runs]
    assert all(path.startswith(str(site)) for path in runs[0].stdout.split())

"""Import directions: models, losses, metrics <- tasks <- cli; the product never imports its users."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PURE = ("models", "losses.py", "metrics.py")


def imported(file: Path) -> set[str]:
    """Return the dotted names a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(*parts: str) -> list[Path]:
    base = ROOT.joinpath(*parts)
    return [base] if base.is_file() else sorted(base.rglob("*.py"))


def offenders(files: list[Path], *forbidden: str) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if any(name == bad or name.startswith(f"{bad}.") for bad in forbidden)
    ]


def test_the_scan_sees_imports() -> None:
    assert "contextblip.models.ContextBLIP" in imported(
        Path(__file__).parent / "models" / "test_contextblip.py"
    )
    assert len(sources("src", "contextblip")) > 20


@pytest.mark.parametrize("part", PURE)
def test_models_losses_and_metrics_know_neither_lightning_nor_files(part: str) -> None:
    users = ("contextblip.tasks", "contextblip.cli", "contextblip.checkpoints")
    forbidden = ("lightning", "pytorch_lightning", "transformers", "pathlib", "huggingface_hub", *users)
    assert offenders(sources("src", "contextblip", part), *forbidden) == []


def test_contextblip_never_imports_data_modules_or_callbacks() -> None:
    assert offenders(sources("src"), "data_modules", "callbacks") == []


def test_tasks_never_import_the_command_line() -> None:
    assert offenders(sources("src", "contextblip", "tasks"), "contextblip.cli") == []


def test_models_and_data_modules_share_only_types_and_readers() -> None:
    assert (
        offenders(sources("data_modules"), "contextblip.tasks", "contextblip.cli", "contextblip.losses") == []
    )


def test_nobody_imports_tests_or_experiments() -> None:
    files = [file for folder in ("src", "data_modules", "callbacks") for file in sources(folder)]
    assert offenders(files, "tests", "experiments") == []

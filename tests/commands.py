"""Commands that the pages, the experiments' table and the experiments' headers show."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
TABLE = EXPERIMENTS / "README.md"
BATCH = r"^sbatch .*docs/slurm/sweep\.sh "
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), TABLE]


def header(path: Path) -> str:
    """Return the comment at the top, one line for each of its lines, continued ones joined."""
    lines = path.read_text(encoding="utf-8").split("\n")
    top = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    return re.sub(r"\\\n#\s*", "", "\n".join(top))


def header_commands(experiment: Path) -> list[str]:
    """Return the commands of a file's header."""
    return re.findall(r"^# (lightning .*)$", header(experiment), flags=re.MULTILINE)


def console_lines(page: Path) -> list[str]:
    """Return the lines of a page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def page_commands(page: Path) -> list[str]:
    """Return a page's commands of ours; ``sbatch docs/slurm/sweep.sh X`` is a sweep of X."""
    lines = [re.sub(BATCH, "lightning sweep ", line) for line in console_lines(page)]
    return list(dict.fromkeys(line for line in lines if line.startswith("lightning ")))


def all_commands() -> list[str]:
    """Return every command, once."""
    found = [command for page in PAGES for command in page_commands(page)]
    for experiment in sorted(EXPERIMENTS.rglob("*.yaml")):
        found += header_commands(experiment)
    return list(dict.fromkeys(found))

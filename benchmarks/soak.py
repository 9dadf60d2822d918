"""Two hours of training on the miniature world: does memory grow, are files left open?

    python -m benchmarks.soak [--minutes N] [--stage NAME] [--results FILE] [--figure FILE]

A real `lightning fit`, with workers, validations and checkpoints, is watched from outside: the resident
memory and the open files of all its processes together. Exit status 1 where a straight line through memory
behind the warm-up grows by more than it may, or the number of open files at all.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil
from rich.console import Console
from scipy.stats import linregress

from benchmarks.data import save
from benchmarks.machine import describe
from benchmarks.soak_figure import draw

RESULTS = Path(__file__).with_name("soak.json")
FIGURE = Path(__file__).parents[1] / "docs" / "soak.png"
STAGES = ("pretrain", "finetune", "inter_context")
MOST_MB_A_MINUTE = 1.0
WARM_UP = 0.1  # share of the time, in which workers start and pools fill
EVERY_S = 10.0


class Sample(NamedTuple):
    """One look at a training.

    Attributes:
        minutes: Since the first.
        mb: Resident memory of all processes, pages that they share counted once a process.
        files: Open file descriptors of all processes.
        processes: Their number.
    """

    minutes: float
    mb: float
    files: int
    processes: int


def command(stage: str, minutes: float, folder: Path) -> list[str]:
    """Return the training that is watched.

    Args:
        stage: One of `STAGES`.
        minutes: How long it goes on.
        folder: Its run folder.

    Returns:
        Words of the command line.
    """
    hours, rest = divmod(round(minutes * 60), 3600)
    return [
        *(sys.executable, "-m", "contextblip", "fit"),
        *("--config", f"experiments/{stage}.yaml", "--config", f"experiments/miniature/{stage}.yaml"),
        *("--run_dir", str(folder), "--trainer.max_steps", "1000000"),
        *("--trainer.max_time", f"00:{hours:02}:{rest // 60:02}:{rest % 60:02}"),
        *("--trainer.enable_progress_bar", "false", "--data.num_workers", "1"),
    ]


def watch(words: Sequence[str], every_s: float = EVERY_S) -> list[Sample]:
    """Run a command and look at its processes until it ends.

    Args:
        words: The command.
        every_s: Seconds between two looks.

    Returns:
        What was seen.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    samples: list[Sample] = []
    with subprocess.Popen(list(words), stdout=subprocess.DEVNULL) as process:  # noqa: S603  # our own
        begun = time.monotonic()
        while process.poll() is None:
            seen = look(psutil.Process(process.pid))
            if seen is not None:
                samples.append(Sample((time.monotonic() - begun) / 60, *seen))
            time.sleep(every_s)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(words))
    return samples


def look(parent: psutil.Process) -> tuple[float, int, int] | None:
    """Add up memory in MB, open files and number of a process and all that it started.

    Args:
        parent: The first of them.

    Returns:
        The sums; ``None`` where one ended meanwhile.
    """
    try:
        processes = [parent, *parent.children(recursive=True)]
        memory = sum(process.memory_info().rss for process in processes) / 2**20
        return memory, sum(process.num_fds() for process in processes), len(processes)
    except psutil.NoSuchProcess:
        return None


def judge(samples: Sequence[Sample]) -> dict[str, Any]:
    """Fit straight lines behind the warm-up.

    Args:
        samples: From `watch`.

    Returns:
        ``mb_per_minute`` with its 95% interval, first and last ``mb``, the median and the most of open files
        in either half of the time, and whether both are ``flat``: files where the second half's median is not
        above the first's, since a look may meet a checkpoint that is being written.
    """
    # without the last, which may meet processes that are ending
    kept = [sample for sample in samples[:-1] if sample.minutes >= WARM_UP * samples[-1].minutes]
    minutes = [sample.minutes for sample in kept]
    memory = linregress(minutes, [sample.mb for sample in kept])
    files = [sample.files for sample in kept]
    halves = (files[: len(files) // 2], files[len(files) // 2 :])
    usual, later = (median(half) for half in halves)
    return {
        "samples": len(kept),
        "mb_per_minute": memory.slope,
        "mb_per_minute_ci95": 1.96 * memory.stderr,
        "mb_first": kept[0].mb,
        "mb_last": kept[-1].mb,
        "files_first_half": usual,
        "files_second_half": later,
        "files_first_half_most": max(halves[0]),
        "files_second_half_most": max(halves[1]),
        "processes_most": max(sample.processes for sample in kept),
        "flat": bool(memory.slope < MOST_MB_A_MINUTE and later <= usual),
    }


def run(stage: str, minutes: float, every_s: float = EVERY_S) -> dict[str, Any]:
    """Train and watch.

    Args:
        stage: One of `STAGES`.
        minutes: How long.
        every_s: Seconds between two looks.

    Returns:
        ``command``, ``machine``, ``minutes``, the verdict of `judge` and the ``samples_seen``.
    """
    with TemporaryDirectory() as folder:
        samples = watch(command(stage, minutes, Path(folder) / "run"), every_s)
    return {
        "command": f"python -m benchmarks.soak --minutes {minutes:g} --stage {stage}",
        "machine": describe(1),
        "minutes": minutes,
        **judge(samples),
        "samples_seen": [list(sample) for sample in samples],
    }


def report(results: Mapping[str, Any]) -> str:
    """Say in a line what was found."""
    return (
        f"{results['minutes']:g} minutes: memory {results['mb_per_minute']:+.2f} "
        f"± {results['mb_per_minute_ci95']:.2f} MB a minute ({results['mb_first']:,.0f} to "
        f"{results['mb_last']:,.0f} MB), open files {results['files_first_half']:g} (at most "
        f"{results['files_first_half_most']}) in the first half, {results['files_second_half']:g} (at most "
        f"{results['files_second_half_most']}) in the second: {'' if results['flat'] else 'NOT '}flat"
    )


def main(words: Sequence[str] | None = None) -> None:
    """Train, watch, write the results and draw them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=120.0, help="how long to train")
    parser.add_argument("--stage", choices=STAGES, default="pretrain", help="which training")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write")
    parser.add_argument("--figure", type=Path, default=FIGURE, help="picture to draw")
    arguments = parser.parse_args(words)
    results = run(arguments.stage, arguments.minutes)
    Console(width=200).print(report(results))
    save(results, arguments.results)
    draw(arguments.figure, results)
    if not results["flat"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

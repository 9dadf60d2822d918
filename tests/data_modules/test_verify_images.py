"""Decoding many images: what is remembered, what is tried again, how far it is."""

import io
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn

import pytest
from rich.console import Console

from contextblip.errors import DatasetError
from data_modules.verification import images as verify_images
from data_modules.verification.images import ImageJob, Outcome, Stamp, VerifiedFiles, check_images
from data_modules.verification.progress import progress


@pytest.fixture
def jobs(tmp_path: Path, write_image: Callable[..., Path]) -> list[ImageJob]:
    """Eighty small images; the one called 40 is an empty file."""
    names = [f"{number}.png" for number in range(80)]
    paths = [write_image(tmp_path / "images" / name) for name in names]
    paths[40].write_bytes(b"")
    return [ImageJob(name, str(path)) for name, path in zip(names, paths, strict=True)]


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """Where verified files are remembered."""
    return tmp_path / ".contextblip" / "verified.jsonl"


def interrupt_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C before the image of this number is decoded."""
    check = verify_images._check

    def interrupted(job: ImageJob, known: Stamp | None) -> Outcome:
        if job.name == f"{number}.png":
            raise KeyboardInterrupt
        return check(job, known)

    monkeypatch.setattr(verify_images, "_check", interrupted)


def test_an_interrupted_run_goes_on_where_it_stopped(
    jobs: list[ImageJob], memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as during:
        interrupt_at(70, during)
        with pytest.raises(KeyboardInterrupt):
            check_images(jobs, VerifiedFiles(memory), 1)
    again = check_images(jobs, VerifiedFiles(memory), 1)
    # two whole chunks were done, with one unreadable image, which is never remembered
    assert 2 * verify_images.CHUNK == 64
    assert (again.remembered, again.decoded) == (63, 17)
    assert again.unreadable == [("40.png", "empty file")]


def test_what_was_unreadable_is_tried_again(jobs: list[ImageJob], memory: Path) -> None:
    assert check_images(jobs[40:], VerifiedFiles(memory), 1).decoded == 40
    assert check_images(jobs[40:], VerifiedFiles(memory), 1).unreadable == [("40.png", "empty file")]
    shutil.copy(jobs[41].path, jobs[40].path)
    mended = check_images(jobs[40:], VerifiedFiles(memory), 1)
    assert (mended.decoded, mended.unreadable) == (1, [])


def test_half_a_line_of_a_run_that_was_killed_is_passed_over(jobs: list[ImageJob], memory: Path) -> None:
    check_images(jobs[:2], VerifiedFiles(memory), 1)
    with memory.open("a") as stream:
        stream.write('\n{"path": "2.p')
    assert check_images(jobs[:4], VerifiedFiles(memory), 1).decoded == 2
    assert check_images(jobs[:4], VerifiedFiles(memory), 1).decoded == 0


def test_fresh_forgets(jobs: list[ImageJob], memory: Path) -> None:
    check_images(jobs[:4], VerifiedFiles(memory), 1)
    assert check_images(jobs[:4], VerifiedFiles(memory, fresh=True), 1).decoded == 4
    assert memory.read_text().count("mtime_ns") == 4


def test_a_file_that_vanished_is_unreadable(jobs: list[ImageJob], memory: Path) -> None:
    Path(jobs[1].path).unlink()
    check = check_images(jobs[:3], VerifiedFiles(memory), 1)
    assert check.unreadable == [("1.png", "No such file or directory")]


def test_several_processes_find_the_same(jobs: list[ImageJob], memory: Path) -> None:
    done: list[tuple[int, int]] = []
    check = check_images(jobs, VerifiedFiles(memory), 2, lambda *moved: done.append(moved))
    assert (check.decoded, check.remembered) == (80, 0)
    assert check.unreadable == [("40.png", "empty file")]
    assert done == [(32, 0), (32, 1), (16, 0)]
    assert check_images(jobs, VerifiedFiles(memory), 2).remembered == 79


def test_only_a_few_chunks_are_handed_out_ahead(
    jobs: list[ImageJob], memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_images, "CHUNK", 2)
    handed_out: list[int] = []
    submit = ProcessPoolExecutor.submit

    class Counting(ProcessPoolExecutor):
        def submit(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            handed_out.append(1)
            return submit(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(verify_images, "ProcessPoolExecutor", Counting)
    ahead: list[int] = []
    check_images(jobs, VerifiedFiles(memory), 2, lambda *_: ahead.append(len(handed_out) - len(ahead)))
    assert len(handed_out) == 40
    assert max(ahead) == 2 * verify_images.CHUNKS_AHEAD + 1


def test_a_process_that_dies_is_reported(
    jobs: list[ImageJob], memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dead(ProcessPoolExecutor):
        def submit(self, *_: object, **__: object) -> NoReturn:
            raise BrokenProcessPool("terminated abruptly")

    monkeypatch.setattr(verify_images, "ProcessPoolExecutor", Dead)
    with pytest.raises(DatasetError) as error:
        check_images(jobs, VerifiedFiles(memory), 2)
    assert str(error.value) == (
        "a process that decodes images died, perhaps for want of memory; run again with a smaller "
        "--num_workers: what was verified so far is remembered"
    )


def test_progress_is_a_line_now_and_then_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    clock = iter([0.0, 10.0, 31.0, 31.0, 40.0])
    monkeypatch.setattr("data_modules.verification.progress.time.monotonic", lambda: next(clock))
    with progress(Console(file=out, width=80), 94_020) as advance:
        advance(1_000, 0)
        advance(1_000, 2)
        advance(1_000, 0)
    assert out.getvalue() == "2,000 of 94,020 images, 2 unreadable\n"


def test_progress_is_a_bar_on_a_terminal() -> None:
    out = io.StringIO()
    with progress(Console(file=out, width=80, force_terminal=True), 4) as advance:
        advance(3, 1)
    assert "3/4" in out.getvalue()
    assert "1 unreadable" in out.getvalue()

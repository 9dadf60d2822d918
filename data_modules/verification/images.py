"""Decode images by the hundred thousand: in several processes, in bounded memory, and never twice."""

from __future__ import annotations

import json
import re
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from contextblip.errors import DatasetError
from data_modules.archive import ArchivedImage, ImageArchive
from data_modules.files import readable_image

_REASON = re.compile(r" \((.*)\); ")
CHUNK = 32
CHUNKS_AHEAD = 4  # a process: enough to keep it busy, few enough to lose little when interrupted


@dataclass(frozen=True)
class ImageJob:
    """An image to decode.

    Attributes:
        name: How reports and the memory of verified files call it.
        path: The file, or the archive that holds it.
        member: Its name inside the archive; ``None`` for a file of its own.
    """

    name: str
    path: str
    member: str | None = None


Stamp = tuple[int, int]
Task = tuple[ImageJob, Stamp | None]


@dataclass(frozen=True)
class Outcome:
    """What became of an image.

    Attributes:
        name: Its job's.
        stamp: Size and modification time in nanoseconds of the file or archive.
        decoded: Whether it was opened, not just found unchanged since it was.
        reason: Why it cannot be read; ``None`` where it can.
    """

    name: str
    stamp: Stamp
    decoded: bool
    reason: str | None


@dataclass
class ImageCheck:
    """What became of all images.

    Attributes:
        decoded: Images that were opened.
        remembered: Images unchanged since an earlier run decoded them.
        unreadable: Name and reason of those that cannot be read.
    """

    decoded: int = 0
    remembered: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def checked(self) -> int:
        """Images that were looked at."""
        return self.decoded + self.remembered


class VerifiedFiles:
    """Files that were decoded without a fault, by name, size and modification time: one JSON line each.

    Args:
        path: The file that remembers them.
        fresh: Forget what an earlier run left there.
        prefix: Stands before every name: the root, where one file remembers those of several.
    """

    def __init__(self, path: Path, fresh: bool = False, prefix: str = "") -> None:
        self.path = path
        self.prefix = prefix
        self._stamps: dict[str, Stamp] = {}
        if fresh:
            path.unlink(missing_ok=True)
        elif path.is_file():
            with path.open(encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    self._read(line)

    def _read(self, line: str) -> None:
        try:
            row = json.loads(line)
            self._stamps[row["path"]] = (int(row["size"]), int(row["mtime_ns"]))
        except (ValueError, KeyError, TypeError):
            return  # the last line of a run that was killed: its image is decoded again

    def stamp(self, name: str) -> Stamp | None:
        """Return size and modification time that a file had when it was decoded."""
        return self._stamps.get(f"{self.prefix}{name}")

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Remember those that were decoded without a fault, at once and on disk."""
        rows = [
            {"path": f"{self.prefix}{outcome.name}", "size": outcome.stamp[0], "mtime_ns": outcome.stamp[1]}
            for outcome in outcomes
            if outcome.decoded and outcome.reason is None
        ]
        if not rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            # a line end first: the run before may have been killed in the middle of its last line
            stream.write("".join(f"\n{json.dumps(row)}" for row in rows))


def check_images(
    jobs: Sequence[ImageJob],
    verified: VerifiedFiles,
    num_workers: int,
    advance: Callable[[int, int], None] = lambda _done, _bad: None,
) -> ImageCheck:
    """Decode every image that is not known to be good.

    Args:
        jobs: The images.
        verified: Files known to be good; those found good are added as they are decoded.
        num_workers: Processes; 1 decodes in this one.
        advance: Told after each chunk how many more images are done and how many of them cannot be read.

    Returns:
        Counts, and the images that cannot be read in the order of ``jobs``.

    Raises:
        DatasetError: A process died, for instance for want of memory.
    """
    check = ImageCheck()
    starts = range(0, len(jobs), CHUNK)
    chunks = ([(job, verified.stamp(job.name)) for job in jobs[start : start + CHUNK]] for start in starts)
    for outcomes in _outcomes(chunks, min(num_workers, len(starts))):
        verified.add(outcomes)
        bad = [(outcome.name, outcome.reason) for outcome in outcomes if outcome.reason is not None]
        check.decoded += sum(outcome.decoded for outcome in outcomes)
        check.remembered += sum(not outcome.decoded for outcome in outcomes)
        check.unreadable += bad
        advance(len(outcomes), len(bad))
    return check


def _outcomes(chunks: Iterator[list[Task]], num_workers: int) -> Iterator[list[Outcome]]:
    """Check chunks, a few ahead of the one that is waited for."""
    if num_workers <= 1:
        yield from map(check_chunk, chunks)
        return
    waiting: deque[Future[list[Outcome]]] = deque()
    # spawned, not forked: the progress bar has a thread, and whoever calls may have torch's
    with ProcessPoolExecutor(num_workers, get_context("spawn"), _ignore_interrupts) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(check_chunk, chunk))
                if len(waiting) > CHUNKS_AHEAD * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "a process that decodes images died, perhaps for want of memory; run again with a smaller "
                "--num_workers: what was verified so far is remembered"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the first process, which then waits for the chunks in work and keeps what was done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_chunk(tasks: Sequence[Task]) -> list[Outcome]:
    """Check some images in this process.

    Args:
        tasks: Images and the size and time that each had when it was last decoded, if ever.

    Returns:
        Their outcomes, in order.
    """
    return [_check(job, known) for job, known in tasks]


def _check(job: ImageJob, known: Stamp | None) -> Outcome:
    try:
        status = Path(job.path).stat()
        stamp = (status.st_size, status.st_mtime_ns)
        if stamp == known:
            return Outcome(job.name, stamp, decoded=False, reason=None)
    except OSError as error:
        return Outcome(job.name, (0, 0), decoded=True, reason=error.strerror or type(error).__name__)
    return Outcome(job.name, stamp, decoded=True, reason=decode(job))


def decode(job: ImageJob) -> str | None:
    """Decode an image to its last pixel.

    Args:
        job: The image.

    Returns:
        Why that cannot be done; ``None`` where it can.
    """
    try:
        with readable_image(_reference(job), job.name) as image:
            image.load()
    except DatasetError as error:
        # of the whole line only what is wrong: the report names the image itself
        match = _REASON.search(str(error))
        return match[1] if match else str(error)
    except Exception as error:  # decoders raise what they like; one image must not end the run
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def _reference(job: ImageJob) -> Path | ArchivedImage:
    if job.member is None:
        return Path(job.path)
    # opened once a process, then kept: the same object for the same file and label
    return ArchivedImage(ImageArchive.open(Path(job.path), "images"), job.member)

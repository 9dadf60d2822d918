"""What a verification found: a table and a line for the terminal, JSON for everything else."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from data_modules.statistics.tables import NONE, make_table
from data_modules.verification.images import ImageCheck
from data_modules.verification.inspection import Count, Inspection, some

# a total of the whole data set, the first that there is: the one that says how much of it is here
TOTALS = ("sets", "pairs", "images", "texts")


@dataclass(frozen=True)
class Report:
    """A finished verification.

    Attributes:
        inspection: What the files say.
        counts: Found and published numbers.
        check: What became of the images; ``None`` where none was opened.
        seconds: How long it took.
        root: Root of the data set.
        allow_part: Whether a part of the data set will do.
    """

    inspection: Inspection
    counts: list[Count]
    check: ImageCheck | None
    seconds: float
    root: Path
    allow_part: bool = False

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Name and reason of images that cannot be decoded."""
        return [] if self.check is None else self.check.unreadable

    @property
    def too_many(self) -> list[Count]:
        """Counts beyond the published ones, which no part of the data set explains."""
        return [count for count in self.counts if count.exceeds]

    @property
    def failed(self) -> bool:
        """Whether training or evaluation would meet a fault, of data that may be a part of all."""
        found = self.inspection
        return bool(found.missing or found.missing_sets or found.problems or self.unreadable or self.too_many)

    @property
    def status(self) -> str:
        """``failed``, ``incomplete`` (a part of the data set, good as it is) or ``good``."""
        if self.failed:
            return "failed"
        return "good" if all(count.fits for count in self.counts) else "incomplete"

    @property
    def passed(self) -> bool:
        """Whether the data set is good, or a part of it that is good will do."""
        return self.status == "good" or (self.status == "incomplete" and self.allow_part)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        found = self.inspection
        return {
            "dataset": found.name,
            "status": self.status,
            "layout": found.layout,
            "root": str(self.root.absolute()),
            "files": [str(path) for path in found.files],
            "counts": {
                count.label: {"found": count.found, "expected": list(count.expected), "fits": count.fits}
                for count in self.counts
            },
            "images": None
            if self.check is None
            else {
                "checked": self.check.checked,
                "decoded": self.check.decoded,
                "remembered": self.check.remembered,
            },
            "missing_sets": found.missing_sets,
            "missing": found.missing,
            "unreadable": [{"path": name, "reason": reason} for name, reason in self.unreadable],
            "problems": found.problems,
            "notes": found.notes,
            "seconds": round(self.seconds, 3),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("contextblip", "pillow")},
            },
        }

    def write(self, path: Path) -> None:
        """Write the report as JSON.

        Args:
            path: The file; its folder is made where it is missing.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")

    def table(self) -> Table:
        """Lay the counts out for the terminal."""
        rows = [
            [
                count.label,
                f"{count.found:,}",
                " or ".join(f"{number:,}" for number in count.expected) or NONE,
                verdict(count),
            ]
            for count in self.counts
        ]
        title = f"{self.inspection.title}, {self.inspection.layout}"
        return make_table([title, "found", "published", ""], rows)

    def lines(self) -> list[str]:
        """Say below the table what else was found, one thing a line."""
        lines = [f"note: {note}" for note in self.inspection.notes]
        if self.check is not None:
            kept = self.check.remembered
            again = f"; {kept:,} more are unchanged since they were" if kept else ""
            lines.append(f"{self.check.decoded:,} images decoded{again}; {self.seconds:.1f} s in all")
        return lines

    def summary(self) -> str:
        """Say in one line that all is well, or that it is but not all of it is here."""
        name = self.inspection.name
        if self.status == "good":
            return f"{name}: all good" if self.check is not None else f"{name}: annotations good"
        return f"{name}: good as far as it goes, but not the full data set: {self._share()}"

    def _share(self) -> str:
        """Say how much of the data set is here."""
        short = {count.label: count for count in self.counts if not count.fits}
        label = next((label for label in TOTALS if label in short), next(iter(short)))
        published = " or ".join(f"{number:,}" for number in short[label].expected)
        return f"{short[label].found:,} of {published} {label}"

    def failure(self, path: Path) -> str:
        """Say in one line what is wrong, where, and what mends it; only of one that has not passed.

        Args:
            path: Where the report was written.

        Returns:
            The line.
        """
        found, parts = self.inspection, list[str]()
        if self.status == "incomplete":
            return (
                f"{found.title}: not the full data set: {self._share()}; pass --allow_part if that is meant, "
                f"or download the rest; all counts are in {path}"
            )
        if found.missing_sets:
            total = found.found.get("sets", 0)
            parts.append(
                f"{len(found.missing_sets):,} of {total:,} sets have no folder of images, "
                f"first {found.missing_sets[0]}"
            )
        if found.missing:
            parts.append(f"{_images(len(found.missing))} missing: {some(found.missing)}")
        if self.unreadable:
            name, reason = self.unreadable[0]
            parts.append(f"{_images(len(self.unreadable))} unreadable, first {name} ({reason})")
        lost = [*found.missing_sets, *found.missing, *(name for name, _ in self.unreadable)]
        remedy = [found.remedy(lost)] if lost else []
        parts += found.problems[:2]
        if len(found.problems) > 2:
            parts.append(f"{len(found.problems) - 2:,} more faults of the files")
        parts += [
            f"{count.found:,} {count.label}, more than the {max(count.expected):,} published"
            for count in self.too_many
        ]
        return "; ".join([f"{found.title}: {parts[0]}", *parts[1:], *remedy, f"all are listed in {path}"])


def _images(number: int) -> str:
    return "1 image is" if number == 1 else f"{number:,} images are"


def verdict(count: Count) -> str:
    """Say in a word how a count compares with the published one.

    Args:
        count: Found and published.

    Returns:
        Text for the last column.
    """
    if not count.expected:
        return ""
    if count.fits:
        return "as published" if count.edition is None else f"the edition of {count.edition:,}"
    return "more" if count.exceeds else "fewer"

"""What stands between a pair of markers of a page, which a command writes anew."""

from collections.abc import Sequence
from pathlib import Path

from contextblip.errors import ConfigurationError
from contextblip.replacing import replacing


def marker_pair(name: str) -> tuple[str, str]:
    """Return the markers of a name: HTML comments, which a rendered page does not show."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def find_between(page: str, name: str) -> str | None:
    """Find what stands between the markers of a page.

    Args:
        page: Its text.
        name: Of the markers.

    Returns:
        The text between them without the blank lines around it; ``None`` where a marker is missing.
    """
    opening, closing = marker_pair(name)
    before, begin, rest = page.partition(opening)
    inside, end, _ = rest.partition(closing)
    return inside.strip("\n") if begin and end and closing not in before else None


def put_between(page: Path, name: str, tables: str) -> None:
    """Replace what stands between the markers of a page.

    Args:
        page: The file.
        name: Of the markers.
        tables: Markdown that ends with a line break.

    Raises:
        ConfigurationError: The page lacks the markers.
    """
    opening, closing = marker_pair(name)
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if find_between(text, name) is None:
        raise ConfigurationError(
            f"{page} has no {opening} followed by {closing}; put them where the tables belong"
        )
    before, _, rest = text.partition(opening)
    _, _, after = rest.partition(closing)
    with replacing(page) as draft:
        draft.write_text(f"{before}{opening}\n\n{tables}\n{closing}{after}", encoding="utf-8")


def layout(cells: Sequence[Sequence[str]], left: int) -> str:
    """Write rows of Markdown; the first ``left`` columns are aligned left, numbers right."""
    rule = ["---" if place < left else "---:" for place in range(len(cells[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:]))

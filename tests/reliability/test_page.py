"""The page's table names tests that exist, each once for a fault."""

import re
from pathlib import Path

from tests.conftest import ROOT

ROW = re.compile(r"^\| (.+) \| (.+) \| `([\w/]+\.py)::(\w+)` \|$")


def test_every_row_names_a_test_that_exists() -> None:
    lines = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "::" in line]
    found = [ROW.match(line) for line in rows]
    assert all(found), [line for line, match in zip(rows, found, strict=True) if match is None]
    named = [match.groups() for match in found if match is not None]
    assert len(named) >= 60
    assert len({(fault, test) for fault, _, _, test in named}) == len(named)
    for _, _, path, test in named:
        assert f"def {test}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), f"{path}::{test}"


def test_the_pages_it_links_to_are_there() -> None:
    page = ROOT / "docs" / "reliability.md"
    links = re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text(encoding="utf-8"))
    assert links
    assert all(Path(page.parent, link).is_file() for link in links)
